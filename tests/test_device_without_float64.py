"""What Apple's chips need: the whole road on a device that has no float64, whose sums the CPU makes instead.

The device is that of `helpers/device_without_float64.py`, which says what it can and cannot show.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from boardgame_sae.model.float64 import exact, has_float64
from boardgame_sae.model.game_model import pick_device

START = """
import sys

from device_without_float64 import NAME
from boardgame_sae.cli import main

def run(*words):
    assert main([*map(str, words), "--device", NAME]) == 0, words
"""
TRAINED = """
assert main(["generate", "--game", "othello4", "--n-games", "200", "--out", "corpus"]) == 0
shape = ["--n-layers", 2, "--d-model", 16, "--n-heads", 2, "--n-steps", 4, "--batch-size", 16]
run("train-gpt", "--corpus", "corpus", "--out", "gpt", *shape)
run("testbed", "--model", "gpt", "--corpus", "corpus", "--n-games", 20, "--out", "bed")
few = ["--n-train-games", 32, "--n-test-games", 16]
run("probe", "--testbed", "bed", "--out", "probe", *few)
size = ["--n-activations", 600, "--batch-size", 128, "--n-latents", 32]
for name in ("topk", "gated_p_anneal", "matryoshka_batch_topk"):
    run("train-sae", "--testbed", "bed", "--architecture", name, "--out", name, *size)
run("finetune-sae", "topk", "--testbed", "bed", "--n-steps", 2, "--batch-size", 4, "--out", "tuned")
"""


def on_the_device(code: str, folder: Path) -> None:
    """Run code in a process of its own, since a device stays: with the commands, on the device."""
    helpers = str(Path(__file__).parent / "helpers")
    environment = {
        **os.environ,
        "BOARDGAME_SAE_RUNS": str(folder),
        "PYTHONPATH": os.pathsep.join([helpers, os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", START + code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_is_exact_is_float64_where_it_is():
    x = torch.tensor([0.1, 1.0])
    assert has_float64(x.device)
    assert exact(x).dtype == torch.float64 and exact(x).device == x.device
    assert exact(x).tolist() == x.double().tolist()


def test_the_device_refuses_float64_and_exact_goes_to_the_cpu(tmp_path):
    code = """
import numpy as np, torch
from boardgame_sae.model.float64 import exact

x = torch.tensor([0.1, 1.0]).to(NAME)
assert x.device.type == NAME and (x * 2).device.type == NAME
ways = [
    lambda: x.double(),
    lambda: x.sum(dtype=torch.float64),
    lambda: torch.zeros(2, dtype=torch.float64, device=NAME),
    lambda: torch.from_numpy(np.zeros(2)).to(NAME),
    lambda: x + torch.zeros(2),
    lambda: x.numpy(),
]
for way in ways:
    try:
        way()
    except (TypeError, RuntimeError):
        continue
    raise AssertionError("not refused")
assert exact(x).device.type == "cpu" and exact(x).tolist() == x.cpu().double().tolist()
"""
    on_the_device(code, tmp_path)


def test_a_gpt_and_saes_are_trained_and_scored_there(tmp_path):
    scored = """
import boardgame_sae as bgs
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.subject import Subject

testbed = bgs.load_testbed("bed", NAME)
subject = Subject("topk", "sae", bgs.load_sae("topk"), testbed)
for name in ("coverage", "core", "unlearning", "mdl"):
    scores()[name].compute(subject, "quick")
bgs.edit(testbed, "b1", "c2", "empty")
"""
    on_the_device(TRAINED + scored, tmp_path)


@pytest.mark.slow
def test_every_score_and_baseline_is_computed_there(tmp_path):
    scored = """
from boardgame_sae.saes.registry import architectures, sae_class

for name in architectures():
    if sae_class(name).trains:
        run("train-sae", "--testbed", "bed", "--architecture", name, "--out", f"all/{name}", *size)
run("probe", "--testbed", "bed", "--fit", "closed_form", "--out", "closed", *few)
run("latent", "topk", 0, "--testbed", "bed")
run("score", "topk", "all/jumprelu", "--testbed", "bed", "--suite", "all")
run("edit", "--testbed", "bed", "--moves", "b1", "--square", "c2", "--to", "empty", "--sae", "./topk")
run("steer", "--testbed", "bed", "--toward", "b2 mine", "--moves", "b1")
"""
    on_the_device(TRAINED + scored, tmp_path)


@pytest.mark.parametrize(("cuda", "mps", "picked"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_is_cuda_before_mps_before_the_cpu(monkeypatch, cuda, mps, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == picked
