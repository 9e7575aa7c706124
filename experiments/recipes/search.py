"""Search for settings of training that are good at a budget: `python search.py search.yaml OUT.jsonl`.

Every SAE of the grid is trained with every learning rate and batch size, on activations of fresh games; what it does on
fresh games that no training reads, L0, explained variance and the share of latents alive, goes to a line of OUT. No
supervised score is looked at. SAEs that are trained already are reused, so a killed search goes on where it was.
"""

import itertools
import json
import sys
from pathlib import Path

from boardgame_sae.config import from_mapping, read_yaml
from boardgame_sae.files import read_json
from boardgame_sae.pipeline.sweep import expand
from boardgame_sae.saes.sae import CONFIG_FILE
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import load_testbed


def main(search: str, out: str) -> None:
    """Train what a search lists and write what each SAE reached."""
    listed = read_yaml(search)
    testbed = load_testbed(listed["testbed"], "cpu")
    for part in listed["searches"]:
        axes = [part[name] if isinstance(part[name], list) else [part[name]] for name in ("batch_size", "lr")]
        for batch_size, lr in itertools.product(*axes):
            training = {**part.get("training", {}), "n_activations": part["n_activations"]}
            cfg = from_mapping(TrainSAEConfig, {**training, "batch_size": batch_size, "lr": lr}, search)
            for folder in train_on_testbed(testbed, expand(part["saes"], testbed.width), cfg, device="cpu"):
                _write(Path(out), folder)


def _write(out: Path, folder: Path) -> None:
    metadata = read_json(folder / CONFIG_FILE)["metadata"]
    line = {"sae": metadata["trained_as"], "training": metadata["training"], **metadata["inference"]}
    with out.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
