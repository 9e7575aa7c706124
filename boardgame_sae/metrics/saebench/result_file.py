"""Scores in the form of SAEBench's result files, which its readers and plots read.

A score that SAEBench has keeps `eval_result_metrics` among its details, in SAEBench's groups and names, and
`eval_config`; whatever else is among them is `eval_result_unstructured` there.
"""

from pathlib import Path
from typing import Any

from boardgame_sae.config import content_hash
from boardgame_sae.files import write_json
from boardgame_sae.metrics.results import Scores

RESULT_FILE = "{}_eval_results.json"


def write_result_files(scores: Scores, folder: Path) -> None:
    """Write a file for each of some scores that SAEBench has."""
    for name, value in scores.items():
        if "eval_result_metrics" in value.details:
            write_json(folder / RESULT_FILE.format(name), result(scores, name))


def result(scores: Scores, name: str) -> dict[str, Any]:
    """One score with the fields of a SAEBench result file."""
    details, subject = scores[name].details, scores.subject
    config = details.get("eval_config", {})
    others = {name: detail for name, detail in details.items() if name not in ("eval_config", "eval_result_metrics")}
    return {
        "eval_type_id": name,
        "eval_config": config,
        "eval_id": content_hash({"subject": subject, "config": config}, 32),
        "eval_result_metrics": details["eval_result_metrics"],
        "eval_result_details": [],
        "sae_lens_id": "custom_sae",
        "sae_lens_release_id": subject["name"],
        "sae_lens_version": None,
        "sae_bench_commit_hash": None,
        "sae_cfg_dict": subject.get("sae", {}),
        "eval_result_unstructured": others,
    }
