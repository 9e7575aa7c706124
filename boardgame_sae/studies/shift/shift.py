"""The study: every way to repair a biased probe, on every pair of concepts, by the latents of several SAEs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from boardgame_sae.config import Count, config
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.saebench.ablation.effects import N_ABLATED
from boardgame_sae.metrics.saebench.ablation.scr import SCRConfig
from boardgame_sae.metrics.saebench.data.probes import rows_of
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.saes.load import load_sae
from boardgame_sae.studies.over_games import Counted, mean, row_of
from boardgame_sae.studies.shift.ablation import Ablation
from boardgame_sae.studies.shift.choices import (
    AS_MANY,
    ATTRIBUTION,
    ATTRIBUTION_AGAIN,
    CEILING,
    ERASED,
    ERASED_AGAIN,
    FLOOR,
    JUDGE,
    JUDGE_AGAIN,
    LINES,
    MARKS,
    NO_SAE,
    RANDOM,
    ZERO,
)
from boardgame_sae.studies.shift.erasure import Eraser, eraser
from boardgame_sae.studies.shift.figure import figure
from boardgame_sae.studies.shift.tasks import Outcome, Task, outcome, tasks, trained_again
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.testbed import Testbed

MARGINS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""By how much the F1 for the spurious concept must exceed that for the intended one, to choose from."""
COLUMNS = {
    "sae": "SAE",
    "choice": "what is ablated",
    "n_ablated": "latents",
    "intended": "accuracy on the intended concept [95%]",
    "spurious": "on the spurious one [95%]",
    "worst": "of the worst group [95%]",
    "over_attribution": "intended, less attribution's [95%]",
}


@config
class ShiftStudy(StudyConfig):
    """Whose latents are ablated, and on which pairs of concepts."""

    saes: tuple[str, ...] = (
        "othello6-tiny/topk-32-1024-100M",
        "othello6-tiny/batch_topk-32-100M",
        "othello6-tiny/p_anneal-0.04-20M",
        "othello6-tiny/matryoshka_batch_topk-32",
    )
    """Folders of SAEs, or names of shipped ones."""
    pairs: SCRConfig = SCRConfig(n_pairs=12)
    """Pairs of concepts, chosen by rule, and their examples; the seed is that of `seeds`."""
    n_random: Count = 5
    """Draws of random latents, whose mean counts."""
    seeds: Seeds = (0,)
    """Which examples and which random latents are drawn."""


@study("shift", ShiftStudy, saes=lambda cfg: cfg.saes)
def shift(cfg: ShiftStudy, setting: Setting) -> Plan:
    """Do the latents of a spurious concept, chosen by what they stand for, repair a probe that learned it?"""
    rows: list[Callable[[], Row]] = [partial(_row, cfg, setting.testbed, None, how) for how in LINES]
    rows += [partial(_row, cfg, setting.testbed, sae, how) for sae in cfg.saes for how in MARKS]
    return Plan(rows, COLUMNS, figure)


def _row(cfg: ShiftStudy, testbed: Testbed, sae: str | None, how: str) -> Row:
    return row_of([_of_seed(cfg, testbed, sae, how, seed) for seed in cfg.seeds])


def _of_seed(cfg: ShiftStudy, testbed: Testbed, sae: str | None, how: str, seed: int) -> Row:
    pairs = replace(cfg.pairs, seed=seed)
    found = testbed.once(of_sae, sae, pairs, cfg.n_random) if sae else testbed.once(without_sae, pairs)
    asked = testbed.once(tasks, pairs)
    row: Row = {"sae": Path(sae).name if sae else NO_SAE, "choice": how, "n_tasks": len(asked)}
    row["n_ablated"] = float(np.mean([one.n_ablated for one in found[how]]))
    for number in ("intended", "spurious", "worst"):
        row[number] = by_pair(asked, [getattr(one, number) for one in found[how]])
    if how == JUDGE:
        less = [a.intended - b.intended for a, b in zip(found[JUDGE], found[ATTRIBUTION], strict=True)]
        row["over_attribution"] = by_pair(asked, less)
    return row


def by_pair(asked: Sequence[Task], values: Sequence[float]) -> Counted | None:
    """The mean over pairs, each the mean of its one or two directions: pairs are what intervals resample."""
    of_pair: dict[str, list[float]] = {}
    for task, value in zip(asked, values, strict=True):
        of_pair.setdefault(" and ".join(sorted(one.name for one in task.bias.pair.concepts)), []).append(value)
    return mean([float(np.mean(own)) for own in of_pair.values()], list(of_pair))


Choice = Callable[[Ablation, Any], np.ndarray]
"""Which latents to ablate, by a setting."""


def chosen_setting(ablations: Sequence[Ablation], choice: Choice, settings: Sequence[Any]) -> Any:
    """The setting of a choice by which probes are right about the intended concept most often on validation games."""
    accuracy = [
        np.mean([one.without(choice(one, setting), "validation").intended for one in ablations]) for setting in settings
    ]
    return settings[int(np.argmax(accuracy))]


def of_sae(testbed: Testbed, name: str, pairs: SCRConfig, n_random: int) -> dict[str, list[Outcome]]:
    """The outcomes on test of every choice of an SAE's latents, one for each task."""
    subject = Subject(name, SAE_KIND, load_sae(name), testbed)
    ablations = [Ablation.of(subject, task) for task in testbed.once(tasks, pairs)]
    margin = chosen_setting(ablations, Ablation.judged, MARGINS)
    n = chosen_setting(ablations, _first_attributed, N_ABLATED)
    found: dict[str, list[Outcome]] = {choice: [] for choice in MARKS}
    for one in ablations:
        judged = one.judged(margin)
        found[JUDGE].append(one.without(judged, "test"))
        found[ZERO].append(one.without(judged, "test", to_zero=True))
        found[JUDGE_AGAIN].append(one.trained_again(judged))
        found[ATTRIBUTION].append(one.without(_first_attributed(one, n), "test"))
        found[ATTRIBUTION_AGAIN].append(one.trained_again(_first_attributed(one, n)))
        found[AS_MANY].append(one.without(_first_attributed(one, len(judged)), "test"))
        found[RANDOM].append(one.random(len(judged), n_random, pairs.seed))
    return found


def _first_attributed(ablation: Ablation, n: int) -> np.ndarray:
    return ablation.attributed[:n]


def without_sae(testbed: Testbed, pairs: SCRConfig) -> dict[str, list[Outcome]]:
    """The outcomes on test of the biased probe, of the balanced one, and of erasing the spurious concept."""
    found: dict[str, list[Outcome]] = {how: [] for how in LINES}
    for task in testbed.once(tasks, pairs):
        train_ND, test_ND = (rows_of(testbed, split, task.rows(split)) for split in ("train", "test"))
        erase, biased = eraser(train_ND, task.truths("train")[1]), task.bias.biased
        logits = {
            FLOOR: biased.logits(test_ND),
            CEILING: task.bias.unbiased[task.intended].logits(test_ND),
            ERASED: biased.logits(erase(test_ND)),
        }
        for how, logits_N in logits.items():
            found[how].append(outcome(logits_N, *task.truths("test")))

        def erased(split: str, row_N: np.ndarray, erase: Eraser = erase) -> np.ndarray:
            return erase(rows_of(testbed, split, row_N))

        found[ERASED_AGAIN].append(trained_again(task, erased))
    return found
