"""A workshop of six lessons: games, probes, edits, SAEs, their scores, and what may be claimed from them.

`python -m boardgame_sae.workshop` checks the machine and opens a lesson. Each lesson is a marimo notebook, in plain
Python, whose exercises are functions to fill; `checks` has a checker for each, `solutions` an answer.
"""
