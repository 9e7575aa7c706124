"""Minimum description length: how many bits per position say the activations, when an SAE's latents are the code.

Activations are described to a fixed precision, so that a share `tolerance` of their variance may stay unsaid:

    support     which latents are on: -log2 p_j of one that is on, -log2 (1 - p_j) of one that is off
    values      in which of n bins between 0 and the latent's largest activation each latent is that is on, -log2 q_jb
    remainder   what the quantised latents leave unsaid (`gaussian`), as far as the precision asks for it

`mdl` is the mean of their sum over test positions: lower is better, from 0 on; without a bound above, but a useful SAE
is below `dense`, the bits that the activations' principal components need for the same precision without any SAE. So
an SAE of few bits that says nothing pays for it in the remainder, and one that says all in a dense code pays there.
p_j, q_jb and the remainder's variances are estimated on train games, and the bits are those of test positions: a code
length that a decoder could really read. n is the one of `BINS` with the shortest description of validation positions.

Repaired: the published code counts entropies of the very data that it describes; its histograms of values include the
zeros that the support has said already; its quantiser puts a latent that is off into the middle of its first bin, and
so turns it on; its bins reach to at least 100 whatever the scale; and it takes the shortest code of those with an error
below a limit that is the same for every model, or the shortest of all if there is none, so that a dead SAE scores best.
`published` is its number for the same bins. (It has no form of a result file, so none is written.)

Source: Ayonrinde et al. 2024 (arXiv 2410.11179); SAEBench 0.6, `mdl`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.config import Count, Seed, Share, config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.gaussian import Gaussian, gaussian
from boardgame_sae.metrics.score import Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import ROWS_AT_ONCE, Subject
from boardgame_sae.testbeds.testbed import Testbed

BINS = (4, 6, 8, 12, 16, 32)
"""Numbers of bins to choose from, as published."""
PUBLISHED_MAXIMUM = 100.0
"""The published bins reach to here, or to the largest activation beyond."""


@config
class MDLConfig:
    """How precisely activations are described, and on how many positions the number of bins is chosen."""

    tolerance: Share = 0.1
    """Share of the variance of the activations that may stay unsaid."""
    n_fit: Count = 8192
    """Train positions on which the variances of the remainder are estimated."""
    n_validation: Count = 2048
    """Validation positions on which the number of bins is chosen."""
    seed: Seed = 0
    """Which positions are drawn."""

    def __post_init__(self) -> None:
        if self.tolerance == 0:
            raise ValueError("tolerance must be above 0: no code says activations exactly")


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    total = {name: part.sum(1) for name, part in sums.items()}
    n_positions = np.maximum(total["positions"], 1)
    bits = {name: total[name] / n_positions for name in ("support", "values", "remainder", "dense")}
    value = bits["support"] + bits["values"] + bits["remainder"]
    return {"value": value, **bits, "explained_variance": 1 - total["error"] / np.maximum(total["spread"], 1e-12)}


LENGTH = Statistic(
    ("positions", "support", "values", "remainder", "dense", "error", "spread"),
    _numbers,
    same=("positions", "dense", "spread"),
)


@score(
    "mdl",
    title="Description length",
    meaning="Bits per position that describe the activations to a fixed precision, with the SAE's latents as the code",
    source="Ayonrinde et al. 2024 (arXiv 2410.11179), as in SAEBench, with what the latents leave unsaid",
    suites=("saebench",),
    order=18,
    high=float("inf"),
    better="lower",
    needs=("decode",),
    config=MDLConfig,
    statistic=LENGTH,
    display=Display(
        parts={
            "support": "which latents are on",
            "values": "their values",
            "remainder": "what they leave unsaid",
            "dense": "principal components alone",
            "explained_variance": "explained variance once quantised",
            "published": "published formula",
            "n_bins": "bins",
        },
        columns=("_dense", "_explained_variance"),
        unit="bits per position",
    ),
)
def mdl_score(subject: Subject, cfg: MDLConfig) -> ScoreValue:
    """Description length of the test activations."""
    plain = subject.testbed.once(plain_code, cfg)
    codes = {n_bins: latent_code(subject, n_bins) for n_bins in BINS}
    remainders, on_validation = _choose(subject, codes, plain, cfg)
    n_bins = min(BINS, key=lambda n_bins: on_validation[n_bins])
    sums = _test_sums(subject, codes[n_bins], remainders[n_bins], plain)
    value = LENGTH.score(GameSums.dense(sums, LENGTH.same))
    parts = value.parts | {"published": published_length(subject, n_bins), "n_bins": n_bins}
    lengths = {str(n): round(length, 4) for n, length in on_validation.items()}
    return value._replace(parts=parts, details={"on_validation": lengths})


class LatentCode(NamedTuple):
    """A code for latents, made on train positions."""

    n_bins: int
    max_F: np.ndarray
    """Largest activation of each latent; 1 of one that is never on."""
    on_F: np.ndarray
    """Bits that say that a latent is on."""
    off_F: np.ndarray
    """Bits that say that it is off."""
    bin_FB: np.ndarray
    """Bits that say in which bin it is."""

    def bins(self, values: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """The bin of each activation above zero; those beyond the largest known are in the last."""
        place = np.ceil(values / self.max_F[latent] * self.n_bins).astype(np.int64) - 1
        return np.clip(place, 0, self.n_bins - 1)

    def quantise(self, z_NF: Tensor) -> Tensor:
        """Latents in the middle of their bins; those that are off stay so."""
        width_F = torch.from_numpy(self.max_F / self.n_bins).to(z_NF)
        middle_NF = ((z_NF / width_F).ceil().clamp(1, self.n_bins) - 0.5) * width_F
        return torch.where(z_NF > 0, middle_NF, 0.0)


def latent_code(subject: Subject, n_bins: int) -> LatentCode:
    """The code of a subject's train latents: half a count is added to each, so that nothing has no code."""
    max_F, parts = _maximum(subject), subject.latents("train")
    n_positions, n_on_F = (
        sum(part.n_positions for part in parts),
        np.sum([np.diff(part.indptr_F1) for part in parts], 0),
    )
    share_F = (n_on_F + 0.5) / (n_positions + 1)
    code = LatentCode(n_bins, max_F, -np.log2(share_F), -np.log2(1 - share_F), np.empty(0))
    count_FB = np.sum([_histogram(code, part) for part in parts], 0) + 0.5
    return code._replace(bin_FB=-np.log2(count_FB / count_FB.sum(1, keepdims=True)))


def _maximum(subject: Subject) -> np.ndarray:
    max_F = np.max([part.max_F() for part in subject.latents("train")], axis=0).astype(np.float64)
    return np.where(max_F > 0, max_F, 1.0)


def _histogram(code: LatentCode, part: Latents) -> np.ndarray:
    """(F, n_bins): how often each latent is in each bin."""
    latent_Z = np.repeat(np.arange(part.n_latents), np.diff(part.indptr_F1))
    place_Z = latent_Z * code.n_bins + code.bins(part.values_Z, latent_Z)
    return np.bincount(place_Z, minlength=part.n_latents * code.n_bins).reshape(-1, code.n_bins)


def latent_bits(code: LatentCode, parts: Sequence[Latents]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each: the bits of the support and of the values at the positions of a split."""
    support, values = [], []
    for part in parts:
        latent_Z = np.repeat(np.arange(part.n_latents), np.diff(part.indptr_F1))
        extra_Z = code.on_F[latent_Z] - code.off_F[latent_Z]
        bin_Z = code.bin_FB[latent_Z, code.bins(part.values_Z, latent_Z)]
        support.append(code.off_F.sum() + np.bincount(part.rows_Z, extra_Z, part.n_positions))
        values.append(np.bincount(part.rows_Z, bin_Z, part.n_positions))
    return np.concatenate(support), np.concatenate(values)


class PlainCode(NamedTuple):
    """The code of activations without any SAE."""

    mean_D: Tensor
    precision: float
    """Variance that may stay unsaid."""
    gaussian: Gaussian


def plain_code(testbed: Testbed, cfg: MDLConfig) -> PlainCode:
    """The code of the principal components, from all train positions."""
    acts_ND = testbed.activations("train").double()
    precision = cfg.tolerance * float(acts_ND.var(0, correction=0).sum())
    return PlainCode(acts_ND.mean(0), precision, gaussian(acts_ND, precision))


def _choose(
    subject: Subject, codes: Mapping[int, LatentCode], plain: PlainCode, cfg: MDLConfig
) -> tuple[dict[int, Gaussian], dict[int, float]]:
    """For each number of bins, the code of the remainder, and bits per position on validation."""
    sizes = {"train": cfg.n_fit, "validation": cfg.n_validation}
    rows = {split: _drawn(subject.testbed, split, n, cfg.seed) for split, n in sizes.items()}
    missed = {split: _missed(subject, split, row_N, codes) for split, row_N in rows.items()}
    remainders = {n_bins: gaussian(missed["train"][n_bins], plain.precision) for n_bins in codes}
    lengths = {}
    for n_bins, code in codes.items():
        support_N, values_N = (bits[rows["validation"]] for bits in latent_bits(code, subject.latents("validation")))
        remainder_N = remainders[n_bins].bits(missed["validation"][n_bins])
        lengths[n_bins] = float(np.mean(support_N + values_N + remainder_N))
    return remainders, lengths


def _drawn(testbed: Testbed, split: str, n: int, seed: int) -> np.ndarray:
    """At most n positions of a split, ascending."""
    n_positions = len(testbed.positions(split))
    rng = np.random.default_rng(seed_for(seed, "positions", split))
    return np.sort(rng.choice(n_positions, min(n, n_positions), replace=False))


@torch.no_grad()
def _missed(subject: Subject, split: str, row_N: np.ndarray, codes: Mapping[int, LatentCode]) -> dict[int, Tensor]:
    """(N, D) float64 by number of bins: activations less what the quantised latents reconstruct."""
    source, acts_ND = subject.source, subject.testbed.activations(split)[torch.from_numpy(row_N)]
    assert source.decode is not None
    missed: dict[int, list[Tensor]] = {n_bins: [] for n_bins in codes}
    for x_ND in acts_ND.split(ROWS_AT_ONCE):
        z_NF = torch.as_tensor(source.encode(x_ND))
        for n_bins, code in codes.items():
            missed[n_bins].append((x_ND - source.decode(code.quantise(z_NF)).cpu()).double())
    return {n_bins: torch.cat(parts) for n_bins, parts in missed.items()}


def _test_sums(subject: Subject, code: LatentCode, remainder: Gaussian, plain: PlainCode) -> dict[str, np.ndarray]:
    """(B games,) by name of LENGTH's sums."""
    where, acts_ND = subject.testbed.positions("test"), subject.testbed.activations("test").double()
    missed_ND = _missed(subject, "test", np.arange(len(where)), {code.n_bins: code})[code.n_bins]
    support_N, values_N = latent_bits(code, subject.latents("test"))
    rows = {
        "positions": np.ones(len(where)),
        "support": support_N,
        "values": values_N,
        "remainder": remainder.bits(missed_ND),
        "dense": plain.gaussian.bits(acts_ND),
        "error": missed_ND.pow(2).sum(1).numpy(),
        "spread": (acts_ND - plain.mean_D).pow(2).sum(1).numpy(),
    }
    return {name: np.bincount(where.game_N, row_N, len(where.games_B)) for name, row_N in rows.items()}


def published_length(subject: Subject, n_bins: int) -> float:
    """sum_j H(p_j) + p_j H(histogram of all activations of j, zeros too), both of test, as published."""
    parts = subject.latents("test")
    max_F = np.maximum(_maximum(subject), PUBLISHED_MAXIMUM)
    code = LatentCode(n_bins, max_F, np.empty(0), np.empty(0), np.empty(0))
    count_FB, n_positions = (
        np.sum([_histogram(code, part) for part in parts], 0),
        sum(part.n_positions for part in parts),
    )
    share_F = count_FB.sum(1) / n_positions
    share_FB = count_FB / n_positions
    share_FB[:, 0] += 1 - share_F
    return float((_entropy(np.stack([share_F, 1 - share_F], 1)) + share_F * _entropy(share_FB)).sum())


def _entropy(share_FB: np.ndarray) -> np.ndarray:
    """(F,): entropy in bits of each row."""
    return -np.sum(share_FB * np.log2(np.where(share_FB > 0, share_FB, 1)), axis=1)
