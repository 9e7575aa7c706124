"""SAEs from and for other libraries."""

from boardgame_sae.saes.exchange.dictionary_learning import from_dictionary_learning, to_dictionary_learning
from boardgame_sae.saes.exchange.formats import WRITERS, recognise, saebench_view
from boardgame_sae.saes.exchange.sae_lens import from_sae_lens, to_sae_lens

__all__ = [
    "WRITERS",
    "from_dictionary_learning",
    "from_sae_lens",
    "recognise",
    "saebench_view",
    "to_dictionary_learning",
    "to_sae_lens",
]
