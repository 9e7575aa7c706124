"""HDF5: files written in one piece, and the one reader that all of them go through.

writer   a new file, also on a full disk
plain    what is in a file: plain numbers inside it, and nothing that points elsewhere
trial    a file from elsewhere, which can hang or crash libhdf5, opened by another process first
reader   formats, and a file of one
"""
