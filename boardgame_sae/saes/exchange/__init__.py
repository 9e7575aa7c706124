"""SAEs from and for other libraries: the same latents there and here.

    to_sae_lens(sae, "out")              sae_lens.SAE.load_from_disk("out")
    to_dictionary_learning(sae, "out")   dictionary_learning.utils.load_dictionary("out", "cpu")
    to_sparsify(sae, "out")              sparsify.SparseCoder.load_from_disk("out")
    load_sae(path)                       any of them, recognised by what the folder holds
    saebench_view(sae)                   what the published sae_bench runs on

None of them has to be installed. What is written is the inference form of an SAE; how it was trained is kept as
metadata only.
"""

from boardgame_sae.saes.exchange.dictionary_learning import from_dictionary_learning, to_dictionary_learning
from boardgame_sae.saes.exchange.library import libraries, locate, open_sae, recognise, writers
from boardgame_sae.saes.exchange.sae_lens import from_sae_lens, to_sae_lens
from boardgame_sae.saes.exchange.saebench_view import saebench_view
from boardgame_sae.saes.exchange.sparsify import from_sparsify, to_sparsify

__all__ = [
    "from_dictionary_learning",
    "from_sae_lens",
    "from_sparsify",
    "libraries",
    "locate",
    "open_sae",
    "recognise",
    "saebench_view",
    "to_dictionary_learning",
    "to_sae_lens",
    "to_sparsify",
    "writers",
]
