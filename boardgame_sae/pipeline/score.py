"""Score SAEs, and everything they are compared with, into run folders.

Each folder holds what `Scores.save` writes, and

    <score>/*_eval_results.json  a score in SAEBench's own fields, of those that SAEBench has
    timings.jsonl                how long each score took

A folder belongs to what a subject and a testbed hold, however they were made, and not to a suite: scores of a suite
that it lacks, or holds by an older version, are computed and added, and a run that was killed resumes after the last
score that was finished.
"""

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.baselines.registry import (
    SAE_KIND,
    Baseline,
    Made,
    NoTwinError,
    baselines,
    find_baseline,
    kind_of,
    twin_baselines,
)
from boardgame_sae.metrics.evaluate import evaluate, missing, still_valid
from boardgame_sae.metrics.results import SCORES_FILE, Scores
from boardgame_sae.metrics.saebench.result_file import write_result_files
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.model.exchange.hub import called
from boardgame_sae.probes.fit import ProbeConfig, load_probe
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.integrity import check_finished, is_done
from boardgame_sae.saes.facts import sae_facts
from boardgame_sae.saes.load import load_sae, sae_folder
from boardgame_sae.saes.training.on_testbed import calibrated_on, check_reads
from boardgame_sae.streams import Patient
from boardgame_sae.testbeds.probing import fit_missing_probes
from boardgame_sae.testbeds.shipped import SCORES
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

FORMAT = 4
"""Increased whenever the content of a folder of scores changes, so that older folders are not reused."""


@dataclass(frozen=True)
class ScoreFolders:
    """Where the scores of some SAEs are, and of everything beside them."""

    saes: tuple[Path, ...]
    twins: tuple[Path, ...]
    """Folders of the SAEs' twins."""
    ceilings: tuple[Path, ...]
    """Folders of the baselines that are made for a sparsity."""
    baselines: tuple[Path, ...]
    """Folders of the other baselines."""

    @property
    def all(self) -> tuple[Path, ...]:
        """The SAEs' folders first, then the others in the order of tables."""
        return (*self.saes, *self.twins, *self.ceilings, *self.baselines)


def score_with_baselines(
    saes: Sequence[str | Path],
    testbed_folder: Path,
    *,
    twins: Sequence[str | Path] | None = None,
    twin_kinds: Sequence[str] | None = None,
    suite: Suite = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
    exact: bool = True,
    calibrate: bool = False,
) -> ScoreFolders:
    """Score SAEs and every baseline on a testbed; finished scores are reused.

    twins: SAEs trained on a variant of the testbed, such as its random-weights GPT. None: the scores of twins that a
    packed testbed ships stand for them, also where they lack some of the suite; else a twin of each SAE is trained.
    twin_kinds: kinds of twins to train for each SAE, beside `twins` and what ships: `frozen_decoder`, ... None: those
    of the kinds trained by default, and only where neither twins are given nor baselines ship.
    probes: how probes that the testbed lacks are fitted. exact: see `score_ceilings`. calibrate: see `score_saes`.
    Raises ValueError for an unknown suite or one without scores and for an unknown kind of twin, RunError for an SAE or
    testbed that cannot be read.
    """
    scores_in(suite)  # raises before anything is trained
    wanted = twin_baselines(twin_kinds)
    saes = [sae_folder(sae) for sae in saes]
    testbed = load_testbed(testbed_folder, device)
    how: dict[str, Any] = {"suite": suite, "probes": probes, "device": device, "opened": testbed}
    for sae in saes:
        check_reads(load_sae(sae, uncalibrated=calibrate), testbed, str(sae))
    shipped = packed_scores(testbed_folder) if twins is None else []
    if any(set(still_valid(known)) != set(known) for known in map(Scores.load, shipped)):
        shipped = []  # of an older version, which no new number can be compared with
    if twin_kinds is None and (shipped or twins is not None):
        wanted = []
    twins = [*(twins or ()), *trained_twins(saes, wanted, testbed, device)]
    scored = score_saes([*saes, *twins], testbed_folder, **how, calibrate=calibrate)
    beside = _baselines_of_testbed(shipped, testbed_folder, how)
    ceilings = score_ceilings(scored[: len(saes)], testbed_folder, **how, exact=exact)
    return ScoreFolders(tuple(scored[: len(saes)]), tuple(scored[len(saes) :]), tuple(ceilings), tuple(beside))


def _baselines_of_testbed(shipped: Sequence[Path], testbed_folder: Path, how: Mapping[str, Any]) -> list[Path]:
    """The scores that a testbed ships; those that need no SAE are computed again where they lack some of the suite."""
    kinds = {folder: find_baseline(Scores.load(folder).subject["kind"]) for folder in shipped}
    twins = [folder for folder, baseline in kinds.items() if baseline.of_sae is not None]
    others = [folder for folder in shipped if folder not in twins]
    if not others or any(missing(Scores.load(folder), how["suite"]) for folder in others):
        others = baseline_folders(score_baselines(testbed_folder, **how))
    return [*others, *twins]


def trained_twins(saes: Sequence[Path], wanted: Sequence[Baseline], testbed: Testbed, device: str) -> list[Path]:
    """The folders of the twins of some kinds of each SAE, trained or reused; those that an SAE cannot have are told."""
    folders = list[Path]()
    for sae, baseline in itertools.product(saes, wanted):
        assert baseline.of_sae is not None
        try:
            folders.append(baseline.of_sae(sae, testbed, device))
        except NoTwinError as error:
            Patient(sys.stderr).write(f"{sae.name}: {baseline.kind} is skipped: {error}\n")
    return list(dict.fromkeys(folders))


def score_saes(
    sae_folders: Sequence[str | Path],
    testbed_folder: str | Path,
    *,
    suite: Suite = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
    opened: Testbed | None = None,
    calibrate: bool = False,
) -> list[Path]:
    """Score SAEs, each into a run folder; finished scores are reused.

    calibrate: set thresholds that were never set, on the testbed's train games; without it they are an error.
    opened: the testbed, where it is open already, here and below.
    probes: how probes that the testbed lacks, whose directions decoders are compared with, are fitted (see
    `score_baselines`).
    A twin, such as an SAE of the random-weights GPT, is scored where it was trained, on the same games and truth.
    Raises ValueError for an unknown suite or one without scores, RunError for an SAE or testbed that cannot be read.
    """
    scores_in(suite)  # raises before anything is fitted
    testbed = opened or load_testbed(testbed_folder, device)
    fitted, variants = _fit_probes(testbed, probes), dict[str, Testbed]()
    folders = []
    with progress(len(sae_folders), "score SAEs", "SAEs") as bar:
        for folder in map(sae_folder, sae_folders):
            one = _to_score(folder, testbed, fitted, variants, calibrate)
            with one.run() as run:
                _score(run, run.folder, suite, one.kind, lambda one=one: one.made)
            folders.append(run.folder)
            bar.update(1)
    return folders


class ToScore(NamedTuple):
    """An SAE that is to be scored, and what its folder of scores is known by."""

    made: Made
    kind: str
    inputs: dict[str, str]

    def run(self) -> Run:
        """The run of its scores, to be closed."""
        return Run("scores", self.made.name, {"format": FORMAT}, self.inputs)


def sae_to_score(
    sae: str | Path, testbed_folder: str | Path, *, device: str = "auto", calibrate: bool = False
) -> ToScore:
    """One SAE as `score_saes` scores it, into the same folder. Raises RunError as that does."""
    testbed = load_testbed(testbed_folder, device)
    return _to_score(sae_folder(sae), testbed, _fit_probes(testbed, None), {}, calibrate)


def _to_score(
    folder: Path, testbed: Testbed, fitted: dict[str, str], variants: dict[str, Testbed], calibrate: bool
) -> ToScore:
    """fitted: hashes of the testbed's probes. variants: testbeds of twins, by kind, made when first needed."""
    check_finished(folder)
    sae = load_sae(folder, uncalibrated=calibrate)
    kind, name, here, with_probes = kind_of(sae), called(folder), testbed, fitted
    if kind != SAE_KIND:
        variant = find_baseline(kind).variant
        assert variant is not None
        here = variants[kind] if kind in variants else variants.setdefault(kind, variant(testbed))
        name, with_probes = f"{name}-{twin_suffix(kind)}", fitted if here is testbed else {}
    facts = sae_facts(sae, called(folder))
    inputs = {"sae": facts["content"], "testbed": here.content, **with_probes}
    return ToScore(Made(name, calibrated_on(here, sae), here, facts), kind, inputs)


def score_baselines(
    testbed_folder: str | Path,
    *,
    suite: Suite = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
    opened: Testbed | None = None,
) -> Path:
    """Score every baseline that needs only a testbed into one run folder, in a subfolder for each kind.

    The probes, one for each property of the testbed that has a supported class, are fitted first (or reused), with the
    settings of `probes` (default: those of `ProbeConfig`) except for the property, hook points and positions.
    Raises ValueError for an unknown suite or one without scores, RunError for a testbed that cannot be read.
    """
    scores_in(suite)
    testbed = opened or load_testbed(testbed_folder, device)
    fitted = _fit_probes(testbed, probes)
    of_testbed = {
        kind: baseline.of_testbed for kind, baseline in baselines().items() if baseline.of_testbed is not None
    }
    with Run("scores", "baselines", {"format": FORMAT}, {"testbed": testbed.content, **fitted}) as run:
        for kind, make in of_testbed.items():
            _score(run, run / kind, suite, kind, lambda make=make: make(testbed), finish=False)
        if not run.done:
            run.finish()
        return run.folder


def score_ceilings(
    score_folders: Sequence[str | Path],
    testbed_folder: str | Path,
    *,
    suite: Suite = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
    opened: Testbed | None = None,
    exact: bool = True,
) -> list[Path]:
    """Score baselines that are as sparse as some scored SAEs, one run folder for each L0, rounded to a whole number.

    exact: False rounds L0 to the nearest power of the square root of two (1, 2, 3, 4, 6, 8, 11, ...), so that many SAEs
    need few baselines. Where a finished packed testbed holds the scores already, their folder is returned.
    Raises ValueError for an unknown suite or one without scores, RunError for scores or a testbed that cannot be read.
    """
    scores_in(suite)
    testbed = opened or load_testbed(testbed_folder, device)
    fitted = _fit_probes(testbed, probes)
    l0s = [max(1.0, Scores.from_json(Path(folder) / SCORES_FILE).subject["l0"]) for folder in score_folders]
    of_sparsity = {
        kind: baseline.of_sparsity for kind, baseline in baselines().items() if baseline.of_sparsity is not None
    }
    folders = []
    for k in sorted({round(l0 if exact else 2 ** (round(2 * math.log2(l0)) / 2)) for l0 in l0s}):
        for kind, make in of_sparsity.items():
            name = ceiling_name(kind, k)
            packed = Path(testbed_folder) / SCORES / name
            if is_done(testbed_folder) and packed.exists() and not missing(Scores.load(packed), suite):
                folders.append(packed)
                continue
            with Run("scores", name, {"format": FORMAT, "k": k}, {"testbed": testbed.content, **fitted}) as run:
                _score(run, run.folder, suite, kind, lambda make=make, k=k: make(testbed, k))
                folders.append(run.folder)
    return folders


def twin_suffix(kind: str) -> str:
    """What the names of a kind of twins end with: `random-gpt`."""
    return kind.removesuffix("_sae").replace("_", "-")


def ceiling_name(kind: str, k: int) -> str:
    """The name of the scores of a baseline made for a sparsity: `probe-16`."""
    return f"{kind.removeprefix('sparse_')}-{k}"


def baseline_folders(folder: Path) -> list[Path]:
    """The folders of the baselines that `score_baselines` scored, in the order of tables."""
    return [folder / kind for kind in baselines() if (folder / kind / SCORES_FILE).exists()]


def packed_scores(testbed_folder: Path) -> list[Path]:
    """Folders of the baseline scores that a finished packed testbed holds; none for other testbeds.

    Those made for a sparsity are left out: which of them are needed depends on what is scored.
    """
    if not is_done(testbed_folder):
        return []
    inside = testbed_folder / SCORES
    paths = sorted([*inside.glob(f"*/{SCORES_FILE}"), *(inside / "baselines").glob(f"*/{SCORES_FILE}")])
    subjects = {path.parent: Scores.from_json(path).subject for path in paths}
    return [folder for folder, about in subjects.items() if about["kind"] != SAE_KIND and "k" not in about]


def _score(run: Run, folder: Path, suite: Suite, kind: str, make: Callable[[], Made], *, finish: bool = True) -> None:
    """Compute the scores of a suite that a folder of a run lacks. make: gives the subject, if one has to be scored."""
    known = known_scores(folder)
    if known is not None and not missing(known, suite) and (run.done or not finish):
        return
    run.reopen()
    known, made = known_scores(folder), make()  # another process may have added some while this one waited

    def keep(scores: Scores) -> None:
        save_scores(scores, folder)
        name, seconds = list(scores.seconds.items())[-1]
        run.log_time(name if finish else f"{kind} {name}", seconds)

    scores = evaluate(
        made.latents,
        made.testbed,
        suite,
        name=made.name,
        kind=kind,
        facts=made.facts,
        known=known,
        after_each=keep,
    )
    save_scores(scores, folder)
    for name, reason in scores.subject["skipped"].items() if kind == SAE_KIND else ():
        Patient(sys.stderr).write(f"{made.name}: {name} is skipped: {reason}\n")
    if finish:
        run.finish(**{name: value.value for name, value in scores.items()})


def known_scores(folder: Path) -> Scores | None:
    """What a folder of scores holds; None of one that is new."""
    return Scores.load(folder) if (folder / SCORES_FILE).exists() else None


def save_scores(scores: Scores, folder: Path) -> None:
    """Write the files that this module describes; `Scores.save` comes last, so its files are there only if all are."""
    write_result_files(scores, folder)
    scores.save(folder)


def _fit_probes(testbed: Testbed, probes: ProbeConfig | None) -> dict[str, str]:
    """Fit (or reuse) the probes that a testbed lacks and add them to it; returns the hashes of all its probes."""
    for name, folder in fit_missing_probes(testbed, probes or ProbeConfig()):
        testbed.probes[name] = load_probe(folder, testbed.hook_name)
    return {f"probe {name}": probe.hash for name, probe in sorted(testbed.probes.items())}
