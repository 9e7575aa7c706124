"""Core: what is lost when the SAE stands in for the activations, and how sparse it is. SAEBench's names and fields.

Every token that the GPT reads counts, over whole held-out games. Sparsity is measured at inference, as saved.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import read, replace
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Display, score
from boardgame_sae.metrics.subject import ROWS_AT_ONCE, Subject
from boardgame_sae.model.train import ABSENT
from boardgame_sae.testbeds.testbed import Testbed

N_TOKENS = 100_000
GAMES_AT_ONCE = 128
DENSITY_EDGES = np.linspace(-6, 0, 25)
"""Bins of the density histogram: log10 of the share of tokens on which a latent is on."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Clean activations and predictions of some games, and what ablation does to them."""

    tokens_BL: Tensor
    present_BL: Tensor
    acts_BLD: Tensor
    log_probs_BLV: Tensor

    @property
    def read_BL(self) -> Tensor:
        """Where a token is read."""
        return self.present_BL[:, :-1]

    @property
    def predicted_BL(self) -> Tensor:
        """After which of those a token comes."""
        return self.present_BL[:, 1:]


class Reference:
    """The clean model on at least N_TOKENS tokens of test games, and its losses under ablation; kept on a testbed."""

    @torch.no_grad()
    def __init__(self, testbed: Testbed, n_tokens: int = N_TOKENS) -> None:
        self.testbed = testbed
        games_B = testbed.corpus.games("test")
        read_B = testbed.corpus.n_read(games_B, testbed.model.gpt.cfg.n_ctx)
        self.games_B = games_B[: int(np.searchsorted(np.cumsum(read_B), n_tokens)) + 1]
        starts = range(0, len(self.games_B), GAMES_AT_ONCE)
        self.batches = [self._read(self.games_B[start : start + GAMES_AT_ONCE]) for start in starts]
        acts_ND = torch.cat([batch.acts_BLD[batch.read_BL] for batch in self.batches])
        self.n_tokens, self.mean_D = len(acts_ND), acts_ND.double().mean(0).float()
        self.clean = self.spliced(lambda batch: batch.acts_BLD)
        self.zeroed = self.spliced(lambda batch: torch.zeros_like(batch.acts_BLD))
        self.averaged = self.spliced(lambda batch: self.mean_D.expand_as(batch.acts_BLD))

    def _read(self, games_B: np.ndarray) -> _Batch:
        gpt, name = self.testbed.model.gpt, self.testbed.hook_name
        rows = self.testbed.corpus.rows(games_B, gpt.cfg.n_ctx)
        tokens_BL, plies_BL = (torch.from_numpy(part).to(gpt.device) for part in rows)
        acts_BLD = read(gpt, tokens_BL[:, :-1], [name])[name].float()
        log_probs_BLV = replace(gpt, tokens_BL[:, :-1], name, acts_BLD).float().log_softmax(-1)
        return _Batch(tokens_BL, plies_BL >= 0, acts_BLD, log_probs_BLV)

    @torch.no_grad()
    def spliced(self, change: Callable[[_Batch], Tensor]) -> tuple[float, float]:
        """Mean cross-entropy of the next token, and mean KL from the clean model, with changed activations (nats)."""
        loss = divergence = 0.0
        n_targets = n_read = 0
        for batch in self.batches:
            inputs_BL, targets_BL = batch.tokens_BL[:, :-1], batch.tokens_BL[:, 1:].where(batch.predicted_BL, ABSENT)
            logits_BLV = replace(self.testbed.model.gpt, inputs_BL, self.testbed.hook_name, change(batch))
            log_probs_BLV = logits_BLV.float().log_softmax(-1)
            loss += float(F.nll_loss(log_probs_BLV.transpose(1, 2), targets_BL, ignore_index=ABSENT, reduction="sum"))
            kl_BL = (batch.log_probs_BLV.exp() * (batch.log_probs_BLV - log_probs_BLV)).sum(-1)
            divergence += float(kl_BL[batch.read_BL].double().sum())
            n_targets += int(batch.predicted_BL.sum())
            n_read += int(batch.read_BL.sum())
        return loss / n_targets, divergence / n_read


def reference(testbed: Testbed) -> Reference:
    """The testbed's reference, computed once."""
    if not hasattr(testbed, "_core_reference"):
        testbed._core_reference = Reference(testbed)  # pyright: ignore[reportAttributeAccessIssue]
    return testbed._core_reference  # pyright: ignore[reportAttributeAccessIssue]


@score(
    "core",
    title="Loss recovered",
    meaning="Share of the cross-entropy that zeroing the hook point costs which the SAE's reconstruction wins back",
    source="SAEBench (arXiv 2503.09532), core; explained variance as SAELens mended it",
    suites=("quick", "supervised", "saebench"),
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
def core_score(subject: Subject) -> ScoreValue:
    """CE and KL recovered, explained variance, L0 and the other core numbers; the headline is ce_loss_score."""
    known, sae = reference(subject.testbed), subject.encoder
    decode, sums = sae.decode, _Sums(known.mean_D)
    assert decode is not None

    def through(batch: _Batch) -> Tensor:
        """What the SAE makes of a batch; in passing, all that needs activations and latents only."""
        parts = []
        for x_ND in batch.acts_BLD[batch.read_BL].split(ROWS_AT_ONCE):
            z_NF = sae.encode(x_ND)
            parts.append(decode(z_NF))
            sums.add(x_ND, z_NF, parts[-1])
        return batch.acts_BLD.index_put((batch.read_BL,), torch.cat(parts))

    ce_sae, kl_sae = known.spliced(through)
    (ce_clean, _), (ce_zero, kl_zero), (ce_mean, kl_mean) = known.clean, known.zeroed, known.averaged
    tokens = sums.found(known.n_tokens, sae)
    groups: dict[str, dict[str, float]] = {
        "model_behavior_preservation": {
            "kl_div_score": 1 - kl_sae / kl_zero,
            "kl_div_with_ablation": kl_zero,
            "kl_div_with_sae": kl_sae,
            "kl_div_score_mean_ablation": 1 - kl_sae / kl_mean,
        },
        "model_performance_preservation": {
            "ce_loss_score": (ce_zero - ce_sae) / (ce_zero - ce_clean),
            "ce_loss_with_ablation": ce_zero,
            "ce_loss_with_sae": ce_sae,
            "ce_loss_without_sae": ce_clean,
            "ce_loss_score_mean_ablation": (ce_mean - ce_sae) / (ce_mean - ce_clean),
        },
        **tokens["groups"],
    }
    parts = {name: value for group in groups.values() for name, value in group.items()}
    details = {"eval_result_metrics": groups, "density_histogram": tokens["histogram"]}
    return ScoreValue(groups["model_performance_preservation"]["ce_loss_score"], None, parts, details)


class _Sums:
    """Everything that needs activations and latents only, over all tokens read, in float64 sums."""

    def __init__(self, mean_D: Tensor) -> None:
        self.mean_D, self.totals = mean_D, dict[str, float]()
        self.fired_F: Tensor | None = None

    def add(self, x_ND: Tensor, z_NF: Tensor, x_hat_ND: Tensor) -> None:
        """Take in some tokens."""
        rows, on_F = token_statistics(x_ND, z_NF, x_hat_ND, self.mean_D)
        for name, values_N in rows.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(values_N.sum())
        self.fired_F = on_F if self.fired_F is None else self.fired_F + on_F

    def found(self, n_tokens: int, sae: Any) -> dict[str, Any]:
        """The metrics by group, and the histogram of densities."""
        assert self.fired_F is not None
        mean = {name: total / n_tokens for name, total in self.totals.items()}
        density_F = self.fired_F.double().cpu() / n_tokens
        groups = {
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
            "misc_metrics": _density_metrics(density_F, sae),
        }
        alive_F = density_F[density_F > 0].log10().numpy()
        histogram = np.histogram(alive_F, DENSITY_EDGES)[0].tolist()
        return {"groups": groups, "histogram": {"edges_log10": DENSITY_EDGES.tolist(), "latents": histogram}}


def token_statistics(x_ND: Tensor, z_NF: Tensor, x_hat_ND: Tensor, mean_D: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """For each token the terms whose means are the core metrics, float64 (N,); and how often each latent is on (F,).

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


def _density_metrics(density_F: Tensor, sae: Any) -> dict[str, float]:
    total = float(density_F.sum())
    found = {"frac_alive": float((density_F > 0).double().mean())}
    for name, edge in (("freq_over_1_percent", 0.01), ("freq_over_10_percent", 0.1)):
        found[name] = float((density_F > edge).double().mean())
        found[f"normalized_{name}"] = float(density_F[density_F > edge].sum()) / max(total, 1e-12)
    if sae.W_dec is not None:
        found["average_max_decoder_cosine_sim"] = _mean_nearest(sae.W_dec)
    if sae.W_enc is not None:
        found["average_max_encoder_cosine_sim"] = _mean_nearest(sae.W_enc.T)
    return found


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
