"""Sparse autoencoders measured against the known truth of a board game.

Games make transcripts, a GPT learns them, properties say what is true at every position, SAEs decompose the GPT's
activations, scores say how much of the truth an SAE found, a report shows it.

Shapes are written as capital suffixes, one letter an axis: `B` games, `L` tokens of a game, `N` positions (flattened),
`D` model width, `F` latents, `T` thresholds, `P` properties (flattened classes), `S` squares, `C` classes,
`V` alphabet, `H` heads, `K` kept latents, `M` moves of many games one after another. `acts_NF`, `labels_NP`, `f1_TFP`.
"""

import importlib
import os
from typing import Any

from boardgame_sae.kernel_cache import choose_kernel_cache

# Worker threads that spin while they wait make a training step on a busy machine ten times slower: let them sleep.
# The OpenMP runtime reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
choose_kernel_cache()

_PUBLIC = {
    "generate": "transcripts.generate",
    "import_pgn": "transcripts.pgn.importer",
    "Corpus": "transcripts.corpus",
    "train_gpt": "model.train",
    "GameModel": "model.game_model",
    "legality": "model.legality",
    "Testbed": "testbeds.testbed",
    "load_testbed": "testbeds.testbed",
    "train_sae": "saes.training.on_testbed",
    "finetune_sae": "saes.finetuning.finetune",
    "make_sae": "saes.registry",
    "load_sae": "saes.load",
    "evaluate": "metrics.evaluate",
    "compare": "metrics.statistics.compare",
    "edit": "metrics.causal.edit",
    "steer": "metrics.causal.steering.steer",
}
"""The names a user starts from, and where they live. They are imported when first used: torch takes seconds."""

__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'boardgame_sae' has no attribute '{name}'; it has {', '.join(sorted(_PUBLIC))}")
    return getattr(importlib.import_module(f"boardgame_sae.{_PUBLIC[name]}"), name)
