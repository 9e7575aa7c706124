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
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from boardgame_sae.config import Count, Seed, Share, config, seed_for
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
from boardgame_sae.studies.study import Plan, Row, Setting, StudyConfig, study
from boardgame_sae.testbeds.columns import PropertyColumns
from boardgame_sae.testbeds.testbed import Testbed

COLUMNS = {
    "sae": "SAE",
    "seed": "seed",
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
    seeds: tuple[Seed, ...] = (0, 1)
    """Seeds of the meta-SAEs of each."""
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
    best_P: np.ndarray
    """(P,) the best F1 of any meta-latent for each parent."""
    meta_latent_P: np.ndarray
    """(P,) that meta-latent."""
    shuffled_R: np.ndarray
    """The value after each of R shuffles."""

    @property
    def p(self) -> float:
        """The share of shuffles, the truth among them, that match as well."""
        return float((1 + (self.shuffled_R >= self.value).sum()) / (1 + len(self.shuffled_R)))


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


@study("meta_sae", MetaSAEStudy, saes=lambda cfg: cfg.saes)
def meta_sae(cfg: MetaSAEStudy, setting: Setting) -> Plan:
    """Do the meta-latents of a decoder match the parts that a board has?"""
    rows: list[Callable[[], Row]] = [partial(_row, cfg, setting, sae, seed) for sae in cfg.saes for seed in cfg.seeds]
    return Plan(rows, COLUMNS, figure)


def _row(cfg: MetaSAEStudy, setting: Setting, name: str, seed: int) -> Row:
    sae, testbed = load_sae(name), setting.testbed
    class_F = classes_of(Subject(name, SAE_KIND, sae, testbed), cfg.min_f1)
    own = classified(testbed, class_F, cfg.min_latents)
    training = MetaStructureConfig(**{**vars(cfg.training), "seed": seed})
    generator = torch.Generator().manual_seed(seed_for(seed, "random rows"))
    rows_FD = normalize(sae.W_dec.detach().cpu().float(), dim=1)
    random_FD = normalize(torch.randn(rows_FD.shape, generator=generator), dim=1)
    row: Row = {
        "sae": Path(name).name, "architecture": sae.trained_as["architecture"], "seed": seed,
        "held_out": explained(rows_FD, training).held_out, "n_classifiers": len(own.latent_K),
        "n_parents": len(own.parents),
    }  # fmt: skip
    for who, given_FD in (("", rows_FD), ("random", random_FD)):
        trained = train_meta_sae(given_FD, meta_width(len(given_FD)), training)
        if not who:
            row["explained"] = variance_explained(trained, given_FD)[0]
        if own.parents:
            with torch.no_grad():
                meta_KM = trained.encode(given_FD[own.latent_K])
            matched = match(meta_KM, own.parents_KP, cfg.n_shuffles, seed_for(seed, "shuffles"))
            row |= {"random": matched.value} if who else _matched(matched, own)
    return row


def _matched(matched: Match, own: Classified) -> Row:
    low, high = np.quantile(matched.shuffled_R, [0.025, 0.975])
    return {
        "match": matched.value, "shuffled": float(matched.shuffled_R.mean()), "shuffled_low": float(low),
        "shuffled_high": float(high), "p": matched.p,
        "by_parent": dict(zip(own.parents, matched.best_P.tolist(), strict=True)),
    }  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """The match of each SAE's meta-latents with parents, beside what shuffling and random directions give."""
    drawn = Figure(figsize=(7.5, 0.45 * len(rows) + 1.8), layout="constrained")
    axes = drawn.subplots()
    shown = [row for row in rows if "match" in row][::-1]
    for place, row in enumerate(shown):
        colour, marker = look(row["architecture"])
        axes.plot([row["shuffled_low"], row["shuffled_high"]], [place, place], color=GREY, linewidth=5, alpha=0.6)
        axes.plot(row["match"], place, marker=marker, color=colour, markersize=8)
        axes.plot(row["random"], place, marker="|", color=SKY, markersize=12)
    axes.set_yticks(range(len(shown)), [f"{row['sae']}, seed {row['seed']}" for row in shown])
    axes.set(xlabel="match with parents (mean best F1)")
    drawn.suptitle("Meta-latents, beside shuffled classes (bars) and random directions (lines)", fontsize=10)
    return drawn
