"""Resampling: dead latents get new weights, at what the SAE explains worst."""

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.adam import Adam

ENCODER_SHARE = 0.2
"""Norm of a new encoder column, as a share of the mean norm of the living ones."""


@torch.no_grad()
def resample_dead(sae: SAE, dead_F: Tensor, x_ND: Tensor, optimizer: Adam, *, seed: tuple[int, int]) -> int:
    """Point dead latents at badly explained activations and reset their Adam moments; returns how many.

    Activations of the batch x_ND (N, D) are drawn without replacement, with probabilities proportional to their squared
    error. The decoder row becomes the direction of x - b_dec, the encoder column the same direction at a fifth of the
    mean norm of living columns (of all columns, if none lives), and biases become zero. Unlike in dictionary_learning,
    whose encoder column keeps the length of x, the norm is that of the source; unlike in its p-annealing trainer, the
    weights do change.
    Source: Bricken et al. 2023, "Towards Monosemanticity", appendix on resampling.
    """
    dead = dead_F.nonzero()[:, 0]
    error_N = (x_ND - sae(x_ND)).pow(2).sum(1).cpu().double().numpy()
    n = min(len(dead), int((error_N > 0).sum()))
    if n == 0:
        return 0
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(error_N), n, replace=False, p=error_N / error_N.sum())
    dead = dead[torch.from_numpy(rng.permutation(len(dead))[:n]).to(dead.device)]
    shifted_ND = x_ND[torch.from_numpy(chosen).to(x_ND.device)]
    if sae.cfg.subtract_b_dec:
        shifted_ND = shifted_ND - sae.b_dec
    directions_ND = torch.nn.functional.normalize(shifted_ND, dim=1)
    alive_F = ~dead_F if not bool(dead_F.all()) else dead_F
    sae.W_dec[dead] = directions_ND
    sae.W_enc[:, dead] = ENCODER_SHARE * sae.W_enc.norm(dim=0)[alive_F].mean() * directions_ND.T
    for name, weight in sae.named_parameters():
        if name not in ("W_dec", "W_enc", "b_dec"):
            weight[dead] = 0  # every other parameter has one value per latent
        if name != "b_dec":
            for moment in optimizer.moments(weight):
                moment.index_fill_(1 if name == "W_enc" else 0, dead, 0)
    sae.tokens_since_fired_F[dead] = 0
    return n
