"""Does a model that predicts moves estimate how strong its players are, and play better where it takes them for strong?

The paper (Karvonen 2024, arXiv 2403.15498): a linear probe tells weak from strong players in a chess GPT's activations
better than in those of a GPT with random weights; the vector from weak to strong, added at every token, raises its win
rate against Stockfish, where a game begins with 20 random plies by up to 2.6 times.

Here the players' skill is known: the temperature at which each drew its moves. Vectors and their controls are those of
`metrics.causal.steering.vectors`, measures those of `metrics.causal.steering.strength`: centipawns lost at positions
that the model meets in games with no vector, and the results of games. Hook point and coefficient (of an SAE also the
number of latents) of each vector are those that lose the fewest centipawns at such positions of validation games;
negative and random vectors are as long, at the same hook point.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor

from boardgame_sae.config import Count, HookName, Natural, NonNegative, Positive, config, seed_for
from boardgame_sae.metrics.causal.steering.contrast import Sides, find_contrast, read_sides
from boardgame_sae.metrics.causal.steering.strength import PER, Measured
from boardgame_sae.metrics.causal.steering.trial import Rules, Trial
from boardgame_sae.metrics.causal.steering.vectors import (
    contrastive,
    latents_vector,
    probe_vector,
    random_vector,
    told_apart,
)
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.players.search import searchable
from boardgame_sae.probes.fit import residual_stream
from boardgame_sae.report.figures.style import BLUE, GREY, ORANGE, hook_title, legend_below
from boardgame_sae.runs import progress
from boardgame_sae.saes.load import load_sae
from boardgame_sae.studies.over_games import Counted, counted, ratio, row_over_seeds
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.testbed import Testbed

COLUMNS = {
    "games": "games begin",
    "vector": "contrast, or vector",
    "control": "control",
    "hook": "hook point",
    "probe": "told by a probe",
    "random_weights": "by one of random weights",
    "coefficient": "coefficient",
    "changed": "moves changed",
    "lost": "centipawns lost per move",
    "saved": "saved against no vector",
    "behind": "saved by steering against this",
    "legal": "legal at the first try",
    "points": "points per game",
    "gained": "gained against no vector",
    "won": "won",
}
NONE, STEERED, NEGATIVE, RANDOM = "no vector", "steered", "negative", "random direction"
COLOURS = {STEERED: BLUE, NEGATIVE: ORANGE, RANDOM: GREY}


@config
class Begun:
    """How games are played."""

    opening: str = "random:plies=12"
    """How they begin, as of `generate`."""
    temperature: NonNegative = 1.0
    """Of the model's moves; 0 for its most probable ones."""

    @property
    def title(self) -> str:
        """In a line."""
        return f"{self.opening}, {f'temperature {self.temperature:g}' if self.temperature else 'greedy'}"


@config
class SkillStudy(StudyConfig):
    """What is contrasted, what is tried, and how games are played."""

    testbed: str = "chess-small"
    """Folder of a testbed, or the name of a shipped one."""
    property: str = "skill"
    """What the two sides differ in: the last class of this property that occurs, and the first."""
    min_ply: Natural = 20
    """Positions after fewer plies are left out of the sides."""
    n_train_games: Count = 1500
    """Train games that vectors and probes are fitted on."""
    n_test_games: Count = 500
    """Test games that probes are tested on."""
    steer_at: tuple[HookName, ...] = ()
    """Hook points to choose from (default: the residual stream after every block); SAEs steer where they read."""
    coefficients: tuple[Positive, ...] = (0.25, 0.5, 1.0, 2.0)
    """Coefficients to choose from; at 1 a vector is as long as the difference of the sides' means."""
    saes: tuple[str, ...] = ("chess-small/topk-16",)
    """SAEs whose latents steer: folders, or names of shipped ones."""
    n_latents: tuple[Count, ...] = (1, 10)
    """Numbers of latents to choose from."""
    games: tuple[Begun, ...] = (Begun(opening="random:plies=2"), Begun())
    """Kinds of games that are played."""
    player: str = "search:depth=1,temperature=2"
    """The opponent, as of `generate`."""
    judge_depth: Annotated[int, Field(ge=1, le=3)] = 2
    """Plies that the built-in search looks ahead which says what moves lose and who stands better."""
    max_plies: Count = 30
    """Longer games are broken off, where the model has seen no longer ones."""
    n_validation: Count = 32
    """Validation games of each kind."""
    n_games: Count = 100
    """Test games of each kind, for each row."""
    seeds: Seeds = (0,)
    """Of openings, players and random directions: each plays games of its own and chooses its own settings."""


class Steering(NamedTuple):
    """One way to steer."""

    vector: str
    """`contrastive`, `probe`, or an SAE's name."""
    hook_name: str
    coefficient: float
    n_latents: int = 0


class _Skill:
    """What all rows share; each part is computed when the first row asks for it."""

    def __init__(self, cfg: SkillStudy, testbed: Testbed) -> None:
        self.cfg, self.testbed, self.every = cfg, testbed, residual_stream(testbed.model)
        searchable(testbed.corpus.game)  # raises before anything is read
        self.contrast = find_contrast(testbed.corpus, cfg.property)

    def _sides(self, testbed: Testbed, split: str) -> Sides:
        names = tuple(dict.fromkeys((*self.every, *self.cfg.steer_at, testbed.hook_name)))
        n_games = self.cfg.n_train_games if split == "train" else self.cfg.n_test_games
        return read_sides(testbed, self.contrast, names, split, n_games, self.cfg.min_ply)

    @cached_property
    def train(self) -> Sides:
        return self._sides(self.testbed, "train")

    @cached_property
    def probed(self) -> dict[str, tuple[Sides, Sides]]:
        """Train and test sides of the model, and of one with random weights."""
        twin = self.testbed.random_twin()
        return {
            "probe": (self.train, self._sides(self.testbed, "test")),
            "random_weights": (self._sides(twin, "train"), self._sides(twin, "test")),
        }

    @cached_property
    def _subjects(self) -> dict[str, Subject]:
        return {name: Subject(name, "sae", load_sae(name), self.testbed) for name in self.cfg.saes}

    def vector(self, how: Steering) -> Tensor:
        """Its vector, at coefficient 1."""
        sides = self.train.at(how.hook_name)
        if how.vector in self.cfg.saes:
            return latents_vector(self._subjects[how.vector].source, *sides, how.n_latents)
        return {"contrastive": contrastive, "probe": probe_vector}[how.vector](*sides)

    def tried(self, vector: str) -> list[Steering]:
        """All settings of a vector."""
        cfg = self.cfg
        if vector in cfg.saes:
            pairs = itertools.product(cfg.n_latents, cfg.coefficients)
            return [Steering(vector, self.testbed.hook_name, size, n) for n, size in pairs]
        pairs = itertools.product(cfg.steer_at or self.every, cfg.coefficients)
        return [Steering(vector, name, size) for name, size in pairs]


class _Playing:
    """The games of one seed."""

    def __init__(self, of: _Skill, seed: int) -> None:
        self.of, self.cfg, self.seed = of, of.cfg, seed
        self._trials: dict[tuple[Begun, str], Trial] = {}
        self._chosen: dict[tuple[str, Begun], Steering] = {}
        self._moves: dict[tuple[Begun, str, str], Measured] = {}

    def trial(self, begun: Begun, split: str) -> Trial:
        """The games of a kind, of a split."""
        if (begun, split) not in self._trials:
            cfg, n_games = self.cfg, self.cfg.n_validation if split == "validation" else self.cfg.n_games
            rules = Rules(cfg.player, begun.opening, cfg.max_plies, begun.temperature, cfg.judge_depth)
            seed = seed_for(self.seed, split, begun.opening)
            self._trials[begun, split] = Trial(self.of.testbed.model, rules, n_games, seed)
        return self._trials[begun, split]

    def chosen(self, vector: str, begun: Begun) -> Steering:
        """The setting with which moves on validation games lose the fewest centipawns."""
        if (vector, begun) not in self._chosen:
            trial, tried = self.trial(begun, "validation"), self.of.tried(vector)
            lost = dict[Steering, float]()
            with progress(len(tried), f"{vector}, {begun.title}", "settings", leave=False) as bar:
                for how in tried:
                    added = {how.hook_name: how.coefficient * self.of.vector(how)}
                    lost[how] = trial.moves(added).estimate("lost").value
                    bar.update(1)
            self._chosen[vector, begun] = min(tried, key=lost.__getitem__)
        return self._chosen[vector, begun]

    def added(self, begun: Begun, vector: str, control: str) -> dict[str, Tensor]:
        """What is added under a control, by hook point; nothing without a vector."""
        if not vector:
            return {}
        how = self.chosen(vector, begun)
        along_D = self.of.vector(how)
        if control == RANDOM:
            along_D = random_vector(along_D, seed_for(self.seed, "random", vector, begun.title))
        return {how.hook_name: (-how.coefficient if control == NEGATIVE else how.coefficient) * along_D}

    def moves(self, begun: Begun, vector: str = "", control: str = NONE) -> Measured:
        """What moves at the positions of test games lose."""
        if (key := (begun, vector, control)) not in self._moves:
            self._moves[key] = self.trial(begun, "test").moves(self.added(*key))
        return self._moves[key]


@study("skill", SkillStudy, saes=lambda cfg: cfg.saes)
def skill(cfg: SkillStudy, setting: Setting) -> Plan:
    """Does the model know how strong its players are, and does it play better if told that they are strong?"""
    of = _Skill(cfg, setting.testbed)
    seeds = [_Playing(of, seed) for seed in cfg.seeds]
    of_seeds = partial(row_over_seeds, seeds)
    rows = [partial(row_over_seeds, [of], _probed, name) for name in of.every]  # no seed changes a probe
    for begun in cfg.games:
        rows.append(partial(of_seeds, _played, begun))
        pairs = itertools.product(("contrastive", "probe", *cfg.saes), COLOURS)
        rows += [partial(of_seeds, _played, begun, control, vector) for vector, control in pairs]
    return Plan(rows, COLUMNS, figure)


def _probed(of: _Skill, hook_name: str) -> Row:
    """How well a linear probe tells the sides at a hook point, on test games."""
    row: Row = {"vector": of.contrast.words, "hook": hook_title(hook_name)}
    for name, (train, test) in of.probed.items():
        sides = train.at(hook_name)
        right_B2 = told_apart(probe_vector(*sides), sides, test, hook_name)
        row[name] = ratio(right_B2[:, 0], right_B2[:, 1], np.arange(len(right_B2)))
    return row


def _played(of: _Playing, begun: Begun, control: str = NONE, vector: str = "") -> Row:
    """Test games under one vector or control."""
    row: Row = {"games": begun.title, "control": control, "vector": vector}
    trial, moves = of.trial(begun, "test"), of.moves(begun, vector, control)
    ends = trial.ends(of.added(begun, vector, control))
    for measured, measures in ((moves, ("lost", "legal", "changed")), (ends, ("points", "won"))):
        for measure in measures:
            row[measure] = ratio(*_sums(measured, measure), np.arange(of.cfg.n_games))
    if vector:
        how = of.chosen(vector, begun)
        size = -how.coefficient if control == NEGATIVE else how.coefficient
        row |= {"hook": hook_title(how.hook_name), "coefficient": f"{size:g}"}
        row["n_latents"] = str(how.n_latents) if how.n_latents else None
        row |= {"saved": _less(of.moves(begun), moves, "lost"), "gained": _less(ends, trial.ends(), "points")}
        if control != STEERED:
            row["behind"] = _less(moves, of.moves(begun, vector, STEERED), "lost")
    return row


def _sums(measured: Measured, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """What a measure is the ratio of, (games,) each."""
    return measured.sums[measure], measured.sums[PER[measure]]


def _less(one: Measured, other: Measured, measure: str) -> Counted:
    """How much larger a measure is than another's on the same games."""
    sides = {"a": _sums(one, measure), "b": _sums(other, measure)}
    parts = {f"{side}{number}": sum_B for side, both in sides.items() for number, sum_B in enumerate(both)}

    def less(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        return (sums["a0"] / sums["a1"] - sums["b0"] / sums["b1"])[:, 0]

    return counted(parts, np.arange(len(parts["a0"])), less)


def figure(rows: Sequence[Row]) -> Figure:
    """Probes by layer, and what each vector and control saves against no vector, by opening."""
    played = [row for row in rows if "saved" in row]
    kinds = list(dict.fromkeys(row["games"] for row in played))
    drawn = Figure(figsize=(3.6 * (1 + len(kinds)), 3.8), layout="constrained")
    first, *others = drawn.subplots(1, 1 + len(kinds))
    _draw_probes(first, [row for row in rows if "probe" in row])
    for panel, kind in zip(others, kinds, strict=True):
        _draw_saved(panel, [row for row in played if row["games"] == kind])
        panel.set(title=kind, xlabel="centipawns saved per move")
    legend_below(drawn, [first, *others], columns=5)
    return drawn


def _draw_probes(panel: Axes, rows: Sequence[Row]) -> None:
    for name, title, colour in (("probe", "probe of the model", BLUE), ("random_weights", "of random weights", GREY)):
        values, low, high = ([row[name + end] for row in rows] for end in ("", "_low", "_high"))
        panel.plot(range(len(values)), values, color=colour, marker="o", label=title)
        panel.fill_between(range(len(values)), low, high, color=colour, alpha=0.2, linewidth=0)
    panel.set(title="weakest and strongest told apart", xlabel="block", ylabel="share of test positions")


def _draw_saved(panel: Axes, rows: Sequence[Row]) -> None:
    vectors = list(dict.fromkeys(row["vector"] for row in rows))
    for control, shift in zip(COLOURS, (-0.2, 0.0, 0.2), strict=True):
        of_control = [row for row in rows if row["control"] == control]
        values, low, high = ([row["saved" + end] for row in of_control] for end in ("", "_low", "_high"))
        span = [[v - a for v, a in zip(values, low, strict=True)], [b - v for v, b in zip(values, high, strict=True)]]
        places = [place + shift for place in range(len(vectors))]
        panel.errorbar(values, places, xerr=span, color=COLOURS[control], fmt="o", label=control)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_yticks(range(len(vectors)), [vector.rpartition("/")[2] for vector in vectors])
    panel.invert_yaxis()
