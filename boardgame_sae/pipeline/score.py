"""Score an SAE, or a testbed's baselines, into a run folder.

scores.json                  every score: value, interval, parts, details
<score>.counts.safetensors   what its intervals were resampled from: counts of every test game
latents.parquet              what each latent is a classifier of
core_eval_results.json       the core evaluation in SAEBench's own fields
timings.jsonl                how long each took
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from boardgame_sae.config import content_hash, from_mapping, to_mapping
from boardgame_sae.files import read_json, write_json
from boardgame_sae.metrics.baselines.readouts import baselines, sparse_probe
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import SCORES_FILE, Scores
from boardgame_sae.probes.data import KEPT_BYTES, Reading
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.runs import Run, content_of, is_done, progress
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.shipped import SCORES, find_sae
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

CORE_FILE = "core_eval_results.json"
FORMAT = 2
"""Raised whenever scores come to mean or to hold something else, so that older ones are not taken for them."""


def score_saes(
    sae_folders: Sequence[str | Path],
    testbed_folder: str | Path,
    *,
    suite: str = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
) -> list[Path]:
    """Score SAEs, each into a run folder; finished ones are reused.

    probes: how the probes are fitted whose directions the decoders are compared with (see `score_baselines`).
    An SAE trained on the random-weights GPT is scored there, on the same games and truth.
    """
    testbed = load_testbed(testbed_folder, device)
    fitted = _fit_probes(testbed, probes)
    twin: Testbed | None = None
    folders = []
    bar = progress(len(sae_folders), "score SAEs", "SAEs")
    for sae_folder in map(find_sae, sae_folders):
        sae = load_sae(sae_folder)
        random = bool(sae.metadata.get("random_weights"))
        if random and twin is None:
            twin = testbed.random_twin()
        bed = twin if random and twin is not None else testbed
        folders.append(_score_sae(sae, sae_folder, bed, suite, random, {} if random else fitted))
        bar.update(1)
    bar.close()
    return folders


def _score_sae(sae: SAE, folder: Path, testbed: Testbed, suite: str, random: bool, fitted: dict[str, str]) -> Path:
    name = folder.name + ("-random-gpt" if random else "")
    inputs = {"sae": content_of(folder), "testbed": testbed.hash, **fitted}
    with Run("scores", name, {"suite": suite, "format": FORMAT}, inputs) as run:
        if not run.done:
            config = {**sae.trained_as, "sae_folder": folder.name}
            kind = "random_gpt_sae" if random else "sae"
            _write(run, evaluate(sae, testbed, suite, name=name, kind=kind, facts={"sae": config}))
        return run.folder


def score_baselines(
    testbed_folder: str | Path,
    *,
    suite: str = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
) -> Path:
    """Score linear probes, MLP neurons and residual channels of a testbed into one run folder.

    The probes, one for each property of the testbed that has a supported class, are fitted first (or reused), as
    `probes` says (default: as `ProbeConfig` does), but for the property, hook points and positions.
    """
    testbed = load_testbed(testbed_folder, device)
    fitted = _fit_probes(testbed, probes)
    with Run("scores", "baselines", {"suite": suite, "format": FORMAT}, {"testbed": testbed.hash, **fitted}) as run:
        if not run.done:
            for scores in baselines(testbed, suite):
                kind = scores.subject["kind"]
                scores.save(run / kind)
                for name, seconds in scores.seconds.items():
                    run.log_time(f"{kind} {name}", seconds)
            run.finish()
        return run.folder


def score_ceilings(
    score_folders: Sequence[str | Path],
    testbed_folder: str | Path,
    *,
    suite: str = "supervised",
    probes: ProbeConfig | None = None,
    device: str = "auto",
    exact: bool = True,
) -> list[Path]:
    """Score linear probes as sparse as some scored SAEs, each L0 (to the nearest whole number) into a run folder.

    exact: else to the nearest power of the root of two (1, 2, 3, 4, 6, 8, 11, ...), so that many SAEs need few of them.
    Where a finished packed testbed holds the scores already, their folder is given.
    """
    testbed = load_testbed(testbed_folder, device)
    fitted = _fit_probes(testbed, probes)
    found = [Scores.from_json(Path(folder) / SCORES_FILE) for folder in score_folders]
    folders = []
    l0s = [max(1.0, scores.subject["l0"]) for scores in found]
    for k in sorted({round(l0 if exact else 2 ** (round(2 * math.log2(l0)) / 2)) for l0 in l0s}):
        packed = Path(testbed_folder) / SCORES / ceiling_name(k)
        if (
            is_done(testbed_folder)
            and packed.exists()
            and suite in ("quick", read_json(packed / SCORES_FILE)["subject"]["suite"])
        ):
            folders.append(packed)
            continue
        config = {"suite": suite, "format": FORMAT, "k": k}
        with Run("scores", ceiling_name(k), config, {"testbed": testbed.hash, **fitted}) as run:
            if not run.done:
                _write(run, sparse_probe(testbed, k, suite))
            folders.append(run.folder)
    return folders


def ceiling_name(k: int) -> str:
    """What the scores of a linear probe with k outputs of each property are called."""
    return f"probe-{k}"


def packed_scores(testbed_folder: Path) -> list[Path]:
    """Folders of the scores of floors and of the probe that a finished packed testbed holds; none of other testbeds."""
    if not is_done(testbed_folder):
        return []
    found = (testbed_folder / SCORES).glob(f"*/{SCORES_FILE}")
    baselines = (testbed_folder / SCORES / "baselines").glob(f"*/{SCORES_FILE}")
    kinds = {path.parent: read_json(path)["subject"]["kind"] for path in sorted([*found, *baselines])}
    return [folder for folder, kind in kinds.items() if kind not in ("sae", "sparse_probe")]


def _fit_probes(testbed: Testbed, probes: ProbeConfig | None) -> dict[str, str]:
    """Fit the probes of every property with a supported class that the testbed has none of; return the hashes of all.

    What is fitted is given to the testbed.
    """
    here = replace(probes or ProbeConfig(), hook_names=(testbed.hook_name,), positions=testbed.place, min_ply=0)
    reading = Reading(testbed.model, testbed.corpus, here.hook_names, testbed.place, KEPT_BYTES)
    for each in testbed.columns:
        if each.name not in testbed.probes and testbed.supported_P[each.start : each.stop].any():
            folder = probe_run(testbed.model, testbed.corpus, replace(here, property=each.name), reading=reading)
            testbed.probes[each.name] = load_probe(folder, testbed.hook_name)
    return {f"probe {name}": probe.hash for name, probe in sorted(testbed.probes.items())}


def random_gpt_twin(sae_folder: str | Path, testbed_folder: str | Path, *, device: str = "auto") -> Path:
    """Train the SAE's twin, same config and training, on the random-weights GPT; reused when done.

    An SAE from elsewhere, of whose training little is known, gets a twin of its own form, trained with our defaults.
    """
    sae, testbed = load_sae(sae_folder), load_testbed(testbed_folder, device).random_twin()
    cfg = from_mapping(TrainSAEConfig, sae.metadata.get("training", {}), f"{sae_folder}")
    same = sae_config(**(sae.trained_as if "training" in sae.metadata else to_mapping(sae.cfg)))
    (folder,) = train_on_testbed(testbed, [same], cfg, device=device)
    return folder


def _write(run: Run, scores: Scores) -> None:
    scores.save(run.folder)
    if "core" in scores:
        write_json(run / CORE_FILE, saebench_core(scores))
    for name, seconds in scores.seconds.items():
        run.log_time(name, seconds)
    run.finish(**{name: found.value for name, found in scores.items()})


def saebench_core(scores: Scores) -> dict[str, Any]:
    """The core score with the fields of a SAEBench result file."""
    metrics = scores["core"].details["eval_result_metrics"]
    config = {"n_tokens": int(metrics["token_stats"]["total_tokens_eval_reconstruction"])}
    return {
        "eval_type_id": "core",
        "eval_config": config,
        "eval_id": content_hash({"subject": scores.subject, "config": config}, 32),
        "eval_result_metrics": metrics,
        "eval_result_details": [],
        "sae_lens_id": "custom_sae",
        "sae_lens_release_id": scores.subject["name"],
        "sae_lens_version": None,
        "sae_bench_commit_hash": None,
        "sae_cfg_dict": scores.subject.get("sae", {}),
        "eval_result_unstructured": {"density_histogram": scores["core"].details["density_histogram"]},
    }
