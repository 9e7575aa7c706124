"""`evaluate`: every score of a suite, of one SAE on one testbed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boardgame_sae.config import checked_name
from boardgame_sae.intervals import LEVEL, N_RESAMPLES, SEED
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.results import Scores, ScoreValue
from boardgame_sae.metrics.score import NEEDS, Score, UnscorableError, scores, scores_in
from boardgame_sae.metrics.subject import MAX_BYTES, Subject
from boardgame_sae.model.exchange.hub import called
from boardgame_sae.runs import progress, warn
from boardgame_sae.saes.facts import sae_facts
from boardgame_sae.saes.load import load_sae, sae_folder
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.on_testbed import calibrated_on
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS


def evaluate(
    sae: Any,
    testbed: AnyTestbed,
    suite: Suite = "supervised",
    *,
    name: str | None = None,
    kind: str = SAE_KIND,
    facts: dict[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
    known: Scores | None = None,
    after_each: Callable[[Scores], None] | None = None,
    calibrate: bool = False,
) -> Scores:
    """Score an SAE on a testbed.

    sae: an SAE or transcoder of ours, SAELens or dictionary_learning, or its folder; any object with `encode` (and
        `decode` and `W_dec`, where it has them); or latents, (positions, n_latents); see
        `latent_source.as_latent_source`.
    testbed: itself, its folder, or the name of one that ships.
    suite: quick, supervised, saebench, causal or all.
    name, kind, facts: what tables call it, what it is, and plain data to keep with its scores.
    max_bytes: memory that its latents and their counts may take, whatever the number of positions, latents and
        properties. Latents beyond half of it lie in temporary files; counts beyond a quarter are made for a few latents
        at a time. Not counted: the model, the activations and labels that the testbed keeps
        (`testbed.KEPT_BYTES`), and one batch of activations and latents.
    known: scores of the same SAE on the same testbed; those that are still valid are not computed again, and those of
        other suites are kept beside the new ones.
    after_each: called with all scores so far, each time one more is computed.
    calibrate: set the threshold of a batch-wise SAE (ours, or any in a folder) that was never set, on the testbed's
        train games; `subject["calibration"]` says so. Without it such an SAE is an error.
    What cannot be scored is left out; `subject["skipped"]` says why.
    Raises ValueError for another suite, for a name with a separator of paths or a control character, and where widths,
    hook points or shapes do not fit.
    """
    wanted = scores_in(suite)
    if name is not None:
        checked_name(name)
    testbed = as_testbed(testbed)
    keep_freed_memory()
    name, given = name or _name(sae), sae
    if isinstance(sae, str | Path):
        sae = load_sae(sae, uncalibrated=calibrate)
    if calibrate:
        sae = _calibrated(sae, testbed)
    if few := testbed.few_classes:
        warn(few)
    facts = {**_facts(sae, given), **_calibration(sae), **(facts or {})}
    subject = Subject(name, kind, sae, testbed, facts, max_bytes=max_bytes)
    lacking = {score.name: reason for score in wanted.values() if (reason := _lacking(score, subject))}
    skipped = known.subject.get("skipped", {}) if known else {}
    about = about_subject(subject, {name: why for name, why in skipped.items() if name not in wanted} | lacking)
    values, seconds = still_valid(known), dict[str, float]()

    def so_far() -> Scores:
        return Scores(about, in_order(values), seconds, known.latents if known else None)

    def known_already(score: Score) -> bool:
        return score.name in values and score.satisfied_by(values[score.name], suite)

    to_compute = [score for score in wanted.values() if score.name not in lacking and not known_already(score)]
    with progress(len(to_compute), name, "scores", leave=False) as bar:
        for score in to_compute:
            bar.set_postfix_str(score.title)
            began = time.perf_counter()
            try:
                values[score.name] = score.compute(subject, suite)
            except UnscorableError as error:
                values.pop(score.name, None)
                about["skipped"][score.name] = str(error)
                continue
            finally:
                bar.update(1)
            seconds[score.name] = time.perf_counter() - began
            if after_each is not None:
                after_each(so_far())
    return so_far()


def still_valid(known: Scores | None) -> dict[str, ScoreValue]:
    """Those of some scores whose registered version is still the one they were computed by."""
    registered = scores()
    return {
        name: value
        for name, value in (known or {}).items()
        if name in registered and value.version == registered[name].version
    }


def missing(known: Scores | None, suite: str) -> list[str]:
    """Names of the scores of a suite that `known` lacks, or holds by another version or a smaller config.

    Raises ValueError for an unknown suite.
    """
    values, skipped = still_valid(known), known.subject.get("skipped", {}) if known else {}
    return [
        name
        for name, score in scores_in(suite).items()
        if name not in skipped and not (name in values and score.satisfied_by(values[name], suite))
    ]


def in_order(values: dict[str, ScoreValue]) -> dict[str, ScoreValue]:
    """Scores in the order of the registry."""
    return {name: values[name] for name in scores() if name in values}


def _lacking(score: Score, subject: Subject) -> str | None:
    """The first need of a score that a subject does not meet, in words; None if it meets all."""
    return next((NEEDS[need].lacking for need in score.needs if not NEEDS[need].has(subject)), None)


def about_subject(subject: Subject, skipped: dict[str, str]) -> dict[str, Any]:
    """What is kept about a subject beside its scores, as plain data."""
    testbed = subject.testbed
    return {
        "name": subject.name,
        "kind": subject.kind,
        "testbed": {**testbed.identity, "game": testbed.corpus.game.spec, "content": testbed.made_of},
        "positions": {split: len(testbed.positions(split)) for split in SPLITS},
        "classes": {name: list(counts) for name, counts in testbed.n_classes.items()},
        "chosen_on": ["train", "validation"],
        "reported_on": "test",
        "l0": subject.l0,
        "n_latents": subject.latents("test")[0].n_latents,
        "skipped": skipped,
        **({"two_sided": True} if subject.source.two_sided else {}),
        "interval": {"over": "games", "level": LEVEL, "n_resamples": N_RESAMPLES, "seed": SEED},
        **subject.facts,
    }


def _calibrated(sae: Any, testbed: Testbed) -> Any:
    """An SAE of ours with a threshold; anything else as it is."""
    return calibrated_on(testbed, sae) if isinstance(sae, SAE) else sae


def _facts(sae: Any, given: Any) -> dict[str, Any]:
    """What is kept of an SAE of ours, and of the folder that was given in its place; nothing of any other object."""
    if not isinstance(sae, SAE):
        return {}
    return sae_facts(sae, called(sae_folder(given)) if isinstance(given, str | Path) else None)


def _calibration(sae: Any) -> dict[str, Any]:
    """What is kept of how the threshold of an SAE of ours was set on a testbed, if it was."""
    told = sae.metadata.get("calibration") if isinstance(sae, SAE) else None
    return {"calibration": told} if told else {}


def _name(sae: Any) -> str:
    return called(Path(sae)) if isinstance(sae, str | Path) else type(sae).__name__
