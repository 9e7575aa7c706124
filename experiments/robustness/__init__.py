"""What may go wrong with files and processes, tried on purpose: `make fuzz` and `make kill`.

seed_files.py   the real files that are spoilt: a corpus, a GPT, SAEs, a packed testbed, ..., all tiny
mutations/      ways to spoil bytes, plain data, tensors, HDF5
targets/        which file is spoilt how, and what then reads it: entries register themselves
sandbox.py      a forked process that reads spoilt files under limits, and says what came of each
outcome.py      what may come of it; all but the first two are faults
fuzz.py         the table of targets by outcomes; faults are kept, each to be run again alone
kills/          verbs that are killed at every write, and what has to be left
"""
