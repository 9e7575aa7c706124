"""Core: what is lost when the SAE stands in for the activations, and how sparse it is. SAEBench's names and fields.

Every token that the GPT reads counts, over whole held-out games. Sparsity is measured at inference, as saved.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.metrics.latent_source import LatentSource
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.splice import Batch, Losses, clean_run
from boardgame_sae.metrics.score import Display, NoConfig, score
from boardgame_sae.metrics.subject import ROWS_AT_ONCE, Subject

DENSITY_EDGES = np.linspace(-6, 0, 25)
"""Bins of the density histogram: log10 of the share of tokens on which a latent is on."""


@score(
    "core",
    title="Loss recovered",
    meaning="Share of the cross-entropy lost by zeroing the hook point that the SAE's reconstruction recovers",
    source="SAEBench (arXiv 2503.09532), core; explained variance as SAELens corrected it",
    suites=("quick", "supervised", "saebench"),
    order=3,
    low=-math.inf,
    needs=("decode",),
    display=Display(
        titles={"explained_variance": "Explained variance", "frac_alive": "Share of latents alive"},
        columns=("_explained_variance", "_frac_alive"),
        figure="loss_vs_l0",
        panels={"": "Loss recovered", "_explained_variance": "Explained variance"},
        unit="share",
    ),
)
def core_score(subject: Subject, cfg: NoConfig) -> ScoreValue:  # noqa: ARG001 (it has no fields)
    """CE and KL recovered, explained variance, L0 and the other core numbers; the headline is ce_loss_score."""
    run = subject.testbed.once(clean_run)
    passes = [_through(subject.source, batch, run.mean_D) for batch in run.batches]
    spliced = run.losses(acts_BLD for acts_BLD, _ in passes)
    groups: dict[str, dict[str, float]] = {
        "model_behavior_preservation": {
            "kl_div_score": 1 - spliced.divergence / run.zeroed.divergence,
            "kl_div_with_ablation": run.zeroed.divergence,
            "kl_div_with_sae": spliced.divergence,
            "kl_div_score_mean_ablation": 1 - spliced.divergence / run.averaged.divergence,
        },
        "model_performance_preservation": {
            "ce_loss_score": _recovered(spliced, run.clean, run.zeroed),
            "ce_loss_with_ablation": run.zeroed.cross_entropy,
            "ce_loss_with_sae": spliced.cross_entropy,
            "ce_loss_without_sae": run.clean.cross_entropy,
            "ce_loss_score_mean_ablation": _recovered(spliced, run.clean, run.averaged),
        },
    }
    chunks = [chunk for _, chunks in passes for chunk in chunks]
    fired_F = torch.stack([on_F for _, on_F in chunks]).sum(0)
    totals = {name: sum(sums[name] for sums, _ in chunks) for name in chunks[0][0]}
    density_F = fired_F.double().cpu() / run.n_tokens
    groups |= _token_metrics({name: total / run.n_tokens for name, total in totals.items()}, run.n_tokens)
    groups["misc_metrics"] = _density_metrics(density_F, subject.source)
    parts = {name: value for group in groups.values() for name, value in group.items()}
    histogram = np.histogram(density_F[density_F > 0].log10().numpy(), DENSITY_EDGES)[0].tolist()
    details = {
        "eval_config": {"n_tokens": run.n_tokens},
        "eval_result_metrics": groups,
        "density_histogram": {"edges_log10": DENSITY_EDGES.tolist(), "latents": histogram},
    }
    return ScoreValue(groups["model_performance_preservation"]["ce_loss_score"], None, parts, details)


def _recovered(spliced: Losses, clean: Losses, ablated: Losses) -> float:
    """Share of the cross-entropy lost by ablation that the SAE recovers."""
    return (ablated.cross_entropy - spliced.cross_entropy) / (ablated.cross_entropy - clean.cross_entropy)


Chunk = tuple[dict[str, float], Tensor]
"""Sums over some tokens by name, and at how many of them each latent is on (F,)."""


@torch.no_grad()
def _through(source: LatentSource, batch: Batch, mean_D: Tensor) -> tuple[Tensor, list[Chunk]]:
    """A batch's activations as the SAE reconstructs them, and the sums that need only activations and latents."""
    assert source.decode is not None
    rebuilt, chunks = [], list[Chunk]()
    for x_ND in batch.acts_BLD[batch.read_BL].split(ROWS_AT_ONCE):
        z_NF = source.encode(x_ND)
        rebuilt.append(source.decode(z_NF))
        rows, on_F = token_statistics(x_ND, z_NF, rebuilt[-1], mean_D)
        chunks.append(({name: float(values_N.sum()) for name, values_N in rows.items()}, on_F))
    return batch.acts_BLD.index_put((batch.read_BL,), torch.cat(rebuilt)), chunks


def _token_metrics(mean: dict[str, float], n_tokens: int) -> dict[str, dict[str, float]]:
    """The metrics that are functions of means over tokens, in SAEBench's groups."""
    return {
        "reconstruction_quality": {
            "explained_variance": 1 - mean["error"] / mean["spread"],
            "explained_variance_legacy": mean["legacy"],
            "mse": mean["error"],
            "cossim": mean["cosine"],
        },
        "shrinkage": {
            "l2_norm_in": mean["norm_in"],
            "l2_norm_out": mean["norm_out"],
            "l2_ratio": mean["ratio"],
            "relative_reconstruction_bias": mean["square_out"] / mean["product"] if mean["square_out"] else 0.0,
        },
        "sparsity": {"l0": mean["l0"], "l1": mean["l1"]},
        "token_stats": {
            "total_tokens_eval_reconstruction": float(n_tokens),
            "total_tokens_eval_sparsity_variance": float(n_tokens),
        },
    }


def token_statistics(x_ND: Tensor, z_NF: Tensor, x_hat_ND: Tensor, mean_D: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The terms of each token whose means give the core metrics, float64 (N,); and how often each latent is on (F,).

    error |x - x_hat|^2, spread |x - mean|^2, legacy 1 - error / spread, cosine, norms, ratio of norms
    (1 where |x| < 1e-4), x_hat^2, x . x_hat, l0 = #(z != 0), l1 = sum z.
    """
    x, x_hat = x_ND.double(), x_hat_ND.double()
    error, spread = (x - x_hat).pow(2).sum(1), (x - mean_D.double()).pow(2).sum(1)
    norm_in, norm_out = x.norm(dim=1), x_hat.norm(dim=1)
    product = (x * x_hat).sum(1)
    rows = {
        "error": error,
        "spread": spread,
        "legacy": 1 - error / spread,
        "cosine": product / (norm_in * norm_out).clamp(min=1e-12),
        "norm_in": norm_in,
        "norm_out": norm_out,
        "ratio": torch.where(norm_in < 1e-4, 1.0, norm_out / norm_in.clamp(min=1e-4)),
        "square_out": norm_out**2,
        "product": product,
        "l0": z_NF.count_nonzero(1).double(),
        "l1": z_NF.sum(1, dtype=torch.float64),
    }
    return rows, (z_NF > 0).sum(0, dtype=torch.int32)


def _density_metrics(density_F: Tensor, sae: LatentSource) -> dict[str, float]:
    total = float(density_F.sum())
    metrics = {"frac_alive": float((density_F > 0).double().mean())}
    for name, edge in (("freq_over_1_percent", 0.01), ("freq_over_10_percent", 0.1)):
        metrics[name] = float((density_F > edge).double().mean())
        metrics[f"normalized_{name}"] = float(density_F[density_F > edge].sum()) / max(total, 1e-12)
    if sae.W_dec is not None:
        metrics["average_max_decoder_cosine_sim"] = _mean_nearest(sae.W_dec)
    if sae.W_enc is not None:
        metrics["average_max_encoder_cosine_sim"] = _mean_nearest(sae.W_enc.T)
    return metrics


@torch.no_grad()
def _mean_nearest(rows_FD: Tensor) -> float:
    """Mean over rows of the cosine with the nearest other row."""
    unit_FD = F.normalize(rows_FD.float(), dim=1)
    nearest = []
    for start in range(0, len(unit_FD), 4096):
        cosine_FF = unit_FD[start : start + 4096] @ unit_FD.T
        cosine_FF[torch.arange(len(cosine_FF)), torch.arange(start, start + len(cosine_FF))] = -1
        nearest.append(cosine_FF.max(1).values)
    return float(torch.cat(nearest).mean())
