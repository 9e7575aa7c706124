"""Which subjects stand for the others where only a few are shown: the best SAEs, and the best of each baseline."""

import math
from collections.abc import Sequence

from boardgame_sae.metrics.baselines.registry import SAE_KIND, baselines
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import Score, main_scores
from boardgame_sae.pipeline.study_folder import Scored, StudyTestbed
from boardgame_sae.report.titles import Row, is_sae


def ranking_score() -> Score:
    """The score that says which SAE is the best."""
    return main_scores()[0]


def best_saes(testbed: StudyTestbed) -> list[Scored]:
    """The SAEs on the trained GPT, best first; of one SAE's seeds only the best."""
    ranked_by = ranking_score().name
    pooled = {name: pool.subject["name"] for pool in testbed.pooled for name in pool.subject["members"]}
    saes = [one for one in testbed.subjects if one.scores.subject["kind"] == SAE_KIND and ranked_by in one.scores]
    best: dict[str, Scored] = {}
    for one in sorted(saes, key=lambda one: (-one.scores[ranked_by].value, one.scores.subject["name"])):
        name = one.scores.subject["name"]
        best.setdefault(pooled.get(name, name), one)
    return list(best.values())


def best_sae(testbed: StudyTestbed) -> Scores | None:
    """The scores of the best SAE on the trained GPT, if any was scored."""
    return next((one.scores for one in best_saes(testbed)), None)


def best_row(rows: Sequence[Row], column: str) -> Row | None:
    """The row of a single SAE, not of pooled seeds, that has the most of a column."""
    saes = [row for row in rows if is_sae(row) and row["n_seeds"] == 1 and row.get(column) is not None]
    return max(saes, key=lambda row: row[column], default=None)


def best_by_kind(rows: Sequence[Row]) -> dict[str, Row]:
    """The best SAE, then the best of each kind of baseline; of one that is made for one L0 that of nearly the SAE's.

    rows: those of one testbed.
    """
    ranked_by = ranking_score().name
    sae, best = best_row(rows, ranked_by), dict[str, Row]()
    if sae is not None:
        best[SAE_KIND] = sae
    for kind, baseline in baselines().items():
        same = [row for row in rows if row["kind"] == kind and row["pooled_as"] is None]
        same = [row for row in same if row.get(ranked_by) is not None]
        if same and sae is not None and baseline.of_sparsity is not None:
            l0 = max(sae["l0"], 1)
            best[kind] = min(same, key=lambda row: abs(math.log(row["l0"] / l0)))
        elif same:
            best[kind] = max(same, key=lambda row: row[ranked_by])
    return best
