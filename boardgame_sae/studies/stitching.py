"""Stitching a large SAE's latents into a small one: which bring something new, and is that new about the board?

A latent of the large SAE is *novel* where the small SAE's error falls when the latent is added to its reconstruction,
and a *reconstruction* latent where it rises: the small SAE has its part already, and the two must be swapped. With r
the small SAE's error and z, d the latent's activation and decoder row, adding it changes the mean squared error by
E[z^2 |d|^2 - 2 z r.d], so that all latents are tried at once, exactly.

The paper (Leask, Bussmann et al. 2025, arXiv 2502.04878) predicts which a latent is by the largest cosine of its
decoder row with the small SAE's: below about 0.7 it is novel. It goes from the small to the large SAE by adding the
novel latents first, then swapping groups of latents that are alike (connected by a cosine above the threshold), and
finds that the error falls all the way. Its language models could not say whether novel latents stand for anything new;
a board can: a latent is a classifier of the class that it predicts best, and new where the small SAE's best latent for
that class is worse by a margin.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from boardgame_sae.config import Count, NonNegative, Share, config
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.property_results import latent_classes, property_results
from boardgame_sae.model.float64 import exact
from boardgame_sae.pipeline.grid import expand, train_grid
from boardgame_sae.report.figures.style import BLUE, ORANGE, legend_below
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import look
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.over_games import auc_within, mean, ratio, row_of
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.testbed import Testbed

COLUMNS = {
    "name": "SAEs",
    "novel": "novel",
    "auc": "AUC of 1 - cosine",
    "accuracy": "right at the threshold",
    "mse_small": "error, small",
    "mse_added": "after those predicted novel are added",
    "mse_large": "large",
    "falls": "steps on which the error falls",
    "novel_classify": "novel that classify",
    "others_classify": "others that classify",
    "novel_new": "novel that are new",
    "others_new": "others that are new",
}


@config
class StitchingStudy(StudyConfig):
    """Which pairs of SAEs, and what counts."""

    saes: tuple[dict[str, Any], ...] = ({"architecture": "topk", "k": 16},)
    """SAEs by their fields, without n_latents and seed; each gives a pair, small and large, for each seed."""
    small: Count = 128
    """Latents of the small SAE."""
    large: Count = 512
    """Latents of the large one."""
    seeds: Seeds = (0, 1)
    """Seeds of the pairs: of their weights."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How they are trained, on one stream."""
    threshold: Share = 0.7
    """Cosine below which a latent is predicted to be novel, and above which two latents are alike."""
    n_positions: Count = 10_000
    """Test positions on which errors are measured."""
    n_points: Count = 40
    """Points of the way from small to large at which error and L0 are measured."""
    min_f1: Share = 0.5
    """A latent classifies a class where its F1 on test is at least this."""
    margin: NonNegative = 0.1
    """It is new where the small SAE's best F1 for the class is lower by at least this."""


class Novelty(NamedTuple):
    """What each latent of a large SAE brings to a small one; only of latents that are on somewhere."""

    latent_F: np.ndarray
    """(F,) which latents these are."""
    change_F: np.ndarray
    """(F,) change of the squared error per position when it is added."""
    cosine_F: np.ndarray
    """(F,) largest cosine of its decoder row with one of the small SAE."""

    @property
    def novel_F(self) -> np.ndarray:
        """bool (F,): the error falls."""
        return self.change_F < 0


@torch.no_grad()
def novelty(small: SAE, large: SAE, x_ND: Tensor) -> Novelty:
    """Try each latent of the large SAE in the small one, on some activations (N, D)."""
    z_NF, missed_ND = large.encode(x_ND), x_ND - small(x_ND)
    along_F = exact(z_NF * (missed_ND @ large.W_dec.T)).sum(0)
    change_F = exact(z_NF.pow(2)).sum(0) * exact(large.W_dec.pow(2).sum(1)) - 2 * along_F
    latent_F = (z_NF > 0).any(0).nonzero()[:, 0].numpy()
    cosine_F = cosines(large, small).max(1).values
    return Novelty(latent_F, change_F.numpy()[latent_F] / len(x_ND), cosine_F.numpy()[latent_F])


def cosines(a: SAE, b: SAE) -> Tensor:
    """(F_a, F_b) the cosines of two SAEs' decoder rows."""
    return F.normalize(a.W_dec.detach(), dim=1) @ F.normalize(b.W_dec.detach(), dim=1).T


class Point(NamedTuple):
    """A stitched SAE."""

    share: float
    """Share of the large SAE's latents that are in."""
    error_N: np.ndarray
    """Squared error at each position."""
    l0: float
    """Latents on per position."""
    phase: str
    """add, swap, or drop (the small SAE's latents that resemble none)."""

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return float(self.error_N.mean())


def groups(small: SAE, large: SAE, threshold: float) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The steps from small to large: phase, latents of the large that come in, latents of the small that go.

    Latents whose decoder rows have a cosine above the threshold are connected. Large ones alone are added, groups of
    both are swapped, small ones alone are dropped; each kind in the order of its first latent.
    """
    near_LS = (cosines(large, small) > threshold).numpy()
    n_large, n_small = near_LS.shape
    rows, columns = near_LS.nonzero()
    joined = coo_array((np.ones(len(rows)), (rows, columns + n_large)), shape=(n_large + n_small,) * 2)
    _, group = connected_components(joined, directed=False)
    kinds: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"add": [], "swap": [], "drop": []}
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        come, go = members[members < n_large], members[members >= n_large] - n_large
        kinds["swap" if len(come) and len(go) else "add" if len(come) else "drop"].append((come, go))
    for phase, steps in kinds.items():
        for come, go in steps:
            yield phase, come, go


@torch.no_grad()
def way_from_small_to_large(small: SAE, large: SAE, x_ND: Tensor, threshold: float, n_points: int) -> list[Point]:
    """Error and L0 of the stitched SAEs at about n_points steps, and at both ends and every change of phase.

    The bias of the decoder moves with the share of large latents that are in.
    """
    z_small_NF, z_large_NF = small.encode(x_ND), large.encode(x_ND)
    steps = list(groups(small, large, threshold))
    sum_ND, on_N, n_in = z_small_NF @ small.W_dec, (z_small_NF > 0).sum(1), 0
    every = max(1, len(steps) // n_points)

    def point(phase: str) -> Point:
        share = n_in / large.cfg.n_latents
        rebuilt_ND = sum_ND + (1 - share) * small.b_dec + share * large.b_dec
        error_N = exact((x_ND - rebuilt_ND).pow(2)).sum(1).cpu().numpy()
        return Point(share, error_N, float(exact(on_N).mean()), phase)

    points = [point("add")]
    for number, (phase, come, go) in enumerate(steps, 1):
        sum_ND = sum_ND + z_large_NF[:, come] @ large.W_dec[come] - z_small_NF[:, go] @ small.W_dec[go]
        on_N = on_N + (z_large_NF[:, come] > 0).sum(1) - (z_small_NF[:, go] > 0).sum(1)
        n_in += len(come)
        if number % every == 0 or number == len(steps) or steps[number][0] != phase:
            points.append(point(phase))
    return points


def new_properties(small: Subject, large: Subject, latent_F: np.ndarray, min_f1: float, margin: float) -> np.ndarray:
    """What some of the large SAE's latents are of the board: 0 nothing, 1 a classifier, 2 a classifier that is new.

    Each latent's class and threshold, and the small SAE's best latent for that class, are chosen on train; F1 is that
    on test.
    """
    classes = latent_classes(large)
    f1_F = f1(classes.counts.true_positives_F, classes.counts.predicted_positives_F, classes.positives_F)
    best_P = best_f1(small)
    known = best_P[np.maximum(classes.column_F, 0)]
    what_F = np.where(f1_F >= min_f1, 1, 0) + ((f1_F >= min_f1) & (f1_F - known >= margin))
    return np.where(classes.column_F >= 0, what_F, 0)[latent_F]


def best_f1(subject: Subject) -> np.ndarray:
    """(P,) the F1 on test of the latent that is best on train, for each class of the testbed; 0 of those not scored."""
    best_P = np.zeros(subject.testbed.columns[-1].stop)
    for result in property_results(subject):
        totals = result.covered.totals()
        counts = (totals[name][: len(result.chosen_C)] for name in CLASSIFIER)
        best_P[result.columns.start + result.chosen_C] = f1(*counts)
    return best_P


@study("stitching", StitchingStudy)
def stitching(cfg: StitchingStudy, setting: Setting) -> Plan:
    """Which latents of a large SAE are new to a small one, and are they new about the board?"""
    small = [{**fields, "n_latents": cfg.small} for fields in cfg.saes]
    expand(small, setting.testbed.width, cfg.training)  # raises before training
    rows = [partial(_row, cfg, setting, fields) for fields in cfg.saes]
    return Plan(rows, COLUMNS, partial(figure, threshold=cfg.threshold))


def _row(cfg: StitchingStudy, setting: Setting, fields: dict[str, Any]) -> Row:
    """What the pairs of all seeds say; the figure shows the first."""
    row: Row = {"name": " ".join(f"{value}" for value in fields.values()), "architecture": fields["architecture"]}
    return row | row_of([_pair(cfg, setting, fields, seed, drawn=not number) for number, seed in enumerate(cfg.seeds)])


def _pair(cfg: StitchingStudy, setting: Setting, fields: dict[str, Any], seed: int, *, drawn: bool) -> Row:
    """What one pair says. drawn: with all that the figure shows of it."""
    testbed = setting.testbed
    grid = [{**fields, "n_latents": [cfg.small, cfg.large], "seed": seed}]
    folders = train_grid(testbed, grid, cfg.training, setting.device)
    small, large = (load_sae(folder) for folder in folders)
    x_ND = testbed.activations("test")[: cfg.n_positions]
    found = novelty(small, large, x_ND)
    path = way_from_small_to_large(small, large, x_ND, cfg.threshold, cfg.n_points)
    of_board = _of_board(cfg, testbed, small, large, found.latent_F)
    names_F = [f"{seed}, {latent}" for latent in found.latent_F]  # latents of two seeds have nothing in common
    game_N = testbed.positions("test").game_N[: cfg.n_positions]
    row: Row = {
        "n_alive": len(found.latent_F), **_separation(found, cfg.threshold, names_F), **_path(path, game_N),
        **_shares(found.novel_F, of_board, names_F),
    }  # fmt: skip
    if not drawn:
        return row
    points = [[point.share, point.mse, point.l0, point.phase] for point in path]
    return row | {"change": found.change_F.tolist(), "cosine": found.cosine_F.tolist(), "path": points}


def _of_board(cfg: StitchingStudy, testbed: Testbed, small: SAE, large: SAE, latent_F: np.ndarray) -> np.ndarray:
    subjects = Subject("small", SAE_KIND, small, testbed), Subject("large", SAE_KIND, large, testbed)
    return new_properties(*subjects, latent_F, cfg.min_f1, cfg.margin)


def _separation(found: Novelty, threshold: float, names_F: Sequence[str]) -> Row:
    """How well the cosine tells novel latents from the others."""
    return {
        "novel": mean(found.novel_F, names_F),
        "auc": auc_within(-found.cosine_F, found.novel_F, np.array(names_F)),
        "accuracy": mean((found.cosine_F < threshold) == found.novel_F, names_F),
    }


def _path(path: Sequence[Point], game_N: np.ndarray) -> Row:
    """Errors, over games: at the start, where all that are predicted novel are in, and at the end."""
    added = [point for point in path if point.phase == "add"]
    falls = np.diff([point.mse for point in path]) <= 0
    row: Row = {"falls": float(falls.mean()) if len(falls) else 1.0}
    for name, point in (("small", path[0]), ("added", added[-1]), ("large", path[-1])):
        row |= {f"mse_{name}": mean(point.error_N, game_N), f"l0_{name}": point.l0}
    return row


def _shares(novel_F: np.ndarray, of_board_F: np.ndarray, names_F: Sequence[str]) -> Row:
    """Of novel latents and of the others, the shares that classify something and that are new."""
    return {
        f"{who}_{what}": ratio((of_board_F >= least) & chosen_F, chosen_F, names_F)
        for who, chosen_F in (("novel", novel_F), ("others", ~novel_F))
        for what, least in (("classify", 1), ("new", 2))
    }


def figure(rows: Sequence[Row], threshold: float) -> Figure:
    """Change of the error against cosine, and the way from small to large, of the first seed of each kind of SAE."""
    drawn = Figure(figsize=(10.5, 4.6), layout="constrained")
    scatter, way = drawn.subplots(1, 2)
    for row in rows:
        colour, marker = look(row["architecture"])
        change = np.array(row["change"]) / row["mse_small"]
        scatter.scatter(row["cosine"], change, s=8, color=colour, marker=marker, label=row["name"], alpha=0.6)
        share, mse, _, phase = zip(*row["path"], strict=True)
        way.plot(share, mse, color=colour, label=row["name"])
        at = phase.index("swap") - 1 if "swap" in phase else len(phase) - 1
        way.plot(share[at], mse[at], marker="o", color=colour)
    scatter.axhline(0, color=BLUE, linewidth=0.8)
    scatter.axvline(threshold, color=ORANGE, linewidth=0.8)
    scatter.set_yscale("symlog", linthresh=1e-3)
    scatter.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scatter.set(
        title="Below the line: novel", xlabel="largest cosine with the small SAE's decoder",
        ylabel="change of the error when added, share of it",
    )  # fmt: skip
    way.set(
        title="Predicted novel: added; the others: swapped", xlabel="share of the large SAE's latents in",
        ylabel="squared error",
    )  # fmt: skip
    legend_below(drawn, [scatter])
    return drawn
