"""Meta-structure: are decoder rows made of fewer directions, so that a small SAE of them explains rows it never saw?

A BatchTopK SAE (the meta-SAE) with a quarter as many latents, k = 4, is trained on the rows of W_dec, brought to norm
1. `value` is the share of the variance of held-out rows, a tenth of all, that it explains at inference. 1: every row
is a sum of a few directions that many rows share; 0: no better than the mean row; below 0 where it is worse than that.
Lower is better: rows that share parts are composed, as where a latent of a parent and child in one stands for two; SAEs
whose latents are separate concepts score low. So do random directions (`random_directions`, as many of the same width,
what structure must exceed) and an SAE that has learnt nothing: read it beside scores that ask for truth. It is a number
about weights: there are no games to resample, so it has no interval.

Repaired: the published score explains the rows that the meta-SAE was trained on, and with 1,500 steps on a few hundred
rows that measures how well these are learnt by heart: 512 random directions of width 128 score .5, where held-out ones
score .00. `published` is that number, on the rows of training. It also depends on the norms of rows, which the same
reconstruction may have at any size; here rows have norm 1.

Source: Bussmann et al. 2025 (arXiv 2503.17547), appendix D.1; SAEBench 0.6, `meta_structure_decoder_variance`.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import Count, Positive, Seed, Share, config, seed_for
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.model.float64 import exact
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.train import adam, training_step
from boardgame_sae.testbeds.testbed import Testbed

WIDTH_RATIO, K = 0.25, 4
"""Latents of the meta-SAE for each row, and how many of them are on, as published."""
DEAD_AFTER = 10_000_000
"""Rows without firing after which a meta-latent counts as dead, as published."""
LEAST_ROWS = 20
"""With fewer decoder rows there is nothing to hold out."""


@config
class MetaStructureConfig:
    """How the meta-SAE is trained."""

    n_steps: Count = 1500
    """Steps of training."""
    batch_size: Count = 1024
    """Rows per step, drawn with replacement; at most as many as there are."""
    lr: Positive = 5e-4
    """Learning rate of Adam."""
    held_out: Share = 0.1
    """Share of the rows that training does not see."""
    seed: Seed = 0
    """Which rows are held out, the initial weights, and the order of training."""


@score(
    "meta_structure",
    title="Meta-structure",
    meaning="Share of the variance of held-out decoder rows that a small SAE of the other rows explains",
    source="Bussmann et al. 2025 (arXiv 2503.17547), appendix D.1; SAEBench, meta_structure_decoder_variance",
    suites=("saebench",),
    order=17,
    low=-math.inf,
    better="lower",
    needs=("W_dec",),
    config=MetaStructureConfig,
    display=Display(
        parts={
            "random_directions": "random directions (chance)",
            "published": "rows of training, as published",
            "published_random_directions": "random directions, as published",
        },
        columns=("_published",),
        chance=Chance("random_directions", shared=False),
        unit="share of variance",
    ),
)
def meta_structure_score(subject: Subject, cfg: MetaStructureConfig) -> ScoreValue:
    """Variance of decoder rows that a meta-SAE explains.

    Raises UnscorableError when the decoder has too few rows that are not zero.
    """
    rows_FD = unit_rows(subject)
    if len(rows_FD) < LEAST_ROWS:
        raise UnscorableError(f"it has {len(rows_FD)} decoder rows that are not zero; {LEAST_ROWS} are needed")
    own, chance = explained(rows_FD, cfg), subject.testbed.once(random_explained, len(rows_FD), rows_FD.shape[1], cfg)
    parts = {
        "random_directions": chance.held_out,
        "published": own.trained_on,
        "published_random_directions": chance.trained_on,
        "final_reconstruction_mse": own.mse,
    }
    eval_config = {
        "random_seed": cfg.seed,
        "width_ratio": WIDTH_RATIO,
        "k": K,
        "train_steps": cfg.n_steps,
        "train_batch_size": cfg.batch_size,
        "learning_rate": cfg.lr,
        "weight_decay": 0.0,
        "autocast": False,
        "dtype": "float32",
    }
    metrics = {
        "decoder_fraction_variance_explained": own.trained_on,
        "train_time_seconds": 0.0,  # equal scores give equal bytes; `timings.jsonl` has it
        "final_reconstruction_mse": own.mse,
    }
    details = {
        "eval_type_id": "meta_structure_decoder_variance",
        "eval_config": eval_config,
        "eval_result_metrics": {"meta_structure": metrics},
        "n_rows": len(rows_FD),
    }
    return ScoreValue(own.held_out, None, parts, details)


def unit_rows(subject: Subject) -> Tensor:
    """(F, D) float32: a subject's decoder rows, at norm 1; without those that are zero, and each direction once."""
    W_dec = subject.source.W_dec
    assert W_dec is not None
    rows_FD = W_dec.detach().cpu().float()
    if subject.source.two_sided:  # the second half are the negatives of the first
        rows_FD = rows_FD[: len(rows_FD) // 2]
    return F.normalize(rows_FD[rows_FD.norm(dim=1) > 0], dim=1)


class Explained(NamedTuple):
    """What a meta-SAE explains."""

    held_out: float
    """Share of the variance of the rows held out."""
    trained_on: float
    """Share of that of the others."""
    mse: float
    """Squared error per number of these."""


def random_explained(testbed: Testbed, n_rows: int, width: int, cfg: MetaStructureConfig) -> Explained:  # noqa: ARG001
    """The same for as many random directions; computed once for all subjects of a size."""
    generator = torch.Generator().manual_seed(seed_for(cfg.seed, "random directions"))
    return explained(F.normalize(torch.randn(n_rows, width, generator=generator), dim=1), cfg)


def explained(rows_FD: Tensor, cfg: MetaStructureConfig) -> Explained:
    """What a meta-SAE that is trained on most of some rows explains of the others, and of these."""
    order_F = torch.randperm(len(rows_FD), generator=torch.Generator().manual_seed(seed_for(cfg.seed, "held out")))
    n_held_out = min(max(2, round(cfg.held_out * len(rows_FD))), len(rows_FD) - K)
    held_out, trained_on = rows_FD[order_F[:n_held_out]], rows_FD[order_F[n_held_out:]]
    meta_sae = train_meta_sae(trained_on, meta_width(len(rows_FD)), cfg)
    share, mse = variance_explained(meta_sae, trained_on)
    return Explained(variance_explained(meta_sae, held_out)[0], share, mse)


def meta_width(n_rows: int) -> int:
    """How many latents the meta-SAE of some rows has."""
    return max(math.ceil(WIDTH_RATIO * n_rows), K)


def train_meta_sae(rows_FD: Tensor, width: int, cfg: MetaStructureConfig) -> SAE:
    """A BatchTopK SAE of some rows, in its inference form: its threshold is set on these rows."""
    seeds = {name: seed_for(cfg.seed, "meta-SAE", name) for name in ("weights", "batches")}
    sae = make_sae(
        "batch_topk", d_model=rows_FD.shape[1], n_latents=width, k=K, dead_after=DEAD_AFTER, seed=seeds["weights"]
    )
    sae.begin_training(cfg.n_steps, rows_FD)
    optimizer, generator = adam(sae, cfg.lr), torch.Generator().manual_seed(seeds["batches"])
    batch_size = min(cfg.batch_size, len(rows_FD))
    for step in range(cfg.n_steps):
        drawn_N = torch.randint(len(rows_FD), (batch_size,), generator=generator)
        training_step(sae, optimizer, rows_FD[drawn_N], step, cfg.lr)
    sae.calibrate([rows_FD])
    return sae.inference().eval()


@torch.no_grad()
def variance_explained(meta_sae: SAE, rows_FD: Tensor) -> tuple[float, float]:
    """1 - sum |d - d_hat|^2 / sum |d - mean|^2 of some rows (0 of equal rows), and the error per number."""
    error = float(exact(rows_FD - meta_sae(rows_FD)).pow(2).sum())
    spread = float(exact(rows_FD - rows_FD.mean(0)).pow(2).sum())
    return 1 - error / spread if spread else 0.0, error / rows_FD.numel()
