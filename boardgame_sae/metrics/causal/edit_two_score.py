"""Edit of two squares: a disc or piece is moved, or two are exchanged, in the board that the model holds.

As `edit_score`, with the ways of editing that were chosen there, on edits of one square of validation games, made at
both squares, one after the other. No setting is chosen for two squares: the score tells whether what works on one also
works on boards that are further from those the model has seen. Beside the edit through latents stand that through
linear probes, the best of all and at the SAE's own hook point, and a random direction of equal norm at each square.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from boardgame_sae.metrics.causal.boards import OF_TWO
from boardgame_sae.metrics.causal.edit_score import (
    MEASURES,
    EditConfig,
    at_random,
    chosen_through_latents,
    edit_plan,
    outcomes_of,
    share_removed,
    summed,
)
from boardgame_sae.metrics.causal.edits import Edits, Outcomes, drawn
from boardgame_sae.metrics.causal.probe_edits import intervention
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS, Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

SHARED = ("null", "clean", "probe", "probe_here")
OF_SAE = ("edit", "random_direction")
TWO_SUMS = ("asked", *(f"{name}_{measure}" for name in (*SHARED, *OF_SAE) for measure in MEASURES))
"""Summed over the edits of each game and kind."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Shares of the null's errors that edits remove, of both kinds and of each, and means over edits; (R, kinds)."""
    numbers = dict[str, np.ndarray]()
    for name in ("edit", "random_direction", "probe", "probe_here"):
        error_RK, null_RK = sums[f"{name}_error"], sums["null_error"]
        numbers["value" if name == "edit" else name] = share_removed(error_RK.sum(1), null_RK.sum(1))
        if name in ("edit", "probe"):
            for column, kind in enumerate(details[ABOUT_COLUMNS]["kinds"]):
                share_R = share_removed(error_RK[:, column], null_RK[:, column])
                numbers[kind if name == "edit" else f"{name}_{kind}"] = share_R
    n_R = np.maximum(sums["asked"].sum(1), 1)
    for name in ("edit", "probe", "null", "clean"):
        own = "" if name == "edit" else f"{name}_"
        for measure, called in zip(MEASURES, ("errors", "legal_mass", "greedy_legality"), strict=True):
            numbers[f"{own}{called}"] = sums[f"{name}_{measure}"].sum(1) / n_R
    return numbers


SAME = tuple(name for name in TWO_SUMS if not name.startswith(tuple(f"{part}_" for part in OF_SAE)))
TWO = Statistic(TWO_SUMS, _numbers, same=SAME)


@score(
    "edit_two",
    title="Board edit, two squares",
    meaning="Share of the wrong moves on a board with a piece moved, or two exchanged, that setting both in latents "
    "removes",
    source="this project, after Li et al. 2022 (arXiv 2210.13382)",
    suites=("causal",),
    order=41,
    low=-np.inf,
    needs=("W_dec",),
    config=EditConfig,
    statistic=TWO,
    display=Display(
        main=False,
        parts={
            "random_direction": "random direction of equal norm (chance)",
            "probe": "through probes, best layers",
            "probe_here": "through a probe at the same hook point",
        },
        columns=("_probe", "_probe_here"),
        chance=Chance("random_direction", shared=False),
        unit="share of errors removed",
    ),
)
def edit_two_score(subject: Subject, cfg: EditConfig) -> ScoreValue:
    """Board edits of two squares through latents, beside those through probes.

    Raises UnscorableError where too few edits change the legal moves, as with a game that cannot set a square, and
    where none makes the model as it is wrong.
    """
    edits, outcomes = subject.testbed.once(edits_of_two, cfg)
    chosen = chosen_through_latents(subject, cfg)
    outcomes = dict(outcomes) | {
        "edit": outcomes_of(edits, chosen, cfg),
        "random_direction": outcomes_of(edits, at_random(chosen, cfg.seed), cfg),
    }
    kinds = [kind for kind in OF_TWO if OF_TWO.index(kind) in edits.kind_N]
    sums = summed(edits, outcomes, [OF_TWO.index(kind) for kind in kinds])
    value = TWO.score(
        GameSums.dense({name: sums[name] for name in TWO_SUMS}, TWO.same), details={ABOUT_COLUMNS: {"kinds": kinds}}
    )
    n_edits = {kind: int((edits.kind_N == OF_TWO.index(kind)).sum()) for kind in kinds}
    return value._replace(details={**value.details, "n_edits": n_edits})


def edits_of_two(testbed: Testbed, cfg: EditConfig) -> tuple[Edits, Mapping[str, Outcomes]]:
    """Edits of test games, and what comes of them without any SAE: ask `testbed.once(edits_of_two, cfg)`."""
    plan = testbed.once(edit_plan, cfg)
    edits = testbed.once(drawn, "test", cfg.n_games, cfg.seed, None, OF_TWO)
    as_it_is = edits.ask(None, n_samples=cfg.n_samples, seed=cfg.seed)
    outcomes = {"null": edits.outcomes(as_it_is), "clean": edits.outcomes(as_it_is, edited=False)}
    if not outcomes["null"].error_N.any():
        raise UnscorableError("the model as it is makes no error on the edited boards, so that an edit can remove none")
    of = plan.probes.of
    for name, one in (("probe", plan.probes.chosen), ("probe_here", plan.probes.best["here"])):
        outcomes[name] = outcomes_of(edits, intervention(of, one), cfg)
    return edits, outcomes
