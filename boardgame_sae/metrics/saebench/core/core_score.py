"""Core: what is lost when the SAE stands in for the activations, and how sparse it is. SAEBench's names and fields.

Every token that the GPT reads counts, over whole held-out games. Sparsity is measured at inference, as saved. On the
same games the numbers are SAEBench's (sae_bench 0.6.0) up to rounding (2.4e-5, relative), but for these:

explained_variance         1 - E|x - x_hat|^2 / E|x - mean|^2, as SAELens has it since it corrected it. SAEBench divides
                           by E|x|^2 - (E|x|^2 / d_model)^2, which mixes units, is negative for activations as large as
                           these and then ranks SAEs upside down: 1.21 where .94 is right. Theirs is beside it,
                           `explained_variance_sae_bench`.
mse                        E|x - x_hat|^2, as SAELens. SAEBench divides it once more by the tokens of a batch: theirs is
                           496 times smaller in batches of 16 games of 31 tokens. `mse_sae_bench` is theirs in batches
                           of `batch_size_prompts` games.
explained_variance_legacy  around the mean of all tokens. SAEBench takes each batch's own mean, so that theirs depends
                           on the batch's size, by 6e-4 to 1.9e-3 here. `relative_reconstruction_bias` is a ratio of
                           means over all tokens; theirs, a mean of each batch's, is the same where batches are equal.
ce_loss_*                  all moves that the GPT predicts. SAEBench leaves out the last token's prediction of every
                           game: up to 0.057 nats, and 1.4e-3 of the score. Both are right. Where games end early theirs
                           also counts the prediction of what fills the row, up to 0.0095 nats.
`*_mean_ablation`          with the mean activation in place of zeros; SAEBench has no such number.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.latent_source import LatentSource
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.core.latent_table import UNDEFINED, latent_columns, nearest
from boardgame_sae.metrics.saebench.core.splice import GAMES_AT_ONCE, CleanRun, clean_run
from boardgame_sae.metrics.score import Display, NoConfig, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import ROWS_AT_ONCE, Subject
from boardgame_sae.model.float64 import exact
from boardgame_sae.testbeds.replaced import Batch, Losses

DENSITY_EDGES = np.linspace(-6, 0, 25)
"""Bins of the density histogram: log10 of the share of tokens on which a latent is on."""

NEAREST = {part: f"average_max_{part}_cosine_sim" for part in ("decoder", "encoder")}
"""SAEBench's names for the mean over latents of the cosine with the nearest other latent."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """The ratios that have intervals; sums (R, 1)."""
    total = {name: sum_R1.sum(1) for name, sum_R1 in sums.items()}

    def recovered(ablated: str) -> np.ndarray:
        lost = total[f"loss_{ablated}"] - total["loss_clean"]
        return (total[f"loss_{ablated}"] - total["loss"]) / np.where(lost == 0, np.nan, lost)

    return {
        "ce_loss_score": recovered("zeroed"),
        "kl_div_score": 1 - total["divergence"] / total["divergence_zeroed"],
        "explained_variance": 1 - total["error"] / total["spread"],
        "ce_loss_score_mean_ablation": recovered("averaged"),
        "kl_div_score_mean_ablation": 1 - total["divergence"] / total["divergence_averaged"],
    }


OF_THE_GAMES = ("spread", "loss_clean", "loss_zeroed", "divergence_zeroed", "loss_averaged", "divergence_averaged")
CORE = Statistic(("loss", "divergence", "error", *OF_THE_GAMES), _numbers, same=OF_THE_GAMES)


@score(
    "core",
    title="Loss recovered",
    meaning="Share of the cross-entropy lost by zeroing the hook point that the SAE's reconstruction recovers",
    source="SAEBench (arXiv 2503.09532), core; explained variance as SAELens corrected it",
    suites=("quick", "supervised", "saebench"),
    order=3,
    low=-math.inf,
    needs=("decode",),
    version=2,
    statistic=CORE,
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
    spliced = run.losses(one.acts_BLD for one in passes)
    value = CORE.score(_sums(run, passes, spliced))
    groups: dict[str, dict[str, float]] = {
        "model_behavior_preservation": {
            "kl_div_score": value.parts["kl_div_score"],
            "kl_div_with_ablation": run.zeroed.divergence,
            "kl_div_with_sae": spliced.divergence,
        },
        "model_performance_preservation": {
            "ce_loss_score": value.value,
            "ce_loss_with_ablation": run.zeroed.cross_entropy,
            "ce_loss_with_sae": spliced.cross_entropy,
            "ce_loss_without_sae": run.clean.cross_entropy,
        },
    }
    chunks = [chunk for one in passes for chunk in one.chunks]
    mean = {name: sum(sums[name] for sums in chunks) / run.n_tokens for name in chunks[0]}
    density_F = torch.stack([one.on_F for one in passes]).sum(0).cpu().double() / run.n_tokens
    games_F = torch.stack([one.games_F for one in passes]).sum(0).cpu().double()
    groups |= _token_metrics(mean, run.n_tokens)
    groups["reconstruction_quality"]["explained_variance"] = value.parts["explained_variance"]
    groups["misc_metrics"] = _density_metrics(density_F, subject.source)
    parts = {name: value for group in groups.values() for name, value in group.items()}
    parts |= value.parts | _as_published(passes, subject.testbed.width)
    histogram = np.histogram(density_F[density_F > 0].log10().numpy(), DENSITY_EDGES)[0].tolist()
    groups["misc_metrics"] = {**dict.fromkeys(NEAREST.values(), UNDEFINED), **groups["misc_metrics"]}
    details = {
        "eval_config": _config(run),
        "eval_result_metrics": groups,
        "eval_result_details": latent_columns(density_F, games_F, run.n_tokens, subject.source),
        "density_histogram": {"edges_log10": DENSITY_EDGES.tolist(), "latents": histogram},
    }
    return value._replace(parts=parts, details=details)


def _sums(run: CleanRun, passes: Sequence["_Pass"], spliced: Losses) -> GameSums:
    errors = {name: np.concatenate([one.games[name] for one in passes]) for name in ("error", "spread")}
    ablated = {"clean": run.clean, "zeroed": run.zeroed, "averaged": run.averaged}
    sums = {"loss": spliced.loss_B, "divergence": spliced.divergence_B, **errors}
    for name, losses in ablated.items():
        sums |= {f"loss_{name}": losses.loss_B, f"divergence_{name}": losses.divergence_B}
    return GameSums.dense({name: sums[name] for name in CORE.sums}, CORE.same)


def _config(run: CleanRun) -> dict[str, Any]:
    """The fields of SAEBench's `CoreEvalConfig`, as they are here."""
    corpus, computed = run.testbed.corpus, ("kl", "ce_loss", "l2_norms", "sparsity_metrics", "variance_metrics")
    featurewise = ("featurewise_density_statistics", "featurewise_weight_based_metrics")
    return {
        "llm_dtype": "float32",
        "dataset": f"boardgame-sae/{corpus.game.spec}-{corpus.hash}, test games",
        "context_size": run.testbed.model.gpt.cfg.n_ctx,
        "batch_size_prompts": GAMES_AT_ONCE,
        "n_eval_reconstruction_batches": len(run.batches),
        "n_eval_sparsity_variance_batches": len(run.batches),
        **{f"compute_{name}": True for name in (*computed, *featurewise)},
        "exclude_special_tokens_from_reconstruction": False,
        "verbose": False,
    }


class _Pass(NamedTuple):
    """What an SAE makes of a batch."""

    acts_BLD: Tensor
    """The activations as it reconstructs them."""
    chunks: list[dict[str, float]]
    """Sums over some of its tokens at a time, by name."""
    on_F: Tensor
    """At how many tokens each latent is on."""
    games_F: Tensor
    """In how many games each latent is on somewhere."""
    games: dict[str, np.ndarray]
    """Sums over the tokens of each game, (games,), by name: error, spread."""
    n_tokens: int


@torch.no_grad()
def _through(source: LatentSource, batch: Batch, mean_D: Tensor) -> _Pass:
    """An SAE's pass over a batch's activations."""
    assert source.decode is not None
    rebuilt, chunks, on_BF = [], list[tuple[dict[str, float], Tensor]](), None
    games = {name: np.zeros(len(batch.read_BL)) for name in ("error", "spread")}
    game_N = batch.read_BL.nonzero()[:, 0]
    acts_ND = batch.acts_BLD[batch.read_BL]
    for x_ND, games_N in zip(acts_ND.split(ROWS_AT_ONCE), game_N.split(ROWS_AT_ONCE), strict=True):
        z_NF = source.encode(x_ND)
        rebuilt.append(source.decode(z_NF))
        rows, on_F = token_statistics(x_ND, z_NF, rebuilt[-1], mean_D)
        chunks.append(({name: float(values_N.sum()) for name, values_N in rows.items()}, on_F))
        for name, sum_B in games.items():
            sum_B += np.bincount(games_N.cpu().numpy(), rows[name].cpu().numpy(), len(sum_B))
        on_BF = z_NF.new_zeros(len(batch.read_BL), z_NF.shape[1], dtype=torch.bool) if on_BF is None else on_BF
        n, f = (z_NF > 0).nonzero(as_tuple=True)
        on_BF[games_N[n], f] = True
    assert on_BF is not None
    on_F = torch.stack([on_F for _, on_F in chunks]).sum(0)
    return _Pass(
        batch.with_rows(torch.cat(rebuilt)), [sums for sums, _ in chunks], on_F, on_BF.sum(0), games, len(acts_ND)
    )


def _as_published(passes: list[_Pass], width: int) -> dict[str, float]:
    """The two numbers that SAEBench computes otherwise, as it does, batch by batch (see above)."""
    totals = [{name: sum(sums[name] for sums in one.chunks) for name in ("error", "square_in")} for one in passes]
    batches = list(zip(totals, (one.n_tokens for one in passes), strict=True))
    error, square = (sum(total[name] / n for total, n in batches) / len(batches) for name in ("error", "square_in"))
    return {
        "explained_variance_sae_bench": 1 - error / (square - (square / width) ** 2),
        "mse_sae_bench": sum(total["error"] / n for total, n in batches) / sum(n for _, n in batches),
    }


def _token_metrics(mean: dict[str, float], n_tokens: int) -> dict[str, dict[str, float]]:
    """The metrics that are functions of means over tokens, in SAEBench's groups."""
    return {
        "reconstruction_quality": {
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
    (1 where |x| < 1e-4), x^2, x_hat^2, x . x_hat, l0 = #(z != 0), l1 = sum z.
    """
    x, x_hat = exact(x_ND), exact(x_hat_ND)
    error, spread = (x - x_hat).pow(2).sum(1), (x - exact(mean_D)).pow(2).sum(1)
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
        "square_in": norm_in**2,
        "square_out": norm_out**2,
        "product": product,
        "l0": exact(z_NF.count_nonzero(1)),
        "l1": exact(z_NF).sum(1),
    }
    return rows, (z_NF > 0).sum(0, dtype=torch.int32)


def _density_metrics(density_F: Tensor, sae: LatentSource) -> dict[str, float]:
    total = float(density_F.sum())
    metrics = {"frac_alive": float((density_F > 0).double().mean())}
    for name, edge in (("freq_over_1_percent", 0.01), ("freq_over_10_percent", 0.1)):
        metrics[name] = float((density_F > edge).double().mean())
        metrics[f"normalized_{name}"] = float(density_F[density_F > edge].sum()) / max(total, 1e-12)
    for name, weights in (("decoder", sae.W_dec), ("encoder", None if sae.W_enc is None else sae.W_enc.T)):
        if weights is not None:
            metrics[NEAREST[name]] = float(nearest(weights).mean())
    return metrics
