"""Scores in the form of SAEBench's result files, which its readers, schemas and plots read.

A score that SAEBench has keeps among its details what such a file holds:

    eval_result_metrics    numbers in SAEBench's groups and by its names, no others
    eval_config            the fields of SAEBench's config of that evaluation, with the values that are true here
    eval_result_details    optional: what SAEBench lists row by row, as columns of equal length, by its names
    eval_type_id           optional: SAEBench's name of the evaluation, where it is not the score's

Whatever else is among its details, and parts that SAEBench has not, are `eval_result_unstructured` there. The files of
an evaluation lie in a folder of its name, each called by the testbed's hash and the SAE's name. Equal scores give equal
bytes. So the time of the evaluation, a required field, is 0; `timings.jsonl` has it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.config import content_hash
from boardgame_sae.files import write_json
from boardgame_sae.metrics.results import Scores

RESULT_FILE = "{release}_{id}_eval_results.json"
METRICS, CONFIG, DETAILS, TYPE = "eval_result_metrics", "eval_config", "eval_result_details", "eval_type_id"


def write_result_files(scores: Scores, folder: Path) -> None:
    """Write a file for each of some scores that SAEBench has."""
    for name, value in scores.items():
        if METRICS in value.details:
            file = result(scores, name)
            title = RESULT_FILE.format(release=file["sae_lens_release_id"], id=file["sae_lens_id"])
            write_json(folder / name / title.replace("/", "_"), file)


def result(scores: Scores, name: str) -> dict[str, Any]:
    """One score with the fields of a SAEBench result file."""
    value, subject = scores[name], scores.subject
    details = value.details
    known = {key for group in details[METRICS].values() for key in group}
    config = {"model_name": f"boardgame-sae/{subject['testbed']['model']}", **details.get(CONFIG, {})}
    own = {key: detail for key, detail in details.items() if key not in (METRICS, CONFIG, DETAILS, TYPE)}
    return {
        TYPE: details.get(TYPE, name),
        CONFIG: config,
        "eval_id": content_hash({"subject": subject, "config": config}, 32),
        "datetime_epoch_millis": 0,
        METRICS: details[METRICS],
        DETAILS: _rows(details.get(DETAILS, {})),
        "sae_bench_commit_hash": "none: computed by boardgame-sae",
        "sae_lens_id": subject["name"],
        "sae_lens_release_id": f"testbed-{content_hash(subject['testbed'])}",
        "sae_lens_version": None,
        "sae_cfg_dict": _sae_config(subject, details),
        "eval_result_unstructured": {**own, **{key: part for key, part in value.parts.items() if key not in known}},
    }


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A table's rows, each with its `index`, from its columns."""
    rows = zip(*columns.values(), strict=True)
    return [{"index": index, **dict(zip(columns, row, strict=True))} for index, row in enumerate(rows)]


def _sae_config(subject: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """What SAEBench's readers want to know of an SAE (architecture, d_sae), beside what it was trained as."""
    sae, testbed = subject.get("sae", {}), subject["testbed"]
    columns = list(details.get(DETAILS, {}).values())
    layer = re.search(r"\d+", testbed["hook_name"])
    return {
        "architecture": subject["kind"],
        "d_sae": sae.get("n_latents", len(columns[0]) if columns else None),
        "d_in": sae.get("d_model"),
        "hook_name": testbed["hook_name"],
        "hook_layer": int(layer[0]) if layer else None,
        "model_name": f"boardgame-sae/{testbed['model']}",
        **sae,
    }
