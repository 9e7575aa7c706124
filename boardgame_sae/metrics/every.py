"""Importing this module registers every score that ships."""

from boardgame_sae.metrics import board_scores, core

__all__ = ["board_scores", "core"]
