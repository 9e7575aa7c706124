"""`compare`: by how much one recipe scores better than another, of anything that holds scores."""

from collections.abc import Iterable
from pathlib import Path

from boardgame_sae.files import write_json
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.statistics.compare import Difference, differences
from boardgame_sae.metrics.statistics.pool_seeds import poolable
from boardgame_sae.pipeline.score import score_saes
from boardgame_sae.pipeline.sources import Source, find_scored
from boardgame_sae.pipeline.study_folder import Scored
from boardgame_sae.runs import Run
from boardgame_sae.runs.integrity import content_of
from boardgame_sae.testbeds.shipped import SAES, SCORES, shipped_testbeds

Side = Source | Iterable[Source]
"""One subject, or several that are seeds of one recipe."""


def compare(a: Side, b: Side, *, device: str = "auto") -> list[Difference]:
    """The differences a - b of every number that has an interval, for every score that all of them have.

    a, b: each one recipe: scores as `evaluate` gives them, their folders, or names of shipped SAEs
    (`othello6-tiny/topk-16`), one for each seed. A shipped SAE is scored here first, once, on the device: what ships
    lacks the sums over games that differences are made of.
    Raises RunError for what holds no scores, ConfigError for a whole sweep or testbed, ValueError when a side is empty,
    they have no score in common, or they were not scored on the same positions and classes.
    """
    return differences(*([one.scores for one in _with_sums(side, device)] for side in (a, b)))


def compare_run(
    a: Side, b: Side, *, out: str | Path | None = None, device: str = "auto"
) -> tuple[Path, list[Difference]]:
    """`compare`, written as differences.json into a run folder, which is returned with them."""
    sides = [_with_sums(side, device) for side in (a, b)]
    found = differences(*([one.scores for one in side] for side in sides))
    name = "-".join(side[0].scores.subject["name"] for side in sides)
    named = zip("ab", sides, strict=True)
    inputs = {f"{which} {n}": _content(one) for which, side in named for n, one in enumerate(side)}
    with Run("compare", name, {}, inputs, out) as run:
        if not run.done:
            write_json(run / "differences.json", [difference._asdict() for difference in found])
            run.finish()
        return run.folder, found


def _content(scored: Scored) -> str:
    return scored.scores.content if scored.folder is None else content_of(scored.folder)


def _with_sums(side: Side, device: str) -> list[Scored]:
    return [_loaded(scored, device) for scored in find_scored(side)]


def _loaded(scored: Scored, device: str) -> Scored:
    """Scores with their sums over games, where there are any; those of a shipped SAE are computed."""
    if scored.folder is None or not scored.folder.is_dir():
        return scored
    loaded = scored.with_sums()
    if not poolable(loaded) and (shipped := _shipped_sae(scored.folder)) is not None:
        testbed, sae = shipped
        (folder,) = score_saes([sae], testbed, device=device)
        return Scored(Scores.load(folder), folder)
    return scored._replace(scores=loaded)


def _shipped_sae(scores_folder: Path) -> tuple[Path, Path] | None:
    """The testbed and the SAE that scores in a shipped testbed are of; None for any other."""
    for testbed in shipped_testbeds().values():
        sae = testbed / SAES / scores_folder.name
        if scores_folder.resolve() == (testbed / SCORES / scores_folder.name).resolve() and sae.is_dir():
            return testbed, sae
    return None
