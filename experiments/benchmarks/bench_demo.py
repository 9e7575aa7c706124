"""How long the demo's own work took, from the timings its runs keep (`make bench` runs the demo first)."""

import json
from pathlib import Path
from typing import Any

DEMO = Path("data/runs/demo")


def rows() -> list[dict[str, Any]]:
    """Seconds of the demo: all stages together, and the GPT's training alone."""
    study = json.loads((DEMO / "sweep.json").read_text())
    whole = _seconds(DEMO, "sweep")
    training = _seconds(Path(study["model"]), "train")
    return [
        {
            "what": "demo, all its own work but the report",
            "ours": whole,
            "unit": "s",
            "peer": "of it, training the GPT (s)",
            "peer_value": training,
            "target": "< 600 s",
        }
    ]


def _seconds(folder: Path, what: str) -> float:
    lines = map(json.loads, (folder / "timings.jsonl").read_text().splitlines())
    return sum(line["seconds"] for line in lines if line["what"] == what)
