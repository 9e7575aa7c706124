"""`results upload-ready`: everything that was scored, in one file that others give as a source beside their own."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.score_file import Row, adds_nothing, identity_of, write_score_file
from boardgame_sae.pipeline.sources import Source, read_sources
from boardgame_sae.pipeline.study_folder import Scored, Study, StudyTestbed
from boardgame_sae.runs import runs_root
from boardgame_sae.runs.integrity import is_done
from boardgame_sae.saes.facts import sae_facts
from boardgame_sae.saes.load import load_sae


class Uploaded(NamedTuple):
    """What was written."""

    path: Path
    n_subjects: int
    studies: tuple[str, ...]
    """Labels of the studies that they are of."""


def upload_ready(*sources: Source | Iterable[Source], out: str | Path, sums: bool = True) -> Uploaded:
    """Write all scores that some sources hold, with the exact configuration of each, into one file.

    sources: as `pipeline.sources` reads them. out: the file, `scores.parquet`; `score_file` says what is in it.
    sums: also what `compare` and pooled seeds are made of, most of the file.
    Raises RunError and ValueError as `read_sources` does, ValueError for a file named as one of another kind.
    """
    path = Path(out)
    if path.suffix not in ("", ".parquet"):
        raise ValueError(f"{path}: the file is Parquet; name it {path.with_suffix('.parquet')}")
    studies = read_sources(sources)
    n_subjects = write_score_file(path, _rows(studies, sums))
    return Uploaded(path, n_subjects, tuple(study.label for study in studies))


def _rows(studies: Sequence[Study], sums: bool) -> Iterator[Row]:
    """The subjects of some studies, without those that hold nothing that an earlier one of the same does not hold."""
    seen: dict[str, list[Scores]] = {}
    for study, testbed in ((one, testbed) for one in studies for testbed in one.testbeds):
        for scored in testbed.subjects:
            known = seen.setdefault(identity_of(scored.scores.subject), [])
            if any(adds_nothing(scored.scores, earlier) for earlier in known):
                continue
            known.append(scored.scores)
            yield Row(study.label, Scored(_scores(study, scored, sums), own=scored.own), _training(testbed, scored))


def _scores(study: Study, scored: Scored, sums: bool) -> Scores:
    """Scores with their sums if they are wanted, and with the game that is played, which older ones do not state."""
    scores = scored.with_sums() if sums else scored.scores
    testbed = scores.subject["testbed"]
    if study.game is not None:
        testbed = {"game": study.game.spec, **testbed}
    return Scores({**scores.subject, "name": scored.scores.subject["name"], "testbed": testbed}, scores)


def _training(testbed: StudyTestbed, scored: Scored) -> dict[str, Any] | None:
    """All that the SAE that was scored says of its training, if it is at hand and still the same."""
    about = scored.scores.subject
    name, content = about.get("sae", {}).get("sae_folder"), about.get("content")
    trained_here = [folder for folder in [runs_root() / "sae" / str(name)] if is_done(folder)]
    for folder in (*testbed.saes, *testbed.random_saes, *trained_here):
        if folder.name == name:
            sae = load_sae(folder, uncalibrated=True)
            if sae_facts(sae)["content"] == content:
                return {**sae.metadata, "trained_as": sae.trained_as}
    return None
