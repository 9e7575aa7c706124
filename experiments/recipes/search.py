"""Search for settings of training that are good at a budget: `python search.py search.yaml results.md`.

Trains every SAE that the YAML lists, as a study's `saes`, and writes what each does on fresh games that no training
reads: L0, explained variance and the share of latents alive. No supervised score is looked at. SAEs that are trained
already are reused, so a killed search goes on where it was.
"""

import sys
from pathlib import Path
from typing import Any

from boardgame_sae.config import from_mapping, read_yaml, to_mapping
from boardgame_sae.files import read_json
from boardgame_sae.pipeline.grid import train_grid
from boardgame_sae.report.titles import setting
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.sae import CONFIG_FILE
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import load_testbed

SEARCHED = ("dead_after", "resample_every", "bandwidth", "b_dec_start")
"""Fields that were searched beside the learning rate and the batch size."""


def main(search: str, out: str) -> None:
    """Train what a search lists and write a table of what each SAE reached."""
    listed = read_yaml(search)
    training = from_mapping(TrainSAEConfig, listed["training"], f"{search}: training")
    folders = train_grid(load_testbed(listed["testbed"], "cpu"), listed["saes"], training, "cpu", source=search)
    rows = sorted((_row(folder) for folder in folders), key=lambda row: (row["architecture"], int(row["activations"])))
    lines = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    Path(out).write_text("\n".join(lines) + "\n")


def _row(folder: Path) -> dict[str, str]:
    metadata = read_json(folder / CONFIG_FILE)["metadata"]
    sae, training, reached = metadata["trained_as"], metadata["training"], metadata["inference"]
    return {
        "architecture": sae["architecture"],
        "setting": setting(sae),
        "also": _also(sae),
        "activations": str(training["n_activations"]),
        "batch": str(training["batch_size"]),
        "lr": f"{training['lr']:g}",
        "reuse": str(training["reuse"]),
        "L0": f"{reached['l0']:.1f}",
        "explained variance": f"{reached['explained_variance']:.4f}",
        "alive": f"{reached['alive']:.3f}",
    }


def _also(sae: dict[str, Any]) -> str:
    default = to_mapping(sae_config(sae["architecture"], d_model=1, n_latents=sae["n_latents"]))
    return ", ".join(f"{name} {sae[name]}" for name in SEARCHED if name in sae and sae[name] != default[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
