"""Sparse autoencoders: every architecture behind one interface."""

from boardgame_sae.saes.sae import SAE, architectures, load_sae, make_sae

__all__ = ["SAE", "architectures", "load_sae", "make_sae"]
