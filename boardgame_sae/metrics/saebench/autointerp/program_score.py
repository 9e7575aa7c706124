"""Autointerp with programs as explainer and judge: how well does the best short truth about the board tell a latent?

For each of some latents, the explainer finds the program (`programs`) that best tells active from inactive positions of
train games; validation games say whether one literal or two. The judge runs it on other positions, of test games, and
the score is the share that it tells right, half of them active (`windows`): the mean over latents.

Chance is measured by explaining each latent with the program of another. The ceiling is the best program for the very
positions that are asked about: no explanation of this form can score more. So what a score lacks is either not there in
the form of such programs, or was not found.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.autointerp.programs import Program, explain
from boardgame_sae.metrics.saebench.autointerp.windows import Windows, column_of, windows
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

MIN_ACTIVE = 15
"""A latent is asked about if it is on at this many positions of every split, as published."""
SHARE_TOP = {"train": 2 / 3, "validation": 1 / 2, "test": 1 / 2}
"""Of a latent's active positions, the share that are its strongest, as published for explaining and for scoring."""


@config
class AutointerpConfig:
    """How many latents, and how many positions of each."""

    n_latents: Count = 200
    """Maximum number of latents; they are drawn among those that are on often enough."""
    n_explain: Count = 300
    """Active positions of train games, and as many inactive ones, that an explanation is made from."""
    n_judge: Count = 100
    """Active positions of validation and of test games, and as many inactive ones, that it is judged on."""
    seed: Seed = 0
    """Which latents and positions are drawn."""

    def sizes(self) -> dict[str, int]:
        """Active positions per latent in each split."""
        return {"train": self.n_explain, "validation": self.n_judge, "test": self.n_judge}


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    asked = np.maximum(sums["asked"], 1)
    accuracy = {name: (sums[name] / asked).mean(1) for name in ("right", "other", "best")}
    return {"value": accuracy["right"], "other_latent": accuracy["other"], "ceiling": accuracy["best"]}


ACCURACY = Statistic(("asked", "right", "other", "best"), _numbers)


@score(
    "autointerp",
    title="Autointerp",
    meaning="Share of test positions, half of them active, at which a program of two board truths tells a latent",
    source="SAEBench (arXiv 2503.09532), automated interpretability, with programs for the language model",
    suites=("quick", "saebench"),
    order=16,
    config=AutointerpConfig,
    quick={"n_latents": 50},
    statistic=ACCURACY,
    display=Display(
        parts={"other_latent": "program of another latent (chance)", "ceiling": "best program for the same positions"},
        columns=("_ceiling",),
        chance=Chance("other_latent", shared=False),
        unit="accuracy on test",
    ),
)
def autointerp_score(subject: Subject, cfg: AutointerpConfig) -> ScoreValue:
    """Autointerp by programs. Raises UnscorableError when no latent is on often enough in every split."""
    explained = [_explain(subject, latent, cfg) for latent in chosen_latents(subject, cfg)]
    labels_NP = subject.testbed.once(all_labels, "test")
    game_N, n_games = subject.testbed.positions("test").game_N, len(subject.testbed.positions("test").games_B)
    counts = {name: np.zeros((n_games, len(explained)), np.int32) for name in ACCURACY.sums}
    for column, one in enumerate(explained):
        rows_NP, games_N = labels_NP[one.test.row_N], game_N[one.test.row_N]
        best = max((explain(rows_NP, one.test.active_N, n) for n in (1, 2)), key=lambda p: _right(p, rows_NP, one.test))
        programs = {"right": one.program, "other": explained[column - 1].program, "best": best}
        counts["asked"][:, column] = np.bincount(games_N, minlength=n_games)
        for name, program in programs.items():
            right_N = program.predict(rows_NP) == one.test.active_N
            counts[name][:, column] = np.bincount(games_N[right_N], minlength=n_games)
    value = ACCURACY.score(GameSums.dense(counts, ACCURACY.same))
    return value._replace(details=_details(counts, explained, cfg, subject.testbed))


class Explained(NamedTuple):
    """A latent with its program, and the positions that the program is judged on."""

    latent: int
    program: Program
    test: Windows


def chosen_latents(subject: Subject, cfg: AutointerpConfig) -> list[int]:
    """Latents that are asked about, ascending. Raises UnscorableError when there is none."""
    enough_F = np.ones(subject.latents("train")[0].n_latents, bool)
    for split in SPLITS:
        on_F = np.sum([np.diff(part.indptr_F1) for part in subject.latents(split)], axis=0)
        enough_F &= (on_F >= MIN_ACTIVE) & (len(subject.testbed.positions(split)) - on_F >= MIN_ACTIVE)
    often = np.flatnonzero(enough_F)
    if not len(often):
        raise UnscorableError(f"no latent is on, and off, at {MIN_ACTIVE} positions of every split")
    rng = np.random.default_rng(seed_for(cfg.seed, "latents"))
    return np.sort(rng.choice(often, min(cfg.n_latents, len(often)), replace=False)).tolist()


def all_labels(testbed: Testbed, split: str) -> np.ndarray:
    """bool (N, P): the labels of a whole split."""
    return np.concatenate([testbed.labels(split, start, stop) for start, stop, *_ in testbed.spans(split)])


def _explain(subject: Subject, latent: int, cfg: AutointerpConfig) -> Explained:
    testbed, drawn = subject.testbed, dict[str, Windows]()
    for split, n_each in cfg.sizes().items():
        column = column_of(testbed.spans(split), subject.latents(split), latent)
        rng = np.random.default_rng(seed_for(cfg.seed, "windows", latent, split))
        drawn[split] = windows(column, len(testbed.positions(split)), n_each, SHARE_TOP[split], rng)
    labels = {split: testbed.once(all_labels, split)[drawn[split].row_N] for split in ("train", "validation")}
    programs = [explain(labels["train"], drawn["train"].active_N, n_literals) for n_literals in (1, 2)]
    right = [_right(program, labels["validation"], drawn["validation"]) for program in programs]
    return Explained(latent, programs[int(np.argmax(right))], drawn["test"])


def _right(program: Program, labels_NP: np.ndarray, asked: Windows) -> int:
    """At how many positions a program tells whether the latent is on."""
    return int((program.predict(labels_NP) == asked.active_N).sum())


def _details(
    counts: Mapping[str, np.ndarray], explained: list[Explained], cfg: AutointerpConfig, testbed: Testbed
) -> dict[str, Any]:
    names = [name for columns in testbed.columns for name in columns.class_names]
    accuracy = counts["right"].sum(0) / np.maximum(counts["asked"].sum(0), 1)
    rows = [
        {"latent": one.latent, "explanation": one.program.words(names), "score": round(float(accuracy[column]), 6)}
        for column, one in enumerate(explained)
    ]
    deviation = float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else 0.0
    metrics = {"autointerp_score": float(np.mean(accuracy)), "autointerp_std_dev": deviation}
    eval_config = {"random_seed": cfg.seed, "n_latents": cfg.n_latents, "dead_latent_threshold": MIN_ACTIVE}
    return {"latents": rows, "eval_config": eval_config, "eval_result_metrics": {"autointerp": metrics}}
