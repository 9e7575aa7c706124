"""Edit: set one square of the board that the model holds, through an SAE's latents, and see whether it plays by it.

A square of the board is set otherwise (a disc turned or taken away, a piece replaced or removed) where that changes the
legal moves; the model's activations are changed to match; and its answer is judged by the rules on the edited board.
The error is the number of wrong and of missing moves among its N most probable ones, N being the number of legal moves
there (where moves are written: whether the one that it writes is illegal), and the score is

    1 - error of the edited model / error of the model as it is, both on the edited board,    higher is better:

1 where the moves are those of the edited board, 0 where the edit does nothing, below 0 where it does harm. How the
latents are used (`latent_edits`) is chosen on validation games. Beside it stand the same for

    latents_set         latents that classify the old and the new content, set to what they are on other boards
    latents_scaled      the same beyond that
    decoder_directions  the latents' decoder directions alone
    random_direction    the chosen edit's norm in a direction drawn at random: chance
    probe, probe_...    edits through linear probes (`probe_edits`): the best of all, at the SAE's own hook point, of
                        each family, in a random direction of equal norm, and of another square

and, of the chosen edit, errors, legal mass and the legality of the most probable move, beside the model's as it is on
the edited board (null) and on the board as it is (clean).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.metrics.causal.boards import KINDS
from boardgame_sae.metrics.causal.edits import Edits, Outcomes, drawn
from boardgame_sae.metrics.causal.inner_board import Intervention, other_square, random_direction
from boardgame_sae.metrics.causal.latent_edits import LatentChoice, LatentEdits, choose_latent_edits
from boardgame_sae.metrics.causal.probe_edits import ProbeChoice, choose_probe_edits, intervention
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS, Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed


@config
class EditConfig:
    """How many games, and which edits."""

    n_train: Count = 600
    """Maximum number of train games that probes are fitted on and latents ranked on."""
    n_validation: Count = 120
    """About how many edits of validation games the ways to make them are chosen on."""
    n_games: Count = 200
    """Maximum number of validation and of test games; each has at most one edit of each kind."""
    n_samples: Count = 3
    """Moves that are sampled at each position, where moves are written character by character."""
    seed: Seed = 0
    """Which edits are drawn, of the random directions, and of the sampled moves."""


PROBES = ("probe", "probe_here", "probe_fixed", "probe_least", "probe_everywhere", "probe_layers")
CONTROLS = ("null", "clean", "probe_random_direction", "probe_other_square")
LATENTS = {"latents_set": "set", "latents_scaled": "scaled", "decoder_directions": "directions"}
"""Parts, and the families of edits that they are the best of."""
OF_SAE = ("edit", *LATENTS, "random_direction")
MEASURES = ("error", "mass", "greedy")
EDIT_SUMS = ("asked", *(f"{name}_{measure}" for name in (*CONTROLS, *PROBES, *OF_SAE) for measure in MEASURES))
"""Summed over the edits of each game and kind."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Shares of the null's errors that edits remove, and means over edits; sums (R, kinds)."""
    total = {name: part.sum(1) for name, part in sums.items()}

    def removed(name: str) -> np.ndarray:
        return share_removed(total[f"{name}_error"], total["null_error"])

    def mean(name: str) -> np.ndarray:
        return total[name] / np.maximum(total["asked"], 1)

    by_kind = {
        kind: share_removed(sums["edit_error"][:, column], sums["null_error"][:, column])
        for column, kind in enumerate(details[ABOUT_COLUMNS]["kinds"])
    }
    numbers = {"value": removed("edit")} | {name: removed(name) for name in (*LATENTS, "random_direction")} | by_kind
    numbers |= {name: removed(name) for name in (*PROBES, "probe_random_direction", "probe_other_square")}
    for name in ("edit", "probe", "null", "clean"):
        own = "" if name == "edit" else f"{name}_"
        numbers |= {f"{own}errors": mean(f"{name}_error"), f"{own}legal_mass": mean(f"{name}_mass")}
        numbers[f"{own}greedy_legality"] = mean(f"{name}_greedy")
    return numbers


def share_removed(error_R: np.ndarray, null_R: np.ndarray) -> np.ndarray:
    """1 - error / error of the model as it is; not a number where that makes none."""
    return 1 - error_R / np.where(null_R == 0, np.nan, null_R)


SAME = tuple(name for name in EDIT_SUMS if not name.startswith(tuple(f"{part}_" for part in OF_SAE)))
EDITS = Statistic(EDIT_SUMS, _numbers, same=SAME)


@score(
    "edit",
    title="Board edit",
    meaning="Share of the wrong moves on a board with one square set otherwise that setting it in the latents removes",
    source="Li et al. 2022 (arXiv 2210.13382), Karvonen 2024 (arXiv 2403.15498); through latents: this project",
    suites=("causal",),
    order=40,
    low=-np.inf,
    needs=("W_dec",),
    config=EditConfig,
    statistic=EDITS,
    display=Display(
        main=False,
        parts={
            "latents_set": "latents set as on other boards",
            "latents_scaled": "latents set beyond that",
            "decoder_directions": "decoder directions alone",
            "random_direction": "random direction of equal norm (chance)",
            "probe": "through probes, best layers",
            "probe_here": "through a probe at the same hook point",
        },
        columns=("_latents_set", "_probe", "_probe_here"),
        chance=Chance("random_direction", shared=False),
        unit="share of errors removed",
    ),
)
def edit_score(subject: Subject, cfg: EditConfig) -> ScoreValue:
    """Board edits through latents, beside those through probes.

    Raises UnscorableError where too few edits change the legal moves, as with a game that cannot set a square, and
    where none makes the model as it is wrong.
    """
    plan = subject.testbed.once(edit_plan, cfg)
    latents, choice = subject.once(through_latents, cfg)
    chosen = chosen_through_latents(subject, cfg)
    variants = {name: latents.intervention(choice.best[family]) for name, family in LATENTS.items()}
    variants |= {"edit": chosen, "random_direction": at_random(chosen, cfg.seed)}
    outcomes = dict(plan.outcomes) | {name: outcomes_of(plan.test, one, cfg) for name, one in variants.items()}
    kinds = [kind for kind in KINDS if KINDS.index(kind) in plan.test.kind_N]
    sums = summed(plan.test, outcomes, [KINDS.index(kind) for kind in kinds])
    ordered = GameSums.dense({name: sums[name] for name in EDIT_SUMS}, EDITS.same)
    value = EDITS.score(ordered, details={ABOUT_COLUMNS: {"kinds": kinds}})
    return value._replace(details={**value.details, **_details(plan, choice)})


def through_latents(subject: Subject, cfg: EditConfig) -> tuple[LatentEdits, LatentChoice]:
    """A subject's ways to edit, and which are best on validation games: ask `subject.once(through_latents, cfg)`."""
    plan = subject.testbed.once(edit_plan, cfg)
    latents = LatentEdits(subject, cfg.n_train, plan.probes.of.norms[subject.testbed.hook_name])
    return latents, choose_latent_edits(latents, plan.validation)


def chosen_through_latents(subject: Subject, cfg: EditConfig) -> Intervention:
    """The way to edit that is best on validation games."""
    latents, choice = subject.once(through_latents, cfg)
    return latents.intervention(choice.chosen)


class Plan(NamedTuple):
    """What is edited, and what comes of it without any SAE: the same for every subject of a testbed."""

    validation: Edits
    test: Edits
    probes: ProbeChoice
    outcomes: Mapping[str, Outcomes]
    """On test, by the name of the control or of the edit through probes."""


def edit_plan(testbed: Testbed, cfg: EditConfig) -> Plan:
    """Draw edits, choose those through probes: ask `testbed.once(edit_plan, cfg)`. Raises as `edit_score` does."""
    validation = testbed.once(drawn, "validation", cfg.n_games, cfg.seed, cfg.n_validation)
    test = testbed.once(drawn, "test", cfg.n_games, cfg.seed)
    as_it_is = test.ask(None, n_samples=cfg.n_samples, seed=cfg.seed)
    null = test.outcomes(as_it_is)
    if not null.error_N.any():
        raise UnscorableError("the model as it is makes no error on the edited boards, so that an edit can remove none")
    probes = testbed.once(choose_probe_edits, cfg.n_train, cfg.n_games, cfg.seed, cfg.n_validation)
    best = intervention(probes.of, probes.chosen)
    rng = np.random.default_rng(seed_for(cfg.seed, "other squares"))
    n_squares = len(testbed.corpus.game.squares)
    others = (test.square_SN[0] + rng.integers(1, n_squares, len(test))) % n_squares
    elsewhere = {name: other_square(change, others) for name, change in best.changes.items()}
    variants = {"probe": best, **{f"probe_{name}": intervention(probes.of, one) for name, one in probes.best.items()}}
    variants["probe_random_direction"] = at_random(best, cfg.seed)
    variants["probe_other_square"] = Intervention(elsewhere, best.everywhere)
    outcomes = {name: outcomes_of(test, one, cfg) for name, one in variants.items()}
    outcomes |= {"null": null, "clean": test.outcomes(as_it_is, edited=False)}
    return Plan(validation, test, probes, outcomes)


def at_random(one: Intervention, seed: int) -> Intervention:
    """The same changes, each of its norm in a direction drawn at random."""
    changes = {name: random_direction(change, seed_for(seed, name)) for name, change in one.changes.items()}
    return Intervention(changes, one.everywhere)


def outcomes_of(edits: Edits, one: Intervention, cfg: EditConfig) -> Outcomes:
    """What comes of edits that are made in one way, by the rules on the edited boards."""
    return edits.outcomes(edits.ask(one, n_samples=cfg.n_samples, seed=cfg.seed))


def summed(edits: Edits, outcomes: Mapping[str, Outcomes], kinds: Sequence[int]) -> dict[str, np.ndarray]:
    """(B games, kinds): the number of edits (`asked`), and the sum of each measure of each outcome.

    kinds: the columns, by `Edits.kind_N`.
    """
    shape = (len(edits.testbed.positions("test").games_B), len(kinds))
    cell_N = edits.game_N * shape[1] + np.searchsorted(kinds, edits.kind_N)

    def total(values_N: np.ndarray) -> np.ndarray:
        sums = np.bincount(cell_N, values_N, np.prod(shape)).reshape(shape)
        return sums if values_N.dtype.kind == "f" else sums.astype(np.int32)

    sums = {"asked": total(np.ones(len(edits), np.int32))}
    for name, outcome in outcomes.items():
        for measure, values_N in zip(MEASURES, outcome, strict=True):
            sums[f"{name}_{measure}"] = total(values_N)
    return sums


def _details(plan: Plan, choice: LatentChoice) -> dict[str, Any]:
    null = float(plan.validation.outcomes(plan.validation.ask(None)).error_N.mean())
    counts = np.bincount(plan.test.kind_N, minlength=len(KINDS)).tolist()
    return {
        "n_edits": {"validation": len(plan.validation), "test": len(plan.test)},
        "n_test_of_kind": dict(zip(KINDS, counts, strict=True)),
        "chosen": choice.chosen._asdict(),
        "best": {family: edit._asdict() for family, edit in choice.best.items()},
        "probe_chosen": plan.probes.chosen.plain(),
        "probe_best": {family: edit.plain() for family, edit in plan.probes.best.items()},
        "validation_errors": {
            "null": round(null, 6),
            "latents": [{**edit._asdict(), "errors": round(e, 6)} for edit, e in choice.on_validation.items()],
            "probes": [{**edit.plain(), "errors": round(e, 6)} for edit, e in plan.probes.on_validation],
        },
    }
