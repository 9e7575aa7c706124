"""Whatever holds scores, in any mix, as studies: what reports, tables, plots and comparisons are made of.

    a sweep's folder, a packed testbed's, the name of a shipped one      everything that it lists
    a folder of scores (`Scores.save`, `boardgame-sae score`), its file  one subject
    a folder above such folders                                          each of them
    a file that `results upload-ready` wrote                             what it lists
    FILE/NAME                                                            one subject of such a file
    TESTBED/NAME                                                         what a shipped testbed holds of one subject
    hf:owner/name                                                        any of these folders, on the Hugging Face hub
    a `Scores` object                                                    one subject

Scores stand in the study they belong to: where another source, or else a shipped testbed, is of the same games, truth
and GPT, they are placed there; the rest make studies of their own. What a file lists and another source holds too, by
what was scored and not by its name, stands there once: of each score the newest version. Where that would change what a
study lists itself, both stand there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.foreign_names import advice, closest
from boardgame_sae.metrics.baselines.registry import SAE_KIND, baselines
from boardgame_sae.metrics.results import SCORES_FILE, Scores
from boardgame_sae.model.exchange.sharing import local
from boardgame_sae.pipeline.score_file import adds_nothing, identity_of, is_score_file, merged, read_score_file
from boardgame_sae.pipeline.study_folder import (
    SWEEP_FILE,
    Scored,
    Study,
    StudyTestbed,
    check_complete,
    read_scores,
    read_studies,
    read_study,
)
from boardgame_sae.runs.integrity import check_finished, verified
from boardgame_sae.saes.exchange.library import recognise
from boardgame_sae.testbeds.shipped import (
    MANIFEST_FILE,
    SCORES,
    read_manifest,
    shipped_testbeds,
)

Source: TypeAlias = str | Path | Scores
"""Something that holds scores."""
BELOW = ("*/", "*/*/", "*/*/*/")
"""How deep below a folder scores are looked for: those of baselines are in data/runs/scores/RUN/KIND."""
NAMED = (
    "a sweep, a packed testbed, a folder or file of scores, a shipped name (TESTBED or TESTBED/SAE) or a Scores object"
)


def read_sources(sources: Iterable[Source | Iterable[Source]]) -> list[Study]:
    """Everything that some sources hold, as studies with distinct labels; what is named twice counts once.

    sources may hold lists of sources. Raises RunError when there is none, and naming what holds no scores or is
    damaged; ValueError for an object that is no source.
    """
    folders, loose = list[Path](), list[Scored]()
    for source in _flat(sources):
        found = _find(source)
        folders += [found] if isinstance(found, Path) else []
        loose += [] if isinstance(found, Path) else found
    if not folders and not loose:
        raise RunError(f"nothing to show; give at least one of these: {NAMED}")
    studies = read_studies(folders) if folders else []
    known = {path.resolve() for study in studies for testbed in study.testbeds for path in testbed.score_folders}
    filed = merged(scored for scored in loose if scored.study is not None)
    for scored in sorted(_once(loose, known), key=_saes_first):
        _place(scored, studies)
    held = _held(studies) if filed else {}
    for scored in filed:
        if not any(adds_nothing(scored.scores, known) for known in held.get(identity_of(scored.scores.subject), ())):
            _place(scored, studies)
    return studies


def _saes_first(scored: Scored) -> bool:
    return scored.scores.subject["kind"] != SAE_KIND


def _held(studies: Iterable[Study]) -> dict[str, list[Scores]]:
    """All scores of some studies, by what was scored."""
    held: dict[str, list[Scores]] = {}
    for scores in (scores for study in studies for testbed in study.testbeds for scores in testbed.scored):
        held.setdefault(identity_of(scores.subject), []).append(scores)
    return held


def find_scored(source: Source | Iterable[Source]) -> list[Scored]:
    """The subjects of sources that each name one or several, but not everything of a testbed or a sweep.

    Raises as `read_sources` does, and ConfigError for a whole testbed or sweep.
    """
    subjects = list[Scored]()
    for one in _flat([source]):
        found = _find(one)
        if isinstance(found, Path):
            testbeds, shipped = read_study(found).testbeds, str(one) in shipped_testbeds()
            names = [f"{one}/{path.name}" for testbed in testbeds for path in testbed.saes] if shipped else []
            names += [str(path) for testbed in testbeds for path in testbed.score_folders]
            n_saes = sum(len(testbed.saes) for testbed in testbeds)
            raise ConfigError(f"{one}: holds {n_saes} SAEs; name one of them, such as {(names or ['none'])[0]}")
        if len(found) > 1 and found[0].study is not None:
            first = min(found, key=_saes_first).scores.subject["name"]
            raise ConfigError(f"{one}: holds {len(found)} subjects; name one of them, such as {one}/{first}")
        subjects += found
    return subjects


def _flat(sources: Iterable[Any]) -> Iterator[Source]:
    for source in sources:
        if isinstance(source, str | Path | Scores):
            yield source
        elif isinstance(source, Iterable) and not isinstance(source, Mapping | bytes):
            yield from _flat(source)
        else:
            first = "score it first, `bgs.evaluate(sae, testbed)`, or " if hasattr(source, "encode") else ""
            raise ValueError(f"{type(source).__name__}: holds no scores that can be read; {first}give {NAMED}")


def _find(source: Source) -> Path | list[Scored]:
    """The folder of a sweep or packed testbed, or the subjects that a source holds."""
    if isinstance(source, Scores):
        check_complete(source, f"scores of {source.subject.get('name', 'a subject')}")
        return [Scored(source, None, own=True)]
    path, known = local(source), shipped_testbeds()
    if str(source) in known and not (path / MANIFEST_FILE).exists():
        return known[str(source)]
    if (path / SWEEP_FILE).exists():
        return path
    if is_score_file(path):
        return merged(read_score_file(path))
    if is_score_file(path.parent):
        return [_in_file(path.parent, path.name)]
    if path.is_file() and not _begins_as_json(path):
        raise RunError(f"{path}: no file of scores, which `to_json` and `results upload-ready` write; give {NAMED}")
    if path.is_file() or (path / SCORES_FILE).exists():
        return [_scored(path)]
    if inside := sorted(found.parent for below in BELOW for found in path.glob(below + SCORES_FILE)):
        return [_scored(folder) for folder in inside]
    testbed, _, name = str(source).partition("/")
    if testbed in known and (folder := _shipped_scores(known[testbed], name)) is not None:
        return [Scored(read_scores(folder), folder)]
    raise RunError(f"{source}: {_why_not(path, testbed, name)}")


def _begins_as_json(path: Path) -> bool:
    """Whether the first signs of a file are those of JSON fields, in UTF-8 or UTF-16."""
    with open(path, "rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0").startswith(b"{")


def _scored(path: Path) -> Scored:
    """What a folder or file of scores holds; it is the user's own unless it lies in a shipped testbed.

    Raises RunError for a run that is not finished.
    """
    check_finished(path)
    shipped = any(path.resolve().is_relative_to(folder.resolve()) for folder in shipped_testbeds().values())
    return Scored(read_scores(path), path, own=not shipped)


def _in_file(path: Path, name: str) -> Scored:
    """The subject of a name in a file of scores. Raises RunError where there is none, or more than one."""
    listed = merged(read_score_file(path))
    found = [scored for scored in listed if scored.scores.subject["name"] == name]
    if len(found) > 1:
        raise RunError(f"{path}: holds {len(found)} subjects called '{name}', of several testbeds or SAEs")
    if not found:
        held = ", ".join(scored.scores.subject["name"] for scored in listed)
        raise RunError(f"{path}: holds no scores of '{name}'; it has {held}")
    return found[0]


def _shipped_scores(testbed: Path, name: str) -> Path | None:
    places = (testbed / SCORES / name, testbed / SCORES / "baselines" / name)
    return next((place for place in places if name and (place / SCORES_FILE).is_file()), None)


def _why_not(path: Path, testbed: str, name: str) -> str:
    """Why a path or name is no source, and what to give in its place. Raises RunError for a run that is damaged."""
    known = shipped_testbeds()
    if path.is_dir():
        verified(path)  # raises, naming it, where a finished run has lost a file
        if _is_sae(path):
            return f"an SAE that was not scored; run `boardgame-sae score {path} --testbed ...` first"
        held = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        return f"holds neither a finished sweep ({SWEEP_FILE}) nor scores ({SCORES_FILE}), but {held}"
    if testbed in known and name:
        names = [found.parent.name for found in (known[testbed] / SCORES).rglob(SCORES_FILE)]
        near = closest(name, names)
        fix = f"did you mean '{testbed}/{near}'?" if near else f"it has {', '.join(sorted(names))}"
        return f"no such folder, and the testbed {testbed} holds no scores of '{name}'; {fix}"
    return f"no such folder or file, and nothing that ships; {advice(testbed, known, 'these ship here:')}"


def _is_sae(path: Path) -> bool:
    try:
        return bool(recognise(path))
    except RunError:
        return False


def _once(loose: Sequence[Scored], known: set[Path]) -> Iterator[Scored]:
    """Those of no file that no study lists, each once, also where it is given as an object and as what was saved of it.

    A folder goes before an object and a file of JSON, as it has sums for intervals.
    """
    once = dict[str, Scored]()
    for scored in (scored for scored in loose if scored.study is None):
        if scored.folder is not None and scored.folder.resolve() in known:
            continue
        key = scored.scores.content
        first = once.setdefault(key, scored)
        if scored.folder is not None and scored.folder.is_dir() and (first.folder is None or first.folder.is_file()):
            once[key] = scored
    yield from once.values()


def _place(scored: Scored, studies: list[Study]) -> None:
    """Put one subject into the study that it belongs to, or into a new one, under a name that is not taken."""
    about = scored.scores.subject["testbed"]
    strict = not _has_variant(scored.scores.subject["kind"])
    for number, study in enumerate(studies):
        same = [testbed for testbed in study.testbeds if _truth(testbed, strict) == truth_of(about, strict)]
        if same:
            studies[number] = _with(study, scored, same)
            return
    label = _label(scored, studies)
    shipped = shipped_testbeds().get(label)
    study = replace(read_study(shipped), testbeds=()) if shipped is not None else Study(name=label, label=label)
    folder = shipped if shipped is not None and read_manifest(shipped).hook_name == about["hook_name"] else None
    studies.append(replace(study, testbeds=(StudyTestbed(about["hook_name"], folder, (), (), (), (scored,)),)))


def _with(study: Study, scored: Scored, same: Sequence[StudyTestbed]) -> Study:
    """A study with one subject more: at its hook point; a baseline, which may read another, at the first."""
    hook_name, is_sae = scored.scores.subject["testbed"]["hook_name"], scored.scores.subject["kind"] == SAE_KIND
    here = next((testbed for testbed in same if testbed.hook_name == hook_name), None if is_sae else same[0])
    if here is None:
        here = StudyTestbed(hook_name, None, (), (), ())
        study = replace(study, testbeds=(*study.testbeds, here))
    more = replace(here, added=(*here.added, _renamed(scored, [scores.subject["name"] for scores in here.scored])))
    return replace(study, testbeds=tuple(more if testbed is here else testbed for testbed in study.testbeds))


def _renamed(scored: Scored, taken: Sequence[str]) -> Scored:
    """A subject under a name of its own: `topk-16 (2)`."""
    name = free = scored.scores.subject["name"]
    for number in range(2, len(taken) + 2):
        free = free if free not in taken else f"{name} ({number})"
    return scored if free == name else scored._replace(scores=scored.scores.called(free))


def _truth(testbed: StudyTestbed, strict: bool) -> Any:
    """What tells a testbed's truth from another's, by what its first subject says; None without subjects."""
    first = next((scores.subject for scores in testbed.scored if not _has_variant(scores.subject["kind"])), None)
    return None if first is None else truth_of(first["testbed"], strict)


def truth_of(about: Mapping[str, Any], strict: bool = True) -> list[Any]:
    """Which games and truth scores are of, and, if `strict`, of which GPT: by content where it is known."""
    content = about.get("content", {})
    parts = [content.get(part, about.get(part)) for part in (("corpus", "model") if strict else ("corpus",))]
    return [*parts, about["n_games"], about["positions"], list(about["properties"])]


def _has_variant(kind: str) -> bool:
    """Whether subjects of a kind are scored on another GPT than the testbed's."""
    return kind in baselines() and baselines()[kind].variant is not None


def _label(scored: Scored, studies: Sequence[Study]) -> str:
    """What the study of scores that belong to no other is called.

    It is the shipped testbed that they are of, else what the file that they come from says, else their game.
    """
    about, taken = scored.scores.subject["testbed"], {study.label for study in studies}
    for name, folder in shipped_testbeds().items():
        if name not in taken and read_manifest(folder).content == about.get("content"):
            return name
    label = scored.study or about.get("game", "scores")
    if scored.study is None or label in shipped_testbeds():  # a shipped one's name, but of another content
        label = f"{label} ({str(about['corpus'])[:8]})"
    return label if label not in taken else f"{label}, {len(taken)}"
