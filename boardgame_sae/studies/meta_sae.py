"""Meta-SAEs: are the latents of an SAE themselves made of parts, and are the parts those that a board has?

The paper (Leask, Bussmann et al. 2025, arXiv 2502.04878) trains a small BatchTopK SAE on the decoder rows of a large
one. Its meta-latents explain 55% of the rows' variance, and read like parts: "Einstein" is a scientist, German, famous.
Whether they are the parts that there are, language could not say. On a board each latent that classifies a class has
parents that the class itself names: its property, its square, and the words it consists of (owner, kind of piece), as
`d3 my knight` has the square d3, the owner my and the piece knight. A meta-latent matches a parent as well as it tells
the latents that have it from the others, by F1 at its best threshold; `match` is the mean over parents of the best
meta-latent's. It is compared with the same after the latents' classes are shuffled among them, which keeps how many
latents each parent has, and with a meta-SAE of as many random directions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from boardgame_sae.config import Count, Share, config, seed_for
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.coverage import coverage
from boardgame_sae.metrics.saebench.meta_structure import (
    MetaStructureConfig,
    explained,
    meta_width,
    train_meta_sae,
    variance_explained,
)
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.property_results import latent_classes
from boardgame_sae.report.figures.style import GREY, SKY
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import look
from boardgame_sae.studies.over_games import Counted, alone, mean, row_of
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.columns import PropertyColumns
from boardgame_sae.testbeds.testbed import Testbed

COLUMNS = {
    "sae": "SAE",
    "explained": "variance of decoder rows explained",
    "held_out": "of rows held out",
    "n_classifiers": "latents that classify",
    "n_parents": "parents",
    "match": "match with parents",
    "shuffled": "shuffled [95%]",
    "p": "p",
    "random": "meta-SAE of random directions",
}


@config
class MetaSAEStudy(StudyConfig):
    """Whose decoders are taken apart."""

    saes: tuple[str, ...] = ("othello6-tiny/topk-16", "othello6-tiny/p_anneal-0.08")
    """Folders of SAEs, or names of shipped ones."""
    training: MetaStructureConfig = MetaStructureConfig()
    """How the meta-SAEs are trained; the seed is that of `seeds`."""
    seeds: Seeds = (0, 1)
    """Seeds of the meta-SAEs of each, of the random directions, and of the shuffles."""
    min_f1: Share = 0.5
    """A latent classifies a class where its F1 on test is at least this."""
    min_latents: Count = 5
    """A parent counts where at least this many latents have it, and as many have not."""
    n_shuffles: Count = 200
    """Times that classes are shuffled among latents."""


class Classified(NamedTuple):
    """The latents that classify something on the board."""

    latent_K: np.ndarray
    """(K,) which latents these are."""
    parents_KP: np.ndarray
    """bool (K, P): which parents each latent's class has."""
    parents: tuple[str, ...]
    """P names: `property mine_yours`, `square d3`, `word mine`."""


class Match(NamedTuple):
    """How well meta-latents match parents, and what is expected by chance."""

    value: float
    """Mean over parents of the best F1."""
    best_P: np.ndarray
    """(P,) the best F1 of any meta-latent for each parent."""
    meta_latent_P: np.ndarray
    """(P,) that meta-latent."""
    shuffled_R: np.ndarray
    """The value after each of R shuffles."""


def as_well(matches: Sequence[Match]) -> float:
    """The share of shuffles, the truth among them, that match as well: p. Of several seeds, by their means."""
    value, shuffled_R = np.mean([one.value for one in matches]), np.mean([one.shuffled_R for one in matches], axis=0)
    return float((1 + (shuffled_R >= value).sum()) / (1 + len(shuffled_R)))


def parents_of(columns: Sequence[PropertyColumns], squares: Sequence[str], column: int) -> list[str]:
    """The parents of a class, by its column among a testbed's labels: property, square, and the words of its name."""
    of = next(each for each in columns if each.start <= column < each.stop)
    square_name, words = [], of.class_names[column - of.start].split()
    if (square := int(of.square_P[column - of.start])) >= 0:
        square_name = [f"square {squares[square]}"]
        words = [word for word in words if word != squares[square]]
    return [f"property {of.name}", *square_name, *(f"word {word}" for word in words if word != of.name)]


def classified(testbed: Testbed, class_F: np.ndarray, min_latents: int) -> Classified:
    """The latents that have a class and their parents, of those that some latents have and some have not.

    class_F: (n_latents,) the column of the class that each latent classifies, -1 for none.
    """
    latent_K = np.flatnonzero(class_F >= 0)
    squares = testbed.corpus.game.squares
    of_latent = [parents_of(testbed.columns, squares, int(class_F[latent])) for latent in latent_K]
    names = tuple(dict.fromkeys(name for own in of_latent for name in own))
    parents_KP = np.array([[name in own for name in names] for own in of_latent], bool).reshape(
        len(latent_K), len(names)
    )
    having_P = parents_KP.sum(0)
    kept_P = (having_P >= min_latents) & (len(latent_K) - having_P >= min_latents)
    return Classified(latent_K, parents_KP[:, kept_P], tuple(np.array(names, object)[kept_P]))


def match(meta_KM: Tensor, parents_KP: np.ndarray, n_shuffles: int, seed: int) -> Match:
    """Match meta-latents with parents. meta_KM: (latents, meta-latents) activations of a meta-SAE on decoder rows.

    Raises ValueError when there is no parent.
    """
    found = coverage(meta_KM, parents_KP)
    rng = np.random.default_rng(seed)
    shuffled = [coverage(meta_KM, parents_KP[rng.permutation(len(parents_KP))]).value for _ in range(n_shuffles)]
    return Match(found.value, found.f1_P.numpy(), found.latent_P.numpy(), np.array(shuffled))


def classes_of(subject: Subject, min_f1: float) -> np.ndarray:
    """(n_latents,) the column of the class that each latent classifies, chosen on train; -1 for none, by F1 on test."""
    classes = latent_classes(subject)
    f1_F = f1(classes.counts.true_positives_F, classes.counts.predicted_positives_F, classes.positives_F)
    return np.where(f1_F >= min_f1, classes.column_F, -1)


@study("meta_sae", MetaSAEStudy, saes=lambda cfg: cfg.saes, version=2)
def meta_sae(cfg: MetaSAEStudy, setting: Setting) -> Plan:
    """Do the meta-latents of a decoder match the parts that a board has?"""
    rows: list[Callable[[], Row]] = [partial(_row, cfg, setting, sae) for sae in cfg.saes]
    return Plan(rows, COLUMNS, figure)


class Trained(NamedTuple):
    """What one seed finds of an SAE's decoder."""

    explained: float
    """Share of the rows' variance that the meta-SAE explains."""
    held_out: float
    """The same of rows that a meta-SAE has not seen."""
    matches: tuple[Match, Match] | None
    """Of the decoder's rows, and of random directions; None where there is no parent."""


def _row(cfg: MetaSAEStudy, setting: Setting, name: str) -> Row:
    sae, testbed = load_sae(name), setting.testbed
    class_F = classes_of(Subject(name, SAE_KIND, sae, testbed), cfg.min_f1)
    own = classified(testbed, class_F, cfg.min_latents)
    rows_FD = normalize(sae.W_dec.detach().cpu().float(), dim=1)
    trained = [_trained(cfg, rows_FD, own, seed) for seed in cfg.seeds]
    row: Row = {
        "sae": Path(name).name, "architecture": sae.trained_as["architecture"],
        "n_classifiers": len(own.latent_K), "n_parents": len(own.parents),
    }  # fmt: skip
    pairs = [one.matches for one in trained if one.matches is not None]
    numbers = [
        {"explained": alone(one.explained), "held_out": alone(one.held_out), **_matched(one.matches, own)}
        for one in trained
    ]
    return row | row_of(numbers) | (_chance([decoder for decoder, _ in pairs]) if pairs else {})


def _trained(cfg: MetaSAEStudy, rows_FD: Tensor, own: Classified, seed: int) -> Trained:
    training = replace(cfg.training, seed=seed)
    generator = torch.Generator().manual_seed(seed_for(seed, "random rows"))
    random_FD = normalize(torch.randn(rows_FD.shape, generator=generator), dim=1)
    meta = train_meta_sae(rows_FD, meta_width(len(rows_FD)), training)
    shares = variance_explained(meta, rows_FD)[0], explained(rows_FD, training).held_out
    if not own.parents:
        return Trained(*shares, None)
    random = train_meta_sae(random_FD, meta_width(len(random_FD)), training)
    matches = []
    for trained, given_FD in ((meta, rows_FD), (random, random_FD)):
        with torch.no_grad():
            meta_KM = trained.encode(given_FD[own.latent_K])
        matches.append(match(meta_KM, own.parents_KP, cfg.n_shuffles, seed_for(seed, "shuffles")))
    return Trained(*shares, (matches[0], matches[1]))


def _matched(matches: tuple[Match, Match] | None, own: Classified) -> dict[str, Counted | None]:
    """How well one seed's meta-latents match, over parents."""
    if matches is None:
        return {}
    return {name: mean(one.best_P, own.parents) for name, one in zip(("match", "random"), matches, strict=True)}


def _chance(matches: Sequence[Match]) -> Row:
    """What shuffling gives, the mean over seeds with the central 95% of shuffles."""
    shuffled_R = np.mean([one.shuffled_R for one in matches], axis=0)
    low, high = np.quantile(shuffled_R, [0.025, 0.975])
    shuffled = {"shuffled": float(shuffled_R.mean()), "shuffled_low": float(low), "shuffled_high": float(high)}
    return {**shuffled, "p": as_well(matches)}


def figure(rows: Sequence[Row]) -> Figure:
    """The match of each SAE's meta-latents with parents, beside what shuffling and random directions give."""
    shown = [row for row in rows if "match" in row][::-1]
    drawn = Figure(figsize=(7.5, 0.6 * len(shown) + 1.8), layout="constrained")
    axes = drawn.subplots()
    for place, row in enumerate(shown):
        colour, marker = look(row["architecture"])
        axes.plot([row["shuffled_low"], row["shuffled_high"]], [place, place], color=GREY, linewidth=7, alpha=0.5)
        for name, own, at, style in (("match", colour, 0.12, marker), ("random", SKY, -0.12, "|")):
            error = [[max(row[name] - row[f"{name}_low"], 0)], [max(row[f"{name}_high"] - row[name], 0)]]
            axes.errorbar(row[name], place + at, xerr=error, color=own, fmt=style, markersize=8)
    axes.set_yticks(range(len(shown)), [row["sae"] for row in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set(xlabel="match with parents (mean best F1)")
    drawn.suptitle("Meta-latents, beside shuffled classes (bars) and random directions (lines)", fontsize=10)
    return drawn
