"""Importing this module registers every architecture that ships."""

from boardgame_sae.saes import baselines, gated, jumprelu, matryoshka, p_anneal, relu, topk

__all__ = ["baselines", "gated", "jumprelu", "matryoshka", "p_anneal", "relu", "topk"]
