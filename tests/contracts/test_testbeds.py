"""Every testbed that ships: whole, small, of today's format, and as good as its card says."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from boardgame_sae import runs
from boardgame_sae.config import canonical_json, content_hash, read_yaml
from boardgame_sae.files import read_json
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.metrics.results import Scores
from boardgame_sae.model.legality import legality
from boardgame_sae.model.train import recipe
from boardgame_sae.pipeline.grid import expand
from boardgame_sae.pipeline.study_folder import read_study
from boardgame_sae.pipeline.sweep import model_settings, study_identity
from boardgame_sae.report.rows import rows_of
from boardgame_sae.runs.integrity import damaged_files, read_done
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_class
from boardgame_sae.shipping.card_numbers import differing
from boardgame_sae.shipping.pack import FORMAT, pack_config
from boardgame_sae.testbeds.shipped import shipped_saes, shipped_testbeds
from boardgame_sae.testbeds.testbed import load_testbed
from boardgame_sae.transcripts.corpus import Corpus

ROOT = Path(__file__).parents[2]
SHIPPED = {
    name: folder for name, folder in shipped_testbeds().items() if folder.parent.resolve() == ROOT / "data/testbeds"
}
MOST_BYTES = 90 * 2**20
PACKED_WITHOUT_PROBE_SAE = ("chess-small",)
"""Packed before there was that ceiling."""

each = pytest.mark.parametrize("name", sorted(SHIPPED))


def test_the_small_one_ships_and_the_wheel_holds_it():
    assert "othello6-tiny" in SHIPPED
    with open(ROOT / "pyproject.toml", "rb") as file:
        packaged = tomllib.load(file)["tool"]["setuptools"]["package-data"]["boardgame_sae.testbeds"]
    assert packaged == ["data/othello6-tiny/**"]
    assert (ROOT / "boardgame_sae/testbeds/data/othello6-tiny/testbed.json").exists()


def test_all_of_them_together_are_small():
    files = [path for folder in SHIPPED.values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@each
def test_every_file_is_as_it_was_packed_and_says_nothing_of_the_machine(name):
    folder = SHIPPED[name]
    assert damaged_files(folder) == []
    listed = set(read_done(folder).held) | {"DONE"}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == listed
    for path in [*folder.rglob("*.json"), folder / "README.md"]:
        text = path.read_text()
        assert not any(word in text for word in ("/home/", "/root/", "/work/", "/tmp/")), path


@each
def test_it_is_made_by_the_study_that_stands_beside_the_others(name):
    source = ROOT / f"experiments/testbeds/{name}.yaml"
    cfg = pack_config(read_yaml(source), str(source))
    made_with = read_json(SHIPPED[name] / "run.json")["config"]
    of_gpt = {"kind": "gpt", "config": recipe(model_settings(cfg)), "format": runs.FORMAT}
    learned = Corpus.open(SHIPPED[name] / "corpus").attributes["held_out_of"]
    made_of = read_json(SHIPPED[name] / "run.json")["inputs"]
    assert made_of == {"model": content_hash({**of_gpt, "inputs": {"corpus": learned}})}
    assert cfg.name == name
    assert made_with == json.loads(canonical_json({**study_identity(cfg), "format": FORMAT}))
    assert f"testbed-{name}" in (ROOT / "Makefile").read_text()


@each
def test_it_opens_with_probes_and_several_saes_of_each_architecture(name):
    testbed, folder = load_testbed(SHIPPED[name], "cpu"), SHIPPED[name]
    card = read_json(folder / "card.json")
    assert testbed.hash == card["hash"] and testbed.hook_name == card["hook_name"]
    supported = [prop.name for prop in testbed.columns if testbed.supported_P[prop.start : prop.stop].any()]
    assert set(testbed.probes) == set(supported)
    packed = {Path(file).parts[1] for file in read_done(folder).files if file.startswith("saes/")}
    left_out = {Path(name).parts[1] for name in read_done(folder).left_out if len(Path(name).parts) == 2}
    assert set(shipped_saes(folder)) == packed - left_out
    trained = [Scores.load(folder / "scores" / sae_name).subject["sae"]["architecture"] for sae_name in packed]
    for sae_name, path in shipped_saes(folder).items():
        sae = load_sae(path)
        as_latent_source(sae, testbed, sae_name)
        assert sae.metadata["testbed"] == testbed.hash
        norms = sae.W_dec.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms), atol=2e-3, rtol=0)
    assert all(sae_class(architecture).trains for architecture in trained)
    source = ROOT / f"experiments/testbeds/{name}.yaml"
    cfg = pack_config(read_yaml(source), str(source))
    planned = [one.sae.architecture for one in expand(cfg.saes, testbed.width, cfg.training)]
    assert Counter(trained) == Counter(planned)
    assert len(set(trained)) == 10 and min(Counter(trained).values()) >= 2


@each
def test_its_scores_are_of_today_and_stand_beside_every_floor_and_ceiling(name):
    study = read_study(SHIPPED[name])
    rows = rows_of([study])
    for testbed in study.testbeds:
        of_saes = [scored.scores.subject for scored in testbed.subjects if scored.scores.subject["kind"] == SAE_KIND]
        here, gone = {path.name for path in testbed.saes}, set(testbed.left_out)
        assert {subject["name"] for subject in of_saes} == here | gone and not here & gone
    listed = [path for testbed in study.testbeds for path in testbed.score_folders]
    assert len(set(listed)) == len(listed)
    assert {path.parent for path in SHIPPED[name].glob("scores/**/scores.json")} == set(listed)
    compared = {"sae", "random_gpt_sae", "sparse_probe", "probe", "neurons", "residual"}
    compared |= set() if name in PACKED_WITHOUT_PROBE_SAE else {"probe_sae"}
    assert {row["kind"] for row in rows} == compared
    card = read_json(SHIPPED[name] / "card.json")["numbers"]
    for row in rows:
        if row["kind"] == "sae":
            assert card[f"{row['name']}/coverage"] == [row["coverage"], row["coverage_low"], row["coverage_high"]]
    best = max(row["coverage"] for row in rows if row["kind"] == "sae")
    assert best > max(row["coverage"] for row in rows if row["kind"] == "random_gpt_sae")
    assert best < next(row["coverage"] for row in rows if row["kind"] == "probe")


@each
def test_its_gpt_plays_as_legally_as_the_card_says_on_a_few_games(name):
    """Within five standard errors, on few games: `boardgame-sae check` does it whole."""
    testbed = load_testbed(SHIPPED[name], "cpu")
    value, low, high = read_json(SHIPPED[name] / "card.json")["numbers"]["legality"]
    n_games = 40
    found = legality(testbed.model, testbed.corpus, n_games=n_games, positions_a_game=10).legal_rate
    assert abs(found - value) < 5 * (high - low) / 4 * np.sqrt(testbed.n_games / n_games) + 0.02


@each
@pytest.mark.slow
def test_every_number_of_the_card_is_measured_again(name):
    assert [said for said, *_, fits in differing(SHIPPED[name], "cpu") if not fits] == []
