"""Everything the supervised scores need of one subject, in one pass over each split.

Train is counted once: from each block of counts come the best latent of every class (coverage), the classifiers of
every class (board reconstruction) and the best class of every latent. Validation chooses the reconstruction's
thresholds. Test is predicted and counted by game. Counts that exceed the memory budget are made for a few latents at
a time, and latents beyond it lie on disk (see `Subject`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.counting.sample import Part, Sample
from boardgame_sae.metrics.counts import (
    CountTask,
    activation_bins,
    activation_edges,
    count_task,
    count_task_like,
    task_blocks,
)
from boardgame_sae.metrics.coverage import BestLatents, on_above
from boardgame_sae.metrics.reconstruction import (
    MIN_COUNT,
    MIN_PRECISION,
    Classifiers,
    agreement,
    united,
    unpack,
)
from boardgame_sae.metrics.subject import SHOWN_AFTER, Subject
from boardgame_sae.metrics.supervised.best_property import BestProperties, ClassifierCounts, count_classifiers
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.columns import PropertyColumns

CUTS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Probabilities above which a readout may predict that a class is true; the best on validation is chosen."""


@dataclass(frozen=True, eq=False)
class PropertyResult:
    """How well a subject predicts one property. C are its classes with enough examples, P all its classes."""

    columns: PropertyColumns
    chosen_C: np.ndarray
    """Which of the property's classes are scored."""
    train_f1_C: np.ndarray
    """The best F1 of any latent on train."""
    latent_C: np.ndarray
    """That latent."""
    threshold_C: np.ndarray
    """Its threshold, as a share of its largest activation on train."""
    covered: GameSums
    """On test, by game: counts of that latent as classifier of each class; the last column counts all positions."""
    rebuilt: GameSums
    """On test, by game: counts of the boards rebuilt at `threshold`."""
    threshold: float
    """The threshold of best micro F1 on validation."""
    f1_T: np.ndarray | None
    """Micro F1 on test at every threshold; None for a readout."""
    n_classifiers_T: np.ndarray | None
    """(latent, class) pairs at every threshold; None for a readout."""


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """For each latent the class it predicts best, over all properties."""

    column_F: np.ndarray
    """Its column among the testbed's labels; -1 for a latent that is never on at the scored train positions."""
    max_activation_F: np.ndarray
    """m_f: its largest activation at the train positions where the class is known."""
    threshold_F: np.ndarray
    train_f1_F: np.ndarray
    positives_F: np.ndarray
    """Test positions where the class is true."""
    n_positions_F: np.ndarray
    """Test positions where it is known whether the class is true."""
    counts: ClassifierCounts
    """Its counts on test."""
    n_precise_F: np.ndarray
    """Classes of which it is a classifier, at some threshold, for board reconstruction."""


def property_groups(subject: Subject) -> tuple["PropertyGroup", ...]:
    """The testbed's properties that have a class with enough examples, counted; those known everywhere together.

    Raises ValueError when no class of any property has enough examples. Costly: call `subject.once(property_groups)`.
    """
    testbed = subject.testbed
    if not testbed.supported_P.any():
        names = ", ".join(columns.name for columns in testbed.columns)
        raise ValueError(f"no class of {names} is true and false often enough in every split; score more games")
    everywhere = [columns for columns in testbed.columns if not columns.partial]
    groups = [*([everywhere] if everywhere else []), *([columns] for columns in testbed.columns if columns.partial)]
    return tuple(PropertyGroup(subject, group) for group in groups if _supported(subject, group).any())


def property_results(subject: Subject) -> tuple[PropertyResult, ...]:
    """The result of each property that has a class with enough examples, in the testbed's order.

    Raises ValueError as `property_groups` does.
    """
    results = [result for group in subject.once(property_groups) for result in group.results()]
    order = [columns.name for columns in subject.testbed.columns]
    return tuple(sorted(results, key=lambda result: order.index(result.columns.name)))


def latent_classes(subject: Subject) -> LatentClasses:
    """For each latent the class, of all properties, that it predicts best by F1 above chance on train.

    Raises ValueError as `property_groups` does.
    """
    by_group = [group.latent_classes() for group in subject.once(property_groups)]
    best_F = np.argmax([above_F for above_F, _ in by_group], axis=0)

    def pick(field: Callable[[LatentClasses], Any]) -> np.ndarray:
        return np.stack([field(classes) for _, classes in by_group])[best_F, np.arange(len(best_F))]

    return LatentClasses(
        pick(lambda c: c.column_F),
        pick(lambda c: c.max_activation_F),
        pick(lambda c: c.threshold_F),
        pick(lambda c: c.train_f1_F),
        pick(lambda c: c.positives_F),
        pick(lambda c: c.n_positions_F),
        ClassifierCounts(pick(lambda c: c.counts.true_positives_F), pick(lambda c: c.counts.predicted_positives_F)),
        np.sum([classes.n_precise_F for _, classes in by_group], axis=0),
    )


def _supported(subject: Subject, group: list[PropertyColumns]) -> np.ndarray:
    """bool (P,), over the group's columns side by side."""
    return np.concatenate([subject.testbed.supported_P[columns.start : columns.stop] for columns in group])


class PropertyGroup:
    """Properties whose truth is known at the same positions, counted together."""

    def __init__(self, subject: Subject, group: list[PropertyColumns]) -> None:
        self.subject, self.group, self.wanted_P = subject, group, _supported(subject, group)
        self.starts = np.cumsum([0, *(columns.stop - columns.start for columns in group)])
        self.train = count_task(self.sample("train"))
        self.best = BestLatents(self.train)
        self.classifiers = Classifiers(self.train, MIN_PRECISION, MIN_COUNT, self.wanted_P)
        self.best_properties = BestProperties(self.train, self.wanted_P)
        names, n_latents = ", ".join(columns.name for columns in group), self.train.sample.n_latents
        with progress(n_latents, f"{subject.name}: {names}", "latents", leave=False, after=SHOWN_AFTER) as bar:
            for first, counts in task_blocks(self.train, subject.max_bytes // 4):
                for gatherer in (self.best, self.classifiers, self.best_properties):
                    gatherer.add(first, counts)
                bar.update(counts.on_TFP.shape[1])

    def sample(self, split: str) -> Sample:
        """The group's labels and the subject's latents, at the positions of a split where the truth is known."""
        testbed, (first, last) = self.subject.testbed, (self.group[0].start, self.group[-1].stop)
        contiguous = last - first == self.starts[-1]

        def reader(start: int, stop: int) -> Callable[[], np.ndarray]:
            def read() -> np.ndarray:
                labels_NP = testbed.labels(split, start, stop)
                if contiguous:
                    own_NP = labels_NP[:, first:last]
                else:
                    own_NP = np.concatenate(
                        [labels_NP[:, columns.start : columns.stop] for columns in self.group], axis=1
                    )
                return own_NP[self.group[0].known(labels_NP)] if self.group[0].partial else own_NP

            return read

        parts, game_N = [], testbed.positions(split).game_N
        for span, latents in zip(testbed.spans(split), self.subject.latents(split), strict=True):
            own_N = game_N[span.start : span.stop] - span.first_game
            if self.group[0].partial:
                known_N = self.group[0].known(testbed.labels(split, span.start, span.stop))
                latents, own_N = latents.select_rows(known_N), own_N[known_N]
            parts.append(Part(latents, reader(span.start, span.stop), own_N, span.n_games))
        return Sample(parts, int(self.starts[-1]))

    def results(self) -> list[PropertyResult]:
        """One result for each property that has a class with enough examples."""
        f1_P, latent_P, threshold_P = self.best.chosen()
        test = count_task_like(self.train, self.sample("test"))
        rebuilt = self._read_out(test.sample) if self.subject.source.reads_labels else self._rebuilt(test)
        results = []
        for q, columns in enumerate(self.group):
            chosen_C = np.flatnonzero(self.wanted_P[self.starts[q] : self.starts[q + 1]])
            if len(chosen_C):
                at_C = chosen_C + self.starts[q]
                covered = self._covered(test, at_C, latent_P[at_C], threshold_P[at_C])
                choice = f1_P[at_C], latent_P[at_C], threshold_P[at_C]
                results.append(PropertyResult(columns, chosen_C, *choice, covered, *rebuilt[q]))
        return results

    def _covered(self, test: CountTask, at_C: np.ndarray, latent_C: np.ndarray, threshold_C: np.ndarray) -> GameSums:
        """By game, the counts of the chosen latent of each class; the last column counts all positions."""
        edge_C = threshold_C.astype(test.max_activation_F.dtype) * test.max_activation_F[latent_C]
        parts = []
        for part in test.sample.parts:
            on_NC, labels_NC = on_above(part.latents, latent_C, edge_C), part.read_labels()[:, at_C]
            all_N1 = np.ones((len(on_NC), 1), np.bool_)
            on_NC, labels_NC = (np.concatenate([columns_NC, all_N1], axis=1) for columns_NC in (on_NC, labels_NC))
            parts.append(GameSums.of_classifiers(on_NC, labels_NC, _games(part), part.n_games))
        return GameSums.stack(parts)

    def _rebuilt(self, test: CountTask) -> list[tuple[GameSums, float, np.ndarray, np.ndarray]]:
        """By property: boards by game, the threshold chosen on validation, F1 and classifiers at every threshold."""
        words_FTW, n_properties = self.classifiers.words_FTW, int(self.starts[-1])
        validation = count_task_like(self.train, self.sample("validation"))
        validation_f1_QT = self._micro_f1(validation, words_FTW)
        t_Q = validation_f1_QT.argmax(axis=1)  # the first where several are equal
        f1_QT = self._micro_f1(test, words_FTW)
        owner_P = np.repeat(np.arange(len(self.group)), np.diff(self.starts))
        sums_by_property: list[list[GameSums]] = [[] for _ in self.group]
        for part in test.sample.parts:
            predicted_NP = np.zeros((part.latents.n_positions, n_properties), np.bool_)
            for t in np.unique(t_Q):
                edges_1F = activation_edges(self.train.thresholds_T[t : t + 1], test.max_activation_F)
                bins_Z = activation_bins(part.latents, edges_1F)
                boards_NP = unpack(united(part.latents, bins_Z, words_FTW[:, t : t + 1]), n_properties)
                uses_t_P = (t_Q == t)[owner_P]
                predicted_NP[:, uses_t_P] = boards_NP[:, uses_t_P]
            labels_NP = part.read_labels()
            for q, sums in enumerate(sums_by_property):
                at_C = self._at(q)
                sums.append(
                    GameSums.of_classifiers(predicted_NP[:, at_C], labels_NP[:, at_C], _games(part), part.n_games)
                )
        n_TP = np.zeros((words_FTW.shape[1], n_properties), np.int64)
        for t in range(len(n_TP)):
            n_TP[t] = unpack(words_FTW[:, t], n_properties).sum(axis=0)
        return [
            (
                GameSums.stack(sums),
                float(self.train.thresholds_T[t_Q[q]]),
                f1_QT[q],
                n_TP[:, self.starts[q] : self.starts[q + 1]].sum(axis=1),
            )
            for q, sums in enumerate(sums_by_property)
        ]

    def _at(self, q: int) -> np.ndarray:
        """The group's columns of property q that are scored."""
        return np.flatnonzero(self.wanted_P[self.starts[q] : self.starts[q + 1]]) + self.starts[q]

    def _micro_f1(self, task: CountTask, words_FTW: np.ndarray) -> np.ndarray:
        """(Q, T): micro F1 of each property's scored classes at every threshold."""
        true_positives_TP, predicted_positives_TP = agreement(task, words_FTW)
        f1_by_property = []
        for q in range(len(self.group)):
            at_C = self._at(q)
            counts = true_positives_TP[:, at_C].sum(1), predicted_positives_TP[:, at_C].sum(1)
            f1_by_property.append(f1(*counts, task.sample.positives_P[at_C].sum()))
        return np.stack(f1_by_property)

    def _read_out(self, test: Sample) -> list[tuple[GameSums, float, None, None]]:
        """By property: boards by game that a readout predicts, cut at the probability of best F1 on validation."""
        true_positives_QK, predicted_positives_QK = np.zeros((2, len(self.group), len(CUTS)), np.int64)
        positives_Q = np.zeros(len(self.group), np.int64)
        for part in self.sample("validation").parts:
            labels_NP = part.read_labels()
            for q in range(len(self.group)):
                readout_NC, labels_NC = self._readout(part, q), labels_NP[:, self._at(q)]
                positives_Q[q] += labels_NC.sum()
                for k, cut in enumerate(CUTS):
                    true_positives_QK[q, k] += ((readout_NC > cut) & labels_NC).sum()
                    predicted_positives_QK[q, k] += (readout_NC > cut).sum()
        f1_QK = f1(true_positives_QK, predicted_positives_QK, positives_Q[:, None])
        results = []
        for q, cut in enumerate(CUTS[k] for k in f1_QK.argmax(axis=1)):
            parts = [
                GameSums.of_classifiers(
                    self._readout(part, q) > cut, part.read_labels()[:, self._at(q)], _games(part), part.n_games
                )
                for part in test.parts
            ]
            results.append((GameSums.stack(parts), cut, None, None))
        return results

    def _readout(self, part: Part, q: int) -> np.ndarray:
        """(n, C): the latents that read property q's scored classes."""
        columns = self.group[q]
        return part.latents.columns(columns.start, columns.stop).to_dense()[:, self._at(q) - self.starts[q]]

    def latent_classes(self) -> tuple[np.ndarray, LatentClasses]:
        """For each latent its best F1 above chance on train over the classes of this group, and that class."""
        test, best = self.sample("test"), self.best_properties
        column_P = np.concatenate([np.arange(columns.start, columns.stop) for columns in self.group])
        precise_FW = np.bitwise_or.reduce(self.classifiers.words_FTW, axis=1)
        property_F, known_F = np.maximum(best.property_F, 0), best.property_F >= 0
        return best.above_F, LatentClasses(
            np.where(known_F, column_P[property_F], -1),
            self.train.max_activation_F,
            self.train.thresholds_T[best.t_F],
            best.f1_F,
            np.where(known_F, test.positives_P[property_F], 0),
            np.full(len(property_F), test.n_positions),
            count_classifiers(test, best.edges_F(), best.property_F),
            unpack(precise_FW, int(self.starts[-1])).sum(axis=1),
        )


def _games(part: Part) -> np.ndarray:
    assert part.game_N is not None
    return part.game_N
