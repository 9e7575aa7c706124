"""`evaluate`: every score of a suite, of one SAE on one testbed."""

import time
from pathlib import Path
from typing import Any

from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.metrics.results import Scores, ScoreValue
from boardgame_sae.metrics.score import NEEDS, SUITES, scores
from boardgame_sae.metrics.subject import MAX_BYTES, Subject
from boardgame_sae.resampling import LEVEL, N_RESAMPLES, SEED
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS


def evaluate(
    sae: Any,
    testbed: Testbed,
    suite: str = "supervised",
    *,
    name: str | None = None,
    kind: str = "sae",
    facts: dict[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Scores:
    """Score an SAE on a testbed.

    sae: an SAE or transcoder of ours, SAELens or dictionary_learning, or its folder; any object with `encode` (and
        `decode` and `W_dec`, where it has them); or latents, (positions, n_latents); see `encoder.as_encoder`.
    suite: quick, supervised, saebench, causal or all.
    name, kind, facts: what tables call it, what it is, and plain data to keep with its scores.
    max_bytes: what its latents and the counts of them may take in memory, whatever the number of positions, latents
        and properties. Latents beyond half of it lie in temporary files; counts beyond a quarter are made for a few
        latents at a time. Not counted: the model, the activations and labels that the testbed keeps
        (`testbed.KEPT_BYTES`), and one batch of activations and latents.
    What cannot be scored is left out; `subject["skipped"]` says why.
    Raises ValueError for another suite, and where widths, hook points or shapes do not fit.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite '{suite}'; the suites are {', '.join(SUITES)}")
    keep_freed_memory()
    subject = Subject(name or _name(sae), kind, sae, testbed, facts or {}, full=suite != "quick", max_bytes=max_bytes)
    values, seconds, skipped = dict[str, ScoreValue](), dict[str, float](), dict[str, str]()
    for each in scores().values():
        if suite not in ("all", *each.suites):
            continue
        lacking = [reason for has, reason in (NEEDS[need] for need in each.needs) if not has(subject)]
        if lacking:
            skipped[each.name] = lacking[0]
            continue
        began = time.perf_counter()
        values[each.name] = each.function(subject)
        seconds[each.name] = time.perf_counter() - began
    splits = {split: len(testbed.positions(split)) for split in SPLITS}
    about = {"name": subject.name, "kind": kind, "suite": suite, "testbed": testbed.identity, "positions": splits}
    about |= {"chosen_on": ["train", "validation"], "reported_on": "test", "l0": subject.l0, "skipped": skipped}
    about["interval"] = {"over": "games", "level": LEVEL, "n_resamples": N_RESAMPLES, "seed": SEED}
    found = Scores({**about, **subject.facts}, values, seconds)
    found.latents = subject.kept.get("latents")
    return found


def _name(sae: Any) -> str:
    return Path(sae).name if isinstance(sae, str | Path) else type(sae).__name__
