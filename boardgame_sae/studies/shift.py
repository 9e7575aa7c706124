"""Spurious cues: a probe that learned two concepts as one is repaired by ablating the latents of the one not meant.

SHIFT (Marks et al. 2024, arXiv 2403.19647): a classifier is trained where profession and gender coincide; a person
reads what each latent stands for, and those that are about gender are ablated. Karvonen et al. (arXiv 2411.18895) put a
language model in the person's place, and SAEBench chooses by attribution to a gender probe. Here the judge knows the
truth: a latent is about the spurious concept where, on positions at which the two concepts are independent, it
classifies that concept (or its opposite) better than it does the intended one, by F1 as on its card.

Latents are set to their mean where the concepts coincide. Published, they are set to zero, and that cannot repair a
probe that rests on one latent for each concept: its threshold lies between none and both, so that with one set to zero
the other alone stays below it wherever the spurious one outweighed it. A probe that is trained again has a threshold of
its own.

The judge's margin and the number of latents that attribution takes are chosen on validation games, for each SAE.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.sparse import csr_array

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.files import RunError
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counts import count_latents
from boardgame_sae.metrics.saebench.ablation.effects import N_ABLATED, alignment, logits_without
from boardgame_sae.metrics.saebench.ablation.scr import LEAST_BIAS, Bias, SCRConfig, attributed, biased_probes
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.data.linear import STRENGTHS, fit_chosen
from boardgame_sae.metrics.saebench.data.probes import rows_of
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.report.figures.style import BLUE, GREY, INK, ORANGE, legend_below
from boardgame_sae.saes.load import load_sae
from boardgame_sae.studies.study import Plan, Row, Setting, StudyConfig, mean_with_interval, study
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

GREEN = "#009E73"
MARGINS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""By how much the F1 for the spurious concept must exceed that for the intended one, to choose from."""
NO_SAE = "no SAE"
FLOOR, CEILING = "nothing ablated", "probe of balanced data"
ERASED, ERASED_AGAIN = "spurious concept erased", "spurious concept erased, probe trained again"
LINES: Mapping[str, tuple[str, str]] = {
    FLOOR: (INK, "--"),
    CEILING: (INK, "-"),
    ERASED: (GREEN, ":"),
    ERASED_AGAIN: (GREEN, "-."),
}
"""What is done without an SAE, with its colour and line in the figure."""
JUDGE, ZERO, JUDGE_AGAIN = "judge", "judge, set to zero", "judge, probe trained again"
ATTRIBUTION, ATTRIBUTION_AGAIN = "attribution", "attribution, probe trained again"
AS_MANY, RANDOM = "attribution, as many as the judge", "random, as many as the judge"
MARKS: Mapping[str, tuple[str, str]] = {
    JUDGE: (BLUE, "o"),
    ZERO: (BLUE, "x"),
    JUDGE_AGAIN: (BLUE, "D"),
    ATTRIBUTION: (ORANGE, "o"),
    AS_MANY: (ORANGE, "s"),
    ATTRIBUTION_AGAIN: (ORANGE, "D"),
    RANDOM: (GREY, "o"),
}
"""What is ablated of an SAE, with its colour and marker in the figure."""
COLUMNS = {
    "sae": "SAE",
    "choice": "what is ablated",
    "n_ablated": "latents",
    "intended": "accuracy on the intended concept [95%]",
    "spurious": "on the spurious one [95%]",
    "worst": "of the worst group [95%]",
    "over_attribution": "intended, less attribution's with as many [95%]",
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
    """Pairs of concepts, chosen by rule, and their examples."""
    n_random: Count = 5
    """Draws of random latents, whose mean counts."""
    seed: Seed = 0
    """Which random latents are drawn."""


class Task(NamedTuple):
    """A probe of two concepts that coincide, and which of them is meant."""

    bias: Bias
    intended: int
    """0 or 1: its place in the pair."""

    @property
    def spurious(self) -> int:
        """The other place."""
        return 1 - self.intended

    def truths(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """bool (N,): the intended and the spurious concept at the split's balanced examples."""
        balanced = self.bias.pair.balanced
        return balanced[self.intended][split].true_N, balanced[self.spurious][split].true_N

    def rows(self, split: str) -> np.ndarray:
        """Where these examples are among the split's positions."""
        return self.bias.pair.balanced[0][split].row_N


def tasks(testbed: Testbed, cfg: SCRConfig) -> list[Task]:
    """Both directions of every pair, but for those where the bias costs hardly any accuracy on validation.

    Raises UnscorableError as `biased_probes` does, RunError when no direction is left.
    """
    every = [Task(bias, intended) for bias in testbed.once(biased_probes, cfg) for intended in range(2)]
    left = [task for task in every if task.bias.costs[task.intended] >= LEAST_BIAS]
    if not left:
        raise RunError(f"the bias costs none of the {len(every)} probes any accuracy; use a testbed with more games")
    return left


class Outcome(NamedTuple):
    """What a probe says of balanced examples."""

    intended: float
    """Accuracy on the intended concept."""
    spurious: float
    """Agreement with the spurious one: 0.5 where the probe does not know it."""
    worst: float
    """Accuracy on the intended concept in that combination of the two where it is lowest."""
    n_ablated: float = 0.0


def outcome(logits_N: np.ndarray, intended_N: np.ndarray, spurious_N: np.ndarray, n_ablated: float = 0.0) -> Outcome:
    """Judge a probe's logits by both truths, bool (N,). All four combinations of the truths must occur."""
    says_N = logits_N > 0
    right_N = says_N == intended_N
    groups = [right_N[(intended_N == a) & (spurious_N == b)].mean() for a in (False, True) for b in (False, True)]
    return Outcome(float(right_N.mean()), float((says_N == spurious_N).mean()), float(min(groups)), n_ablated)


def spurious_margins(latents_NF: csr_array, intended_N: np.ndarray, spurious_N: np.ndarray) -> np.ndarray:
    """(F,): the best F1 of each latent for the spurious concept or its opposite, less that for the intended one.

    latents_NF: at positions where each of the four combinations of the concepts is as frequent, so that the F1 of a
    latent that knows nothing is the same for both.
    """
    labels_NP = np.stack([spurious_N, ~spurious_N, intended_N, ~intended_N], axis=1)
    counts = count_latents(latents_NF, labels_NP)
    on_TFP, n_on_TF1 = counts.on_TFP.numpy(), counts.n_on_TF.numpy()[..., None]
    best_FP = f1(on_TFP, n_on_TF1, counts.positives_P.numpy()).max(0)
    return best_FP[:, :2].max(1) - best_FP[:, 2:].max(1)


def trained_again(task: Task, read: Callable[[str, np.ndarray], np.ndarray], n_ablated: float = 0.0) -> Outcome:
    """What a probe says that is trained where the concepts coincide, on changed activations.

    read: the activations (N, D) of some of a split's positions.
    """
    examples = task.bias.pair.biased
    (x_ND, true_N), (x_validation_ND, true_validation_N) = (
        (read(split, examples[split].row_N), examples[split].true_N) for split in ("train", "validation")
    )
    fitted = fit_chosen(x_ND, true_N, x_validation_ND, true_validation_N, STRENGTHS)
    return outcome(fitted.logits(read("test", task.rows("test"))), *task.truths("test"), n_ablated)


class Seen(NamedTuple):
    """A split's balanced examples of a task, as the biased probe and an SAE see them."""

    latents_NF: csr_array
    biased_N: np.ndarray
    """The probe's logits."""
    truths: tuple[np.ndarray, np.ndarray]
    """bool (N,): of the intended and of the spurious concept."""

    @classmethod
    def of(cls, subject: Subject, task: Task, split: str) -> "Seen":
        """Read the examples."""
        row_N = task.rows(split)
        logits_N = task.bias.biased.logits(rows_of(subject.testbed, split, row_N))
        return cls(latent_rows(subject, split, row_N), logits_N, task.truths(split))


class Ablation(NamedTuple):
    """A task, and what an SAE's latents are to it."""

    subject: Subject
    task: Task
    seen: Mapping[str, Seen]
    """By split."""
    alignment_F: np.ndarray
    """What one unit of each latent adds to the biased probe's logit."""
    mean_F: np.ndarray
    """The mean of each where the concepts coincide, on train games."""
    margin_F: np.ndarray
    """See `spurious_margins`; on train games."""
    attributed: np.ndarray
    """Latents in the order of attribution."""

    @classmethod
    def of(cls, subject: Subject, task: Task) -> "Ablation":
        """Judge the latents on train games."""
        seen = {split: Seen.of(subject, task, split) for split in SPLITS}
        coinciding_NF = latent_rows(subject, "train", task.bias.pair.biased["train"].row_N)
        return cls(
            subject,
            task,
            seen,
            alignment(subject, task.bias.biased),
            np.asarray(coinciding_NF.mean(0), np.float64).ravel(),
            spurious_margins(seen["train"].latents_NF, *seen["train"].truths),
            attributed(subject, task.bias, task.spurious),
        )

    def judged(self, margin: float) -> np.ndarray:
        """The latents that are more about the spurious concept than about the intended one, by at least a margin."""
        return np.flatnonzero(self.margin_F >= margin)

    def without(self, latents: np.ndarray, split: str, *, to_zero: bool = False) -> Outcome:
        """What the biased probe says after some latents are set to their mean, or to zero."""
        seen = self.seen[split]
        logits_N = logits_without(seen.biased_N, seen.latents_NF, self.alignment_F, latents)
        kept = 0.0 if to_zero else float(self.mean_F[latents] @ self.alignment_F[latents])
        return outcome(logits_N + kept, *seen.truths, len(latents))

    def trained_again(self, latents: np.ndarray) -> Outcome:
        """What a probe says that is trained on the same examples as the biased one, without what some latents write."""
        W_dec = self.subject.source.W_dec
        assert W_dec is not None
        rows_KD = W_dec[latents].detach().cpu().numpy()

        def rest(split: str, row_N: np.ndarray) -> np.ndarray:
            acts_ND = rows_of(self.subject.testbed, split, row_N)
            return acts_ND - latent_rows(self.subject, split, row_N)[:, latents] @ rows_KD

        return trained_again(self.task, rest, len(latents))

    def random(self, n: int, n_draws: int, seed: int) -> Outcome:
        """The mean of ablating n random latents, of those that are ever on."""
        on = np.unique(self.seen["train"].latents_NF.indices)
        rng = np.random.default_rng(seed_for(seed, *(concept.name for concept in self.task.bias.pair.concepts)))
        draws = [self.without(rng.choice(on, min(n, len(on)), replace=False), "test") for _ in range(n_draws)]
        return Outcome(*np.mean(draws, axis=0).tolist())


Choice = Callable[[Ablation, Any], np.ndarray]
"""Which latents to ablate, by a setting."""


def chosen_setting(ablations: Sequence[Ablation], choice: Choice, settings: Sequence[Any]) -> Any:
    """The setting of a choice by which probes are right about the intended concept most often on validation games."""
    accuracy = [
        np.mean([one.without(choice(one, setting), "validation").intended for one in ablations]) for setting in settings
    ]
    return settings[int(np.argmax(accuracy))]


def of_sae(testbed: Testbed, name: str, cfg: ShiftStudy) -> dict[str, list[Outcome]]:
    """The outcomes on test of every choice of an SAE's latents, one for each task.

    Raises RunError for an SAE without a decoder.
    """
    subject = Subject(name, SAE_KIND, load_sae(name), testbed)
    ablations = [Ablation.of(subject, task) for task in testbed.once(tasks, cfg.pairs)]
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
        found[RANDOM].append(one.random(len(judged), cfg.n_random, cfg.seed))
    return found


def _first_attributed(ablation: Ablation, n: int) -> np.ndarray:
    return ablation.attributed[:n]


def without_sae(testbed: Testbed, cfg: SCRConfig) -> dict[str, list[Outcome]]:
    """The outcomes on test of the biased probe, of the balanced one, and of erasing the spurious concept."""
    found: dict[str, list[Outcome]] = {how: [] for how in LINES}
    for task in testbed.once(tasks, cfg):
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


Eraser = Callable[[np.ndarray], np.ndarray]
"""Activations (N, D) to activations in which a concept is not to be read."""


def eraser(x_ND: np.ndarray, true_N: np.ndarray) -> Eraser:
    """The smallest linear change after which no linear probe tells a concept: x - s (s' C^-1 (x - mean)) / (s' C^-1 s),
    with C the covariance of the activations and s theirs with the concept.

    Source: LEACE, Belrose et al. 2023 (arXiv 2306.03819), theorem 4.3, for one binary concept.
    """
    mean_D, x_ND = x_ND.mean(0, dtype=np.float64), x_ND.astype(np.float64)
    shared_D = (x_ND - mean_D).T @ (true_N - true_N.mean()) / len(x_ND)
    reading_D = np.linalg.lstsq(np.cov(x_ND.T, bias=True), shared_D, rcond=None)[0]
    reading_D /= shared_D @ reading_D
    return lambda other_ND: other_ND - np.outer((other_ND - mean_D) @ reading_D, shared_D)


@study("shift", ShiftStudy, saes=lambda cfg: cfg.saes)
def shift(cfg: ShiftStudy, setting: Setting) -> Plan:
    """Do the latents of a spurious concept, chosen by what they stand for, repair a probe that learned it?"""
    rows: list[Callable[[], Row]] = [partial(_row, cfg, setting.testbed, None, how) for how in LINES]
    rows += [partial(_row, cfg, setting.testbed, sae, how) for sae in cfg.saes for how in MARKS]
    return Plan(rows, COLUMNS, figure)


def _row(cfg: ShiftStudy, testbed: Testbed, sae: str | None, how: str) -> Row:
    found = testbed.once(of_sae, sae, cfg) if sae else testbed.once(without_sae, cfg.pairs)
    asked = testbed.once(tasks, cfg.pairs)
    row: Row = {"sae": Path(sae).name if sae else NO_SAE, "choice": how, "n_tasks": len(asked)}
    row["n_ablated"] = float(np.mean([one.n_ablated for one in found[how]]))
    for number in ("intended", "spurious", "worst"):
        row |= mean_with_interval(number, by_pair(asked, [getattr(one, number) for one in found[how]]))
    if how == JUDGE:
        less = [a.intended - b.intended for a, b in zip(found[JUDGE], found[AS_MANY], strict=True)]
        row |= mean_with_interval("over_attribution", by_pair(asked, less))
    row["tasks"] = [
        [*(task.bias.pair.concepts[place].name for place in (task.intended, task.spurious)), *one]
        for task, one in zip(asked, found[how], strict=True)
    ]
    return row


def by_pair(asked: Sequence[Task], values: Sequence[float]) -> list[float]:
    """The mean of each pair's one or two directions: pairs are what intervals resample."""
    pairs = [[concept.name for concept in task.bias.pair.concepts] for task in asked]
    distinct = [pair for place, pair in enumerate(pairs) if pair not in pairs[:place]]
    return [
        float(np.mean([value for one, value in zip(pairs, values, strict=True) if one == pair])) for pair in distinct
    ]


def figure(rows: Sequence[Row]) -> Figure:
    """Accuracies of each SAE and choice, between those of the biased and of the balanced probe."""
    saes = list(dict.fromkeys(row["sae"] for row in rows if row["sae"] != NO_SAE))
    drawn = Figure(figsize=(11, 1.0 * len(saes) + 2.4), layout="constrained")
    panels = drawn.subplots(1, 3, sharey=True)
    titles = {"intended": "intended concept", "spurious": "spurious concept", "worst": "intended, worst group"}
    for axes, (number, title) in zip(panels, titles.items(), strict=True):
        _panel(axes, rows, saes, number)
        axes.set(title=title, xlabel="test accuracy")
    panels[0].set_yticks(range(len(saes)), saes)
    panels[0].set_ylim(len(saes) - 0.5, -0.5)
    legend_below(drawn, panels)
    return drawn


def _panel(axes: Axes, rows: Sequence[Row], saes: Sequence[str], number: str) -> None:
    for row in rows:
        if row["sae"] == NO_SAE:
            colour, line = LINES[row["choice"]]
            axes.axvline(row[number], color=colour, linestyle=line, linewidth=1.2, label=f"no SAE: {row['choice']}")
    for place, (how, (colour, marker)) in enumerate(MARKS.items()):
        own = {row["sae"]: row for row in rows if row["choice"] == how}
        at = np.arange(len(saes)) + 0.11 * (place - (len(MARKS) - 1) / 2)
        low, value, high = (np.array([own[sae][f"{number}{end}"] for sae in saes]) for end in ("_low", "", "_high"))
        spread = np.maximum([value - low, high - value], 0)
        axes.errorbar(value, at, xerr=spread, fmt=marker, color=colour, markersize=5, label=how)
