"""What experiments/first-look keeps of its report: the best of ours beside the published values."""

import csv
import importlib.util
import itertools
import sys
from pathlib import Path

import pytest

from boardgame_sae.config import canonical_json, read_yaml, to_mapping
from boardgame_sae.files import read_json
from boardgame_sae.pipeline.grid import expand
from boardgame_sae.pipeline.sweep import sweep_config
from boardgame_sae.saes.registry import architectures
from boardgame_sae.testbeds.shipped import find_testbed

HERE = Path(__file__).parents[2] / "experiments/first-look"
COLUMNS = ("coverage", "coverage_reference", "board_reconstruction", "board_reconstruction_reference")


@pytest.fixture(scope="module")
def results():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("first_look_results", HERE / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(sweep, kind, architecture, hook_name, l0, *values, **more):
    scores = dict(zip(COLUMNS, values, strict=True))
    about = {"sweep": sweep, "kind": kind, "architecture": architecture, "hook_name": hook_name, "l0": l0}
    return {**about, **scores, "n_seeds": 1, "coverage_low": "", "coverage_high": "", **more}


@pytest.fixture
def report(tmp_path, results):
    """A report's folder, of a few rows of known values."""
    block = "blocks.{}.hook_resid_post".format
    rows = [
        row("first-look", "sae", "topk", block(5), 8.0, 0.5, 0.3, 0.6, 0.9),
        row("first-look", "sae", "topk", block(5), 64.0, 0.7, 0.4, 0.2, 0.1),
        row("first-look", "sae", "jumprelu", block(5), 9.5, 0.25, 0.125, 0.375, 0.5),
        row("first-look", "sae", "relu", block(5), 9.0, 0.6, 0.2, 0.1, 0.5),
        row("first-look", "random_gpt_sae", "topk", block(5), 64.0, 0.35, 0.2, 0.1, 0.05),
        row("first-look", "neurons", "", block(5), "", 0.52, 0.34, 0.35, 0.36),
        row("first-look-layers", "sae", "p_anneal", block(2), 31.0, 0.5, 0.45, 0.4, 0.35),
        row("first-look-layers", "sae", "topk", block(2), 31.0, 0.99, 0.99, 0.99, 0.99),
        row("first-look-layers", "neurons", "", block(2), "", 0.5, 0.41, 0.4, 0.31),
    ]
    pooled = {"n_seeds": 3, "coverage_low": 0.51, "coverage_high": 0.53}
    rows += [
        row("first-look-seeds", "sae", "relu", block(5), 26.0, 0.5, 0.4, 0.3, 0.2),
        row("first-look-seeds", "sae", "relu", block(5), 26.4, 0.52, 0.4, 0.3, 0.2, **pooled),
    ]
    folder = tmp_path / "report"
    folder.mkdir()
    with open(folder / "table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (folder / "table.md").write_text("all of it")
    for sweep, names in results.FIGURES.items():
        for name in names:
            (folder / f"figures/{sweep}").mkdir(parents=True, exist_ok=True)
            (folder / f"figures/{sweep}/{name}.png").write_bytes(name.encode())
    return folder


def test_the_best_of_each_architecture_stands_beside_the_published_value(report, results, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["results.py", str(report), str(tmp_path / "out")])
    results.main()
    lines = (tmp_path / "out/beside_published.md").read_text().splitlines()
    cells = {line.split(" | ")[0].strip("| "): [cell.strip("| ") for cell in line.split(" | ")[1:]] for line in lines}
    assert cells["`topk`"] == ["0.700 @ 64", "0.400 @ 64", "0.494 @ 150", "0.600 @ 8", "0.900 @ 8", "0.870 @ 80"]
    assert cells["`jumprelu`"] == ["0.250 @ 10", "0.125 @ 10", "", "0.375 @ 10", "0.500 @ 10", ""]
    assert cells["SAE of a random-weights GPT"][:3] == ["0.350 @ 64", "0.200 @ 64", "0.272 @ 120"]
    assert cells["MLP neurons"] == ["0.520", "0.340", "0.549", "0.350", "0.360", "0.815"]
    assert cells["coverage"] == ["topk, relu", "gated, gated_p_anneal, topk, p_anneal, relu"]
    assert cells["reconstruction"] == ["topk, relu", "relu, p_anneal, gated, gated_p_anneal, topk"]
    assert "| `relu` | 3 | 0.520 [0.510, 0.530] @ 26 | 0.300 @ 26 |" in lines
    assert cells["block 2"] == ["0.450 @ 31", "0.480", "0.350 @ 31", "0.721", "0.410", "0.422", "0.310", "0.399"]
    assert (tmp_path / "out/table.md").read_text() == "all of it"
    assert (tmp_path / "out/figures/scores_by_layer.png").read_bytes() == b"scores_by_layer"


def test_the_published_values_are_whole():
    known = read_yaml(HERE / "published.yaml")
    assert all(len(values) == 8 for kinds in known["layers"].values() for values in kinds.values())
    for value, l0 in (pair for kinds in known["architectures"].values() for pair in kinds.values()):
        assert 0 < value < 1 < l0


def study(name):
    """A study of this folder, the shape of its testbed's GPT, and the settings of its SAEs."""
    source = HERE / f"{name}.yaml"
    cfg = sweep_config(read_yaml(source), str(source))
    gpt = read_json(find_testbed(cfg.testbed) / "model/cfg.json")["gpt"]
    return cfg, gpt, [one.sae for one in expand(cfg.saes, gpt["d_model"], cfg.training, str(source))]


def test_every_architecture_is_scored_at_five_sparsities_or_more():
    _, _, saes = study("study")
    settings = {name: set() for name in architectures()}
    for sae in saes:
        settings[sae.architecture].add(canonical_json(to_mapping(sae)))
    assert settings.pop("identity") == set()  # the residual channels stand beside every SAE already
    assert len(settings.pop("random")) == 2  # a floor
    assert all(len(each) >= 5 for each in settings.values()), settings


def test_the_four_published_architectures_have_three_seeds():
    _, _, saes = study("seeds")
    assert {(sae.architecture, sae.seed) for sae in saes} == set(
        itertools.product(("relu", "p_anneal", "gated", "gated_p_anneal"), range(3))
    )


def test_the_layers_are_those_of_the_testbed():
    cfg, gpt, saes = study("layers")
    assert cfg.hook_names == tuple(f"blocks.{layer}.hook_resid_post" for layer in range(gpt["n_layers"]))
    assert "p_anneal" in {sae.architecture for sae in saes}  # that of the published table by layer
