"""Latents that tell openings of the training set from novel and from impossible ones, and what clamping them does.

The paper (Ferrando et al. 2024, arXiv 2411.14257) finds SAE latents that are on where a language model knows an entity,
and others where it does not, across kinds of entities; switched on, they make it answer, or refuse. Here what the model
was trained on is known game by game, the truth that it should predict is known too, and luck alone decides which of
two openings that are alike in chance it has read.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.config import ConfigError, Count, Positive, Share, config, seed_for
from boardgame_sae.metrics.saebench.data.linear import STRENGTHS, fit_chosen
from boardgame_sae.metrics.saebench.unlearning import clamp
from boardgame_sae.pipeline.grid import expand, train_grid
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.familiarity.clamping import (
    Outcome,
    alike,
    calibration_change,
    calibration_error,
    clamped,
    outcome,
)
from boardgame_sae.studies.familiarity.figure import figure
from boardgame_sae.studies.familiarity.openings import CONTRASTS, Openings, drawn_openings, kinds
from boardgame_sae.studies.familiarity.reading import Above, Reading
from boardgame_sae.studies.familiarity.separation import Frequencies, frequencies
from boardgame_sae.studies.over_games import Spread, auc_within, difference, mean, row_over_seeds
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

COLUMNS = {
    "contrast": "contrast",
    "kind": "kind",
    "who": "told by",
    "latent": "latent",
    "on_here": "on there",
    "on_there": "on at the others",
    "separation": "separation",
    "auc": "AUC",
    "scale": "clamped to",
    "entropy": "entropy",
    "entropy_alike": "... latents alike",
    "legal_mass": "legal mass",
    "legal_mass_alike": "... latents alike",
    "divergence": "divergence from truth",
    "divergence_alike": "... latents alike",
    "calibration": "calibration error",
    "calibration_alike": "... latents alike",
}
MODEL, PROBE, CHANCE = "the model as it is", "linear probe", "expected count"
RANDOM = ", random weights"


@config
class FamiliarityStudy(StudyConfig):
    """Which openings, and whose latents."""

    saes: tuple[str, ...] = ("othello6-tiny/topk-32-1024-100M", "othello6-tiny/p_anneal-0.04-20M")
    """Folders of SAEs, or names of shipped ones."""
    control: tuple[dict[str, Any], ...] = ({"architecture": "topk", "k": 32, "n_latents": 1024},)
    """SAEs of a GPT with random weights, by their fields."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How those are trained."""
    plies: tuple[Count, ...] = (9, 10)
    """Plies of the openings, each of at least 3; a latent's score is the lowest over these."""
    often: Count = 3
    """An opening counts as read often from this number on."""
    n_games: Count = 30_000
    """Fresh games whose openings are taken, for each split."""
    n_clamped: Count = 2000
    """Maximum number of openings of a contrast at which latents are clamped, in each split."""
    n_pairs: Count = 4000
    """Maximum number of openings that are compared with their impossible copies, in each split."""
    scales: tuple[Positive, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """What a latent is clamped to, in units of its mean where it is on."""
    most_lost: Share = 0.05
    """The largest scale is taken at which latents alike lose at most this legal mass, on average on validation."""
    n_alike: Count = 10
    """Other latents of about the same mean that are clamped for comparison."""
    seeds: Seeds = (0,)
    """Which openings and which other latents; and of the random weights and the SAEs trained on them."""

    def __post_init__(self) -> None:
        if not (self.plies and self.scales) or min(self.plies) < 3:
            raise ValueError("plies and scales need at least one entry each, and openings at least 3 plies")


class Asked(NamedTuple):
    """The openings of a contrast, in a split."""

    row_N: np.ndarray
    first_N: np.ndarray
    openings: Openings

    @property
    def game_N(self) -> np.ndarray:
        """The game of each."""
        return self.openings.game_N[self.row_N]

    @property
    def ply_N(self) -> np.ndarray:
        """The plies of each."""
        return self.openings.ply_N[self.row_N]


class Recognition:
    """One seed of the study: the model's reading of its openings, and that of a model with random weights."""

    def __init__(self, cfg: FamiliarityStudy, setting: Setting, seed: int) -> None:
        self.cfg, self.setting, self.seed = cfg, setting, seed
        self.reading = Reading(setting.testbed, self.openings)

    @cached_property
    def twin(self) -> Testbed:
        """The testbed around a GPT with random weights."""
        return self.setting.testbed.random_twin(self.seed)

    @cached_property
    def random_reading(self) -> Reading:
        """What that one makes of the openings."""
        return Reading(self.twin, self.openings)

    @cached_property
    def controls(self) -> list[str]:
        """Folders of SAEs of the random GPT, trained when first asked for."""
        grid = [{**fields, "seed": self.seed} for fields in self.cfg.control]
        training = replace(self.cfg.training, seed=self.seed)
        folders = train_grid(self.twin, grid, training, self.setting.device, source="control")
        return [str(folder) for folder in folders]

    def openings(self, split: str) -> Openings:
        """The openings of a split."""
        cfg = self.cfg
        return self.setting.testbed.once(drawn_openings, cfg.plies, cfg.n_games, self.seed, split)

    def asked(self, contrast: str, split: str) -> Asked:
        """Those of a contrast. Raises ConfigError where there are none."""
        openings = self.openings(split)
        chosen = kinds(openings, contrast, self.cfg.often, self.cfg.n_pairs, self.seed)
        if not len(chosen.row_N):
            raise ConfigError(
                f"n_games: no openings of {self.cfg.n_games} {split} games are {' and '.join(CONTRASTS[contrast])} "
                f"({contrast}); play more, or choose other plies, or a lower `often`"
            )
        return Asked(*chosen, openings)


@study("familiarity", FamiliarityStudy, saes=lambda cfg: cfg.saes)
def familiarity(cfg: FamiliarityStudy, setting: Setting) -> Plan:
    """Do latents tell openings that the model was trained on from novel and impossible ones, and do they matter?"""
    if not setting.testbed.corpus.tokenizer.is_whole_move:
        raise ConfigError(f"testbed: {setting.folder} has no token per move, so that moves have no known probability")
    expand(cfg.control, setting.testbed.width, cfg.training, "control")  # raises before anything is played
    seeds = [Recognition(cfg, setting, seed) for seed in cfg.seeds]
    of_seeds = partial(row_over_seeds, seeds)
    rows: list[Callable[[], Row]] = []
    for contrast, both in CONTRASTS.items():
        rows += [partial(of_seeds, _as_it_is, contrast, kind) for kind in (*both, "")]
        if "impossible" not in both:
            rows.append(partial(of_seeds, _chance, contrast))
        rows += [partial(of_seeds, _probe, contrast, trained) for trained in (True, False)]
        for kind in both:
            rows += [partial(of_seeds, _latent, contrast, kind, sae) for sae in cfg.saes]
            rows += [partial(of_seeds, _control, contrast, kind, place) for place in range(len(cfg.control))]
    return Plan(rows, COLUMNS, figure)


def _as_it_is(of: Recognition, contrast: str, kind: str) -> Row:
    """What the model predicts at one kind; with kind "", how much more each number is at the first than the second."""
    asked = of.asked(contrast, "test")
    logits_NV = of.reading.above("test", asked.row_N).logits(of.reading.acts("test")[asked.row_N])
    found = outcome(logits_NV, asked.openings.legal_NV[asked.row_N])
    first, second = CONTRASTS[contrast]
    row: Row = {"contrast": contrast, "kind": kind or f"{first} less {second}", "who": MODEL}
    of_kind_N = asked.first_N == (kind == first)
    names = ("entropy", "legal_mass", "divergence") if second == "never" else ("entropy",)  # others have no truth
    for name in names:
        value_N = getattr(found, f"{name}_N")
        own = mean(value_N[of_kind_N], asked.game_N[of_kind_N]) if kind else None
        row[name] = own or difference(value_N, asked.first_N, asked.game_N)
    if kind and len(names) > 1:
        own = Outcome(*(part_N[of_kind_N] for part_N in found))
        row["calibration"] = calibration_error(own, asked.game_N[of_kind_N])
    return row | {"n": int(of_kind_N.sum() if kind else len(of_kind_N))}


def _chance(of: Recognition, contrast: str) -> Row:
    """How well the expected count, which the board alone shows, tells the kinds of a contrast apart."""
    asked = of.asked(contrast, "test")
    row: Row = {"contrast": contrast, "kind": CONTRASTS[contrast][0], "who": CHANCE}
    expected_N = asked.openings.expected_N[asked.row_N].round(9)
    return row | {"auc": auc_within(expected_N, asked.first_N, asked.game_N, asked.ply_N)}


def _probe(of: Recognition, contrast: str, trained: bool) -> Row:
    """Logistic regression on the residual stream, its penalty chosen on validation."""
    reading = of.reading if trained else of.random_reading
    train, validation, asked = (of.asked(contrast, split) for split in SPLITS)
    x_ND, x_validation_ND, x_test_ND = (
        reading.acts(split)[own.row_N].numpy() for split, own in zip(SPLITS, (train, validation, asked), strict=True)
    )
    probe = fit_chosen(x_ND, train.first_N, x_validation_ND, validation.first_N, STRENGTHS)
    found = auc_within(probe.logits(x_test_ND), asked.first_N, asked.game_N, asked.ply_N)
    who = PROBE if trained else PROBE + RANDOM
    return {"contrast": contrast, "kind": CONTRASTS[contrast][0], "who": who, "auc": found}


def _control(of: Recognition, contrast: str, kind: str, place: int) -> Row:
    folder, fields = of.controls[place], of.cfg.control[place]
    row, _, _ = _told(of, of.random_reading, contrast, kind, folder)
    return {**row, "who": f"{fields['architecture']} SAE{RANDOM}"}


def _latent(of: Recognition, contrast: str, kind: str, sae: str) -> Row:
    """The latent of an SAE for one kind, chosen on train: how well it tells the kinds apart, and what clamping does."""
    row, latent, on_train = _told(of, of.reading, contrast, kind, sae)
    return {**row, **_clamping(of, contrast, sae, latent, on_train)}


def _told(of: Recognition, reading: Reading, contrast: str, kind: str, sae: str) -> tuple[Row, int, Frequencies]:
    first = kind == CONTRASTS[contrast][0]
    counted: dict[str, Frequencies] = {}
    for split in ("train", "test"):
        asked = of.asked(contrast, split)
        counted[split] = frequencies(reading.latents(sae, split)[asked.row_N], asked.first_N, asked.ply_N)
    latent, asked = counted["train"].best(first=first), of.asked(contrast, "test")
    value_N = reading.latents(sae, "test")[asked.row_N][:, [latent]].toarray()[:, 0]
    here_N = asked.first_N == first
    row: Row = {"contrast": contrast, "kind": kind, "who": sae.rpartition("/")[2], "latent": str(latent)}
    for name, rows_N in (("on_here", here_N), ("on_there", ~here_N)):
        row[name] = mean(value_N[rows_N] > 0, asked.game_N[rows_N])
    row |= {
        "separation": float(counted["test"].separation(first=first)[latent]),
        "separation_train": float(counted["train"].separation(first=first)[latent]),
        "auc": auc_within(value_N, here_N, asked.game_N, asked.ply_N),
    }
    return row, latent, counted["train"]


class Clamping(NamedTuple):
    """Possible openings of a contrast, at which an SAE's latents are clamped."""

    above: Above
    acts_ND: torch.Tensor
    latents_NF: Any
    legal_NV: np.ndarray
    game_N: np.ndarray
    W_dec: torch.Tensor
    mean_F: np.ndarray

    def outcome(self, latent: int | None = None, scale: float = 0.0) -> Outcome:
        """What is predicted with a latent clamped to so many times its mean where on; with none, as it is."""
        acts_ND = self.acts_ND
        if latent is not None:
            latent_N = self.latents_NF[:, [latent]].toarray()[:, 0]
            acts_ND = clamped(acts_ND, latent_N, scale * float(self.mean_F[latent]), self.W_dec[latent])
        return outcome(self.above.logits(acts_ND), self.legal_NV)


def _clamping(of: Recognition, contrast: str, sae: str, latent: int, on_train: Frequencies) -> Row:
    """Clamp a latent on, at a scale that latents alike hardly mind, and off."""
    cfg, train_NF = of.cfg, of.reading.latents(sae, "train")
    mean_F, share_F = (
        clamp.means_where_on(train_NF),
        clamp.frequencies(train_NF, np.ones(len(of.openings("train").ply_N), bool)),
    )
    apart = [on_train.best(first=first) for first in (True, False)]
    others = alike(mean_F, share_F, latent, apart, cfg.n_alike, seed_for(of.seed, "alike", sae, contrast, latent))
    scale = _scale(_where(of, contrast, sae, "validation", mean_F), others, cfg)
    test = _where(of, contrast, sae, "test", mean_F)
    before = test.outcome()
    row: Row = {"scale": f"{scale:g} x", "n_clamped": len(test.game_N), "alike": " ".join(map(str, others))}
    for way, times in (("", scale), ("off_", 0.0)):
        row |= _changes(way, test, before, test.outcome(latent, times), [test.outcome(one, times) for one in others])
    return row


def _scale(at: Clamping, others: Sequence[int], cfg: FamiliarityStudy) -> float:
    """The largest scale at which some latents lose little legal mass on average; else the smallest."""
    before = at.outcome().legal_mass_N.mean()
    for scale in sorted(cfg.scales, reverse=True):
        after = [at.outcome(one, scale).legal_mass_N.mean() for one in others]
        if before - np.mean(after) <= cfg.most_lost:
            return scale
    return min(cfg.scales)


def _where(of: Recognition, contrast: str, sae: str, split: str, mean_F: np.ndarray) -> Clamping:
    asked = of.asked(contrast, split)
    rows = asked.row_N[asked.openings.possible_N[asked.row_N]]
    rng = np.random.default_rng(seed_for(of.seed, "clamped", contrast, split))
    rows = np.sort(rng.permutation(rows)[: of.cfg.n_clamped])
    W_dec = of.reading.source(sae).W_dec
    if W_dec is None:
        raise ConfigError(f"saes: {sae} has no decoder, along whose rows latents are clamped; give an SAE")
    reading, openings = of.reading, asked.openings
    acts_ND, latents_NF = reading.acts(split)[rows], reading.latents(sae, split)[rows]
    above, legal_NV, game_N = reading.above(split, rows), openings.legal_NV[rows], openings.game_N[rows]
    return Clamping(above, acts_ND, latents_NF, legal_NV, game_N, W_dec, mean_F)


def _changes(way: str, at: Clamping, before: Outcome, after: Outcome, others: Sequence[Outcome]) -> Row:
    """Changes with intervals over games, and those of the other latents: their mean, lowest and highest."""
    row: Row = {}
    for name in ("entropy", "legal_mass", "divergence", "greedy"):
        own_N, *theirs = (getattr(one, f"{name}_N") - getattr(before, f"{name}_N") for one in (after, *others))
        row |= {way + name: mean(own_N, at.game_N), f"{way}{name}_alike": Spread([x.mean() for x in theirs])}
    own, *changes = (calibration_change(before, one, at.game_N) for one in (after, *others))
    return row | {f"{way}calibration": own, f"{way}calibration_alike": Spread([x.value for x in changes])}
