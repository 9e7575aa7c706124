"""The numbers that the published code would give for one subject, property by property (see `published_code`)."""

from typing import NamedTuple

from boardgame_sae.metrics.counts import THRESHOLDS, count_task_like, task_blocks
from boardgame_sae.metrics.coverage import BestLatents
from boardgame_sae.metrics.reconstruction import MIN_COUNT, MIN_PRECISION, Classifiers
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.property_results import PropertyGroup, property_groups
from boardgame_sae.metrics.supervised.published_code import (
    ReferenceReconstruction,
    reference_boards,
    reference_task,
    shared_threshold_coverage,
)


class Published(NamedTuple):
    """The published code's numbers for one property, over all its classes."""

    coverage: float
    reconstruction: ReferenceReconstruction | None
    """None for a readout of the labels."""


def published(subject: Subject) -> dict[str, Published]:
    """The numbers by property. Costs another pass over train: call `subject.once(published)`.

    Raises ValueError as `property_groups` does.
    """
    groups = subject.once(property_groups)
    return {name: numbers for group in groups for name, numbers in _of_group(subject, group).items()}


def _of_group(subject: Subject, group: PropertyGroup) -> dict[str, Published]:
    train = reference_task(group.train.sample, subject.reference_max_F, THRESHOLDS)
    best, classifiers = BestLatents(train), Classifiers(train, MIN_PRECISION, MIN_COUNT)
    for first, counts in task_blocks(train, subject.max_bytes // 4):
        best.add(first, counts)
        classifiers.add(first, counts)
    boards: list[ReferenceReconstruction | None] = [None] * len(group.group)
    if not subject.source.reads_labels:
        test = count_task_like(train, group.sample("test"))
        boards = [*reference_boards(test, classifiers.words_FTW, [columns.square_P for columns in group.group])]
    game, numbers = subject.testbed.corpus.game, {}
    for q, (columns, rebuilt) in enumerate(zip(group.group, boards, strict=True)):
        best_TP = best.best_TP[:, group.starts[q] : group.starts[q + 1]]
        covered = shared_threshold_coverage(best_TP, game.published_size(columns.name))
        numbers[columns.name] = Published(covered, rebuilt)
    return numbers
