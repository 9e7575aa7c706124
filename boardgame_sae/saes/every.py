"""Importing this module registers every architecture that ships."""

from boardgame_sae.saes import p_anneal, relu, topk

__all__ = ["p_anneal", "relu", "topk"]
