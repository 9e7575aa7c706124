"""The runs that a finished study's folder lists, as typed objects.

Scores from elsewhere can stand beside those of a study, see `sources`; a study can also be made of such scores alone,
and then has no folders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.config import HookName, Name, content_hash, record
from boardgame_sae.files import RunError, read_record
from boardgame_sae.games import Game, load_game
from boardgame_sae.metrics.baselines.registry import kind_order
from boardgame_sae.metrics.results import SCORES_FILE, Scores
from boardgame_sae.metrics.statistics.pool_seeds import pool, pool_scores, poolable, siblings
from boardgame_sae.model.legality import read_legality
from boardgame_sae.probes.fit import probe_results
from boardgame_sae.runs.integrity import content_of, is_done, read_done, verified
from boardgame_sae.transcripts.corpus import Corpus

SWEEP_FILE = "sweep.json"
AGAIN = "run the sweep again, which makes only what is missing"


@record
class ListedTestbed:
    """One testbed in sweep.json: the folders of all its runs."""

    hook_name: HookName
    testbed: str
    saes: tuple[str, ...]
    random_saes: tuple[str, ...]
    scores: tuple[str, ...]
    ceilings: tuple[str, ...]
    baselines: str


@record
class ListedRuns:
    """sweep.json: the folders of all runs of a study."""

    name: Name
    corpus: str
    model: str
    probes: tuple[str, ...] = ()
    random_probes: tuple[str, ...] = ()
    testbeds: tuple[ListedTestbed, ...] = ()


def read_sweep(folder: Path) -> ListedRuns:
    """The runs that a sweep's folder, or a packed testbed's, lists.

    Raises RunError naming the file and the field that is missing or damaged, or what a folder without it holds.
    """
    path = folder / SWEEP_FILE
    if folder.is_dir() and not path.exists():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise RunError(f"{folder}: no finished sweep, as it has no {SWEEP_FILE}; it holds {held}")
    return read_record(ListedRuns, path, f"if it is a sweep's, an older version wrote it or it is damaged: {AGAIN}")


class Scored(NamedTuple):
    """One scored subject."""

    scores: Scores
    folder: Path | None = None
    """Where its scores are; None of scores that are only in memory."""
    own: bool = False
    """Whether it is the user's own, given beside what a sweep or a shipped testbed lists."""
    study: str | None = None
    """The label of the study that a file of scores says it is of; None of what comes from elsewhere."""

    def with_sums(self) -> Scores:
        """The scores, with their sums over games where there are any."""
        return Scores.load(self.folder) if self.folder is not None and self.folder.is_dir() else self.scores


@dataclass(frozen=True)
class StudyTestbed:
    """One testbed of a study, and everything that was scored on it."""

    hook_name: str
    folder: Path | None
    """The testbed's run; None where only scores are known."""
    saes: tuple[Path, ...]
    """SAE runs on the trained GPT, without those that a copy of a packed testbed leaves out."""
    random_saes: tuple[Path, ...]
    """SAE runs on the random-weights GPT."""
    score_folders: tuple[Path, ...]
    """Score runs of all SAEs, then those of the probes of the same sparsity, then those of the baselines."""
    added: tuple[Scored, ...] = ()
    """What was scored on it besides."""
    left_out: tuple[str, ...] = ()
    """Names of the SAEs whose runs a copy of a packed testbed leaves out; their scores are there."""

    @cached_property
    def subjects(self) -> tuple[Scored, ...]:
        """What each of `score_folders` holds, then what was added. Raises RunError for scores of an older version."""
        return (*(Scored(read_scores(folder), folder) for folder in self.score_folders), *self.added)

    @cached_property
    def scored(self) -> tuple[Scores, ...]:
        """The scores of each of `subjects`."""
        return tuple(subject.scores for subject in self.subjects)

    @cached_property
    def pooled(self) -> tuple[Scores, ...]:
        """SAEs that differ only in their seed, pooled; those of a family with added ones only if all hold their sums.

        Raises RunError when the sums that a sweep's SAEs are pooled from are missing.
        """
        n_listed, pooled = len(self.score_folders), list[Scores]()
        for family in siblings(self.scored):
            if all(place < n_listed for place in family):
                pooled.append(pool([self.score_folders[place] for place in family]))
                continue
            members = [self.subjects[place].with_sums() for place in family]
            pooled += [pool_scores(members)] if all(map(poolable, members)) else []
        return tuple(pooled)


@dataclass(frozen=True)
class Study:
    """The runs of one sweep, found on disk."""

    name: str
    label: str
    """The name, or the folder's name where two studies share a name."""
    folder: Path | None = None
    corpus: Path | None = None
    model: Path | None = None
    probes: tuple[Path, ...] = ()
    """Probe runs on the trained GPT, the headline first."""
    random_probes: tuple[Path, ...] = ()
    """Those on the random-weights GPT, in the same order."""
    testbeds: tuple[StudyTestbed, ...] = ()

    @property
    def content(self) -> str:
        """Hash of all that its runs hold. Raises RunError when one is not finished or has changed since."""
        testbeds = [[listed.folder, *listed.saes, *listed.score_folders] for listed in self.testbeds]
        folders = [self.folder, self.corpus, self.model, *self.probes, *self.random_probes, *chain(*testbeds)]
        held = [content_of(folder) for folder in folders if folder is not None]
        added = [added.scores.content for testbed in self.testbeds for added in testbed.added]
        return content_hash([*held, *added], 64)

    @cached_property
    def game(self) -> Game | None:
        """The game that is played; None where scores alone do not say. Raises CorpusError for a damaged corpus."""
        if self.corpus is not None:
            return Corpus.open(self.corpus).game
        scored = (scores for testbed in self.testbeds for scores in testbed.scored)
        spec = next((game for scores in scored if (game := scores.subject["testbed"].get("game"))), None)
        return None if spec is None else load_game(spec)

    @cached_property
    def legality(self) -> dict[str, Any] | None:
        """How often the GPT's moves are legal; None for a GPT from elsewhere, which has no such file."""
        return None if self.model is None else read_legality(self.model)

    @cached_property
    def probe_results(self) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
        """Results of each probe on the trained GPT and on the random-weights GPT."""
        if len(self.probes) != len(self.random_probes):
            numbers = f"{len(self.probes)} probes and {len(self.random_probes)} random_probes"
            raise RunError(f"{self.folder}/{SWEEP_FILE}: lists {numbers}, which go in pairs; {AGAIN}")
        both = zip(self.probes, self.random_probes, strict=True)
        return tuple((probe_results(trained), probe_results(random)) for trained, random in both)


def read_study(folder: str | Path) -> Study:
    """Open the folder of a finished sweep. Raises RunError naming what is missing."""
    folder = Path(folder)
    verified(folder)
    listed = read_sweep(folder)
    return Study(
        name=listed.name,
        label=listed.name,
        folder=folder,
        corpus=find_run(listed.corpus, folder),
        model=find_run(listed.model, folder),
        probes=_runs(listed.probes, folder),
        random_probes=_runs(listed.random_probes, folder),
        testbeds=tuple(_testbed(testbed, folder) for testbed in listed.testbeds),
    )


def read_studies(folders: Sequence[str | Path]) -> list[Study]:
    """Open several sweeps, each once, with distinct labels. Raises RunError when none is given."""
    distinct = list({Path(folder).resolve(): folder for folder in folders}.values())
    if not distinct:
        raise RunError("no sweep to report on; give at least one sweep folder")
    studies = [read_study(folder) for folder in distinct]
    names = [study.name for study in studies]
    return [
        study if names.count(study.name) == 1 else replace(study, label=Path(folder).resolve().name)
        for study, folder in zip(studies, distinct, strict=True)
    ]


def find_run(written: str, sweep_folder: Path) -> Path:
    """The folder that a sweep lists. Raises RunError naming it when it cannot be found, or a file of it has changed."""
    path, root = Path(written), sweep_folder.resolve().parent.parent
    for candidate in (sweep_folder / path, path, root / path, root.joinpath(*path.parts[-2:])):
        if candidate.is_dir():
            verified(candidate)
            return candidate
    raise RunError(
        f"{written}: listed in {sweep_folder / SWEEP_FILE}, but found neither there nor below {root}; {AGAIN}"
    )


def _runs(listed: Sequence[str], sweep_folder: Path) -> tuple[Path, ...]:
    return tuple(find_run(path, sweep_folder) for path in listed)


def _testbed(listed: ListedTestbed, sweep_folder: Path) -> StudyTestbed:
    scores = (*listed.scores, *listed.ceilings)
    baselines = [path for path in find_run(listed.baselines, sweep_folder).iterdir() if path.is_dir()]
    left_out = read_done(sweep_folder).left_out if is_done(sweep_folder) else ()
    return StudyTestbed(
        hook_name=listed.hook_name,
        folder=find_run(listed.testbed, sweep_folder),
        saes=_runs([path for path in listed.saes if path not in left_out], sweep_folder),
        random_saes=_runs(listed.random_saes, sweep_folder),
        score_folders=(*_runs(scores, sweep_folder), *sorted(baselines, key=_kind_order)),
        left_out=tuple(Path(path).name for path in listed.saes if path in left_out),
    )


def _kind_order(folder: Path) -> tuple[int, str]:
    return kind_order(folder.name), folder.name


def read_scores(path: Path) -> Scores:
    """The scores in a folder, or in a file of them. Raises RunError where an older version wrote them."""
    path = path / SCORES_FILE if path.is_dir() else path
    scores = Scores.from_json(path)
    check_complete(scores, str(path))
    return scores


def check_complete(scores: Scores, source: str) -> None:
    """Raise RunError for scores that lack what tables read. source: what the error begins with."""
    lacking = [f"subject: {key}" for key in ("l0", "testbed") if scores.subject.get(key) is None]
    for name, value in scores.items():
        if "by_property" in value.details:
            lacking += [f"{name}: {key}" for key in ("groups", "layout") if key not in value.details]
    if lacking:
        raise RunError(f"{source}: has no '{lacking[0]}'; an older version wrote it: score the SAE again")
