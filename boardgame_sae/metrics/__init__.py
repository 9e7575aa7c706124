"""Scores of SAEs. A suite is a set of scores that are computed together."""

from typing import Literal, TypeAlias

Suite: TypeAlias = Literal["quick", "supervised", "saebench", "causal", "all"]
"""quick: a minute or less. all: every score of a suite. The others: the scores of one folder here."""
