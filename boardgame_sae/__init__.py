"""Sparse autoencoders measured against the known truth of a board game.

Games make transcripts, a GPT learns them, properties say what is true at every position, SAEs decompose the GPT's
activations, scores say how much of the truth an SAE found, a report shows it.

Shapes are written as capital suffixes, one letter an axis: `B` games, `L` tokens of a game, `N` positions (flattened),
`D` model width, `F` latents, `T` thresholds, `P` properties (flattened classes), `S` squares, `C` classes,
`V` alphabet, `H` heads, `K` kept latents, `M` moves of many games one after another. `acts_NF`, `labels_NP`, `f1_TFP`.
"""

import os

# Worker threads that spin while they wait make a training step on a busy machine ten times slower: let them sleep.
# The OpenMP runtime reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
