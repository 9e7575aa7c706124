import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from sealed import seal_again

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError, to_mapping
from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.metrics.baselines import registry as baseline_registry
from boardgame_sae.metrics.baselines.activations import Channels
from boardgame_sae.metrics.baselines.registry import find_baseline
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.saebench.result_file import DETAILS, METRICS
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.legality import legality
from boardgame_sae.pipeline.score import packed_scores
from boardgame_sae.pipeline.sweep import sweep_config, sweep_run
from boardgame_sae.report.run import make_report
from boardgame_sae.runs import runs_root
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.saes.load import load_sae
from boardgame_sae.shipping import pack
from boardgame_sae.shipping.card_numbers import differing, numbers
from boardgame_sae.shipping.card_page import write_card
from boardgame_sae.shipping.pack import halve, pack_config, pack_run, sae_names
from boardgame_sae.testbeds.shipped import find_sae, find_testbed, shipped_testbeds
from boardgame_sae.testbeds.testbed import load_testbed
from boardgame_sae.transcripts.corpus import SPLITS, Corpus, CorpusError
from boardgame_sae.transcripts.labels import property_labels

STUDY = {
    "name": "mini",
    "corpus": {"game": "othello4", "n_games": 1200, "validation_fraction": 0.2, "test_fraction": 0.2},
    "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_steps": 30, "batch_size": 16, "targets": "expected"},
    "probes": [{"n_train_games": 64, "n_test_games": 40, "games_a_step": 16}],
    "n_games": 40,
    "training": {"n_activations": 1280, "n_harvested": 500, "batch_size": 64},
    "saes": [
        {"architecture": "topk", "n_latents": 24, "k": [2, 4]},
        {"architecture": "batch_topk", "n_latents": 24, "k": 4},
        {"architecture": "p_anneal", "n_latents": 16, "sparsity_coefficient": 0.02, "snapshots": [[0.1, 1.0]]},
    ],
    "random_saes": [{"architecture": "topk", "n_latents": 24, "k": 4}],
    "notes": ["It has seen hardly any game."],
}
SAES = ["batch_topk-4", "p_anneal-0.02", "topk-2", "topk-4"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A packed testbed `mini`, alone in its folder."""
    torch.set_num_threads(1)
    return pack_run(pack_config(STUDY, "mini.yaml"), out=tmp_path_factory.mktemp("testbeds") / "mini", device="cpu")


@pytest.fixture
def shipped(packed, monkeypatch) -> Path:
    """The same, where shipped testbeds are looked for."""
    monkeypatch.setenv("BOARDGAME_SAE_TESTBEDS", str(packed.parent))
    return packed


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(packed, tmp_path / "mini"))


def test_a_packed_testbed_opens_by_its_folder_and_by_its_name(shipped):
    by_folder, by_name = load_testbed(shipped), bgs.load_testbed("mini")
    assert by_folder.hash == by_name.hash
    assert by_name.model.game.spec == "othello4" and by_name.n_games == 40
    assert set(by_name.probes) == {"mine_yours", "legal_move", "flipped"}
    assert not list(shipped.glob("*labels*"))


def test_it_is_self_contained(packed, tmp_path):
    """Everything it says of places is relative: a copy elsewhere is the same testbed, with the original gone."""
    there = Path(shutil.copytree(packed, tmp_path / "elsewhere"))
    assert load_testbed(there).hash == load_testbed(packed).hash
    texts = [path.read_text() for path in there.rglob("*.json")] + [(there / "README.md").read_text()]
    assert not any(str(packed.parent) in text or str(Path.home()) in text for text in texts)
    assert not any(str(runs_root()) in text for text in texts)


def test_its_games_were_held_out_of_the_gpts_training(packed):
    corpus = Corpus.open(packed / "corpus")
    learned = bgs.generate(**STUDY["corpus"])
    trained_on = {tuple(game) for game in learned.record(learned.games("train"))}
    assert len(corpus) == len(learned) - len(learned.games("train"))
    assert not trained_on & {tuple(game) for game in corpus.record(np.arange(len(corpus)))}


def test_its_labels_are_the_truth_of_its_games(packed):
    testbed = load_testbed(packed)
    for split in SPLITS:
        found = property_labels(testbed.corpus, testbed.positions(split), testbed.properties)
        whole = np.concatenate([each.reshape(len(each), -1) for each in found.values()], axis=1)
        np.testing.assert_array_equal(testbed.labels(split), whole)


def test_weights_are_rounded_to_half_precision_and_the_model_says_so(packed):
    learned = read_json(packed / "run.json")["inputs"]["model"]
    (trained,) = [each.parent for each in runs_root().glob("gpt/mini-*/run.json") if read_json(each)["hash"] == learned]
    ours, theirs = GameModel.load(packed / "model", "cpu"), GameModel.load(trained, "cpu")
    assert ours.hash != theirs.hash and ours.card["precision"] == "float16"
    rounded, exact = ours.gpt.state_dict(), theirs.gpt.state_dict()
    for name, weight in exact.items():
        expected = weight.half().float() if weight.ndim > 1 else weight
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], expected, rtol=0, atol=0)
    assert {tensor.dtype for tensor in load_file(packed / "saes/topk-2/sae.safetensors").values()} >= {torch.float16}
    assert load_sae(packed / "saes/topk-2").dtype == torch.float32


def test_a_weight_too_large_for_half_precision_is_an_error_that_names_it(tmp_path):
    save_file({"fine": torch.ones(2, 2), "huge": torch.full((2, 2), 1e6)}, tmp_path / "a.safetensors")
    with pytest.raises(RunError, match=r"a\.safetensors: 'huge' has a number too large"):
        halve(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_every_number_of_the_card_is_measured_on_the_folder_itself(packed):
    card = read_json(packed / "card.json")["numbers"]
    again = dict(numbers(packed, "cpu"))
    assert {name: list(number) for name, number in again.items()} == card
    testbed = load_testbed(packed)
    found = legality(testbed.model, testbed.corpus, n_games=40)
    assert card["legality"] == [found.legal_rate, *found.interval]
    measured = {name: load_sae(packed / "saes" / name) for name in SAES} | {"residual channels": Channels()}
    for name, encoder in measured.items():
        scores = bgs.evaluate(encoder, testbed, "quick")
        for score in ("coverage", "board_reconstruction"):
            assert card[f"{name}/{score}"] == [scores[score].value, *scores[score].interval]
    for name in ("mine_yours", "legal_move"):
        acts_ND, labels = (
            testbed.activations("test"),
            property_labels(testbed.corpus, testbed.positions("test"), [name]),
        )
        probe, ply_N = testbed.probes[name], testbed.positions("test").ply_N
        right_N = (probe.logits(acts_ND).argmax(-1) == probe.targets.classes(labels[name])).double().mean(1).numpy()
        known = f"probe/{name}-ply/{testbed.hook_name}"
        assert card[known][0] == pytest.approx(right_N.mean(), abs=1e-12)
        assert card[f"{known}/plies 0-9"][0] == pytest.approx(right_N[ply_N < 10].mean(), abs=1e-12)
        assert card[f"{known}/plies 10-19"][0] == pytest.approx(right_N[ply_N >= 10].mean(), abs=1e-12)


def test_scores_that_ship_are_those_of_the_saes_that_ship(packed):
    listed = read_json(packed / "sweep.json")["testbeds"][0]
    assert listed["saes"] == [f"saes/{name}" for name in ("topk-2", "topk-4", "batch_topk-4", "p_anneal-0.02")]
    testbed = load_testbed(packed)
    for sae, folder in zip(listed["saes"], listed["scores"], strict=False):
        found = Scores.from_json(packed / folder / "scores.json")
        assert found["coverage"].value == bgs.evaluate(packed / sae, testbed, "quick")["coverage"].value
        assert METRICS in found["core"].details and DETAILS not in found["core"].details
    ks = [read_json(packed / folder / "scores.json")["subject"]["k"] for folder in listed["ceilings"]]
    assert listed["ceilings"] == [f"scores/probe-{k}" for k in ks] and len(set(ks)) == len(ks) == 3
    kinds = [read_json(path)["subject"]["kind"] for path in packed.glob("scores/**/scores.json")]
    assert {"sae", "random_gpt_sae", "probe", "sparse_probe", "neurons", "residual", "probe_sae"} == set(kinds)


def test_packing_again_reuses_and_a_killed_packing_ends_with_the_same_bytes(packed, copied):
    before = {path: file_hash(path) for path in packed.rglob("*") if path.is_file()}
    assert pack_run(pack_config(STUDY, "mini.yaml"), out=packed, device="cpu") == packed
    assert before == {path: file_hash(path) for path in packed.rglob("*") if path.is_file()}
    for lost in (("DONE",), ("DONE", "README.md", "card.json", "sweep.json", "scores", "saes/topk-4/sae.safetensors")):
        for name in lost:
            path = copied / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (copied / "scores/probe-4").mkdir(parents=True, exist_ok=True)
        (copied / "scores/probe-4/scores.json").unlink(missing_ok=True)
        pack_run(pack_config(STUDY, "mini.yaml"), out=copied, device="cpu")
        assert damaged_files(packed) == [] == damaged_files(copied)
        assert read_json(copied / "DONE") == read_json(packed / "DONE")


def test_another_study_does_not_overwrite_it(packed):
    with pytest.raises(RunError, match="holds another run"):
        pack_run(pack_config({**STUDY, "n_games": 30}, "mini.yaml"), out=packed, device="cpu")


def test_check_measures_the_card_again(copied, capsys):
    assert main(["check", str(copied), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "every move legal" in said and "topk-4/coverage" in said and "OUTSIDE" not in said


def test_check_finds_a_number_that_is_not_so(copied, capsys):
    card = read_json(copied / "card.json")
    value, low, high = card["numbers"]["topk-4/coverage"]
    card["numbers"]["topk-4/coverage"] = [value + 1, low + 1, high + 1]
    (copied / "card.json").write_text(json.dumps(card))
    assert main(["check", str(copied)]) == 1
    assert "card.json: changed since it was written" in capsys.readouterr().err
    seal_again(copied)
    assert [name for name, *_, fits in differing(copied, "cpu") if not fits] == ["topk-4/coverage"]
    assert main(["check", str(copied)]) == 1
    caught = capsys.readouterr()
    assert "OUTSIDE" in caught.out and "topk-4/coverage is outside its interval" in caught.err


def test_check_finds_a_number_that_only_the_card_has_and_one_that_it_lacks(copied):
    card = read_json(copied / "card.json")
    card["numbers"]["dreamt"] = [0.5, 0.0, 1.0]
    del card["numbers"]["linear probe/coverage"]
    (copied / "card.json").write_text(json.dumps(card))
    seal_again(copied)
    assert [name for name, *_, fits in differing(copied, "cpu") if not fits] == ["linear probe/coverage", "dreamt"]


def test_one_that_is_not_finished_is_not_known_by_name(shipped, copied, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_TESTBEDS", str(copied.parent))
    assert shipped_testbeds()["mini"] == copied
    (copied / "DONE").unlink()
    assert "mini" not in shipped_testbeds()
    assert packed_scores(copied) == []
    assert main(["ls"]) == 0 and "testbed mini" not in capsys.readouterr().out


def test_ls_shows_testbeds_and_saes_with_their_numbers(shipped, capsys):
    assert main(["ls"]) == 0
    said = capsys.readouterr().out
    assert "testbed mini" in said and "blocks." in said and "legal " in said
    for name in SAES:
        (line,) = [line for line in said.splitlines() if f"mini/{name} " in line]
        assert f"coverage {read_json(shipped / 'card.json')['numbers'][f'{name}/coverage'][0]:.3f}" in line


def test_a_shipped_sae_is_scored_by_name_beside_the_floors_that_ship(shipped, capsys, monkeypatch):
    twin = replace(find_baseline("random_gpt_sae"), of_sae=lambda *_: pytest.fail("trains a twin"))
    monkeypatch.setitem(baseline_registry._BASELINES._known, "random_gpt_sae", twin)
    monkeypatch.setattr("boardgame_sae.testbeds.probing.probe_run", lambda *_, **__: pytest.fail("fits a probe"))
    assert main(["score", "mini/topk-4", "--testbed", "mini", "--suite", "supervised", "--device", "cpu"]) == 0
    *_, table, last = capsys.readouterr().out.split("\n\n")
    numbers = read_json(shipped / "card.json")["numbers"]
    value, low, high = numbers["topk-4/coverage"]
    heads, *lines = last.splitlines()[:-1]
    named = [re.split("  +", line)[0] for line in lines]
    assert named[:2] == ["topk-4", "linear probe, 4 on"] and "4 per property" in lines[1]
    floors = {
        "linear probe",
        "linear probe as an SAE",
        "MLP neurons",
        "residual channels",
        "random-gpt-topk-4",
        "always on (chance)",
    }
    assert set(named[2:]) == floors and len(named) == 8
    assert f"{value:.4f} [{low:.4f}, {high:.4f}]" in lines[0] and "L0" in heads and "coverage" in heads
    assert "topk-4\n" in table
    assert bgs.load_sae("mini/topk-4").cfg.k == 4


def test_the_report_reads_it_as_a_sweep(packed, tmp_path):
    page = make_report([packed], out=tmp_path / "report", device="cpu") / "index.html"
    n_games = STUDY["corpus"]["n_games"] - len(Corpus.open(packed / "corpus"))
    assert f"mini: a GPT of 2 layers and width 16 learned othello4 from {n_games:,} games" in page.read_text()
    assert "batch_topk" in (tmp_path / "report/table.md").read_text()


def test_a_sweep_on_it_reuses_its_gpt_games_and_probes(shipped, tmp_path):
    values = {"name": "more", "testbed": "mini", "training": STUDY["training"], "saes": STUDY["saes"][:1]}
    cfg = sweep_config(values, "more.yaml")
    listed = read_json(sweep_run(cfg, out=tmp_path / "sweep", device="cpu") / "sweep.json")
    assert Path(listed["model"]) == shipped / "model" and Path(listed["corpus"]) == shipped / "corpus"
    assert listed["probes"] == [str(shipped / "probes/board-ply")]
    (testbed,) = listed["testbeds"]
    assert Path(testbed["testbed"]) == shipped and len(testbed["scores"]) == 2
    page = make_report([tmp_path / "sweep"], out=tmp_path / "report", device="cpu") / "index.html"
    assert page.stat().st_size > 1_000_000


def test_a_sweep_on_it_at_another_hook_point_has_its_games_and_places(shipped, tmp_path):
    other = "blocks.0.hook_resid_mid"
    values = {
        "name": "more",
        "testbed": "mini",
        "hook_names": [other],
        "training": STUDY["training"],
        "saes": STUDY["saes"][2:],
    }
    found = read_json(sweep_run(sweep_config(values, "more.yaml"), out=tmp_path / "sweep", device="cpu") / "sweep.json")
    here, there = load_testbed("mini"), load_testbed(found["testbeds"][0]["testbed"])
    assert there.hook_name == other
    assert {**there.identity, "hook_name": 0} == {**here.identity, "hook_name": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": {"game": "othello4"}}, "a study of the testbed 'mini' cannot have its own corpus"),
        ({"model": {"n_layers": 3}}, "cannot have its own model"),
        ({"saes": [{"architecture": "topk", "n_latents": 8, "k": 16}]}, "saes.0"),
        ({"probes": [{"property": "pin"}]}, "pin"),
        ({"n_games": 7}, "cannot have its own n_games"),
        ({"testbed": "maxi"}, r"maxi: no such folder, and no shipped testbed of that name.*mini"),
    ],
)
def test_a_bad_study_of_a_testbed_is_an_error_before_anything_runs(shipped, change, message):
    with pytest.raises((ValueError, RunError), match=message):
        sweep_config({"name": "bad", "testbed": "mini", **change}, "bad.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"testbed": "mini"}, "testbed"),
        ({"positions": "ply"}, "positions"),
        ({"hook_names": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]}, "one hook point"),
        ({"notes": "none"}, "notes"),
        (
            {"saes": [{"architecture": "p_anneal", "n_latents": 8, "p_end": [0.2, 0.5]}]},
            "two SAEs would be called p_an",
        ),
        ({"random_saes": [{"architecture": "topk", "n_latents": 8, "k": [2, 2]}]}, "two SAEs would be called topk-2"),
    ],
)
def test_a_bad_study_to_pack_is_an_error_before_anything_runs(shipped, change, message):
    with pytest.raises((ConfigError, RunError), match=f"bad.yaml.*{message}"):
        pack_config({**STUDY, **change}, "bad.yaml")


def test_too_few_held_out_games_are_an_error_before_a_gpt_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "train_gpt_run", lambda *_, **__: pytest.fail("trains a GPT"))
    with pytest.raises(CorpusError, match=r"2000 validation games asked for, it has .* larger fractions"):
        pack_run(pack_config({**STUDY, "n_games": 2000}, "mini.yaml"), out=tmp_path / "mini", device="cpu")
    assert not (tmp_path / "mini").exists()


def test_names_of_what_ships_are_found_and_unknown_ones_are_errors_that_list_the_known(shipped, tmp_path):
    assert shipped_testbeds()["mini"] == shipped == find_testbed("mini")
    assert find_sae("mini/topk-2") == shipped / "saes/topk-2"
    assert find_sae(shipped / "saes/topk-2") == shipped / "saes/topk-2"
    early = "mini/p_anneal-0.02/snapshots/0.1"
    assert find_sae(early) == shipped / "saes/p_anneal-0.02/snapshots/0.1"
    assert bgs.load_sae(early).metadata["snapshot"] == {"share": 0.1, "step": 2}
    assert not (shipped / "saes/p_anneal-0.02/snapshots/1").exists()
    with pytest.raises(RunError, match=r"the testbed mini has no SAE 'p_anneal-0\.02/snapshots/0\.2'"):
        bgs.load_sae("mini/p_anneal-0.02/snapshots/0.2")
    with pytest.raises(RunError, match=r"nowhere: no such folder, and no shipped testbed.*mini"):
        bgs.load_testbed("nowhere")
    with pytest.raises(RunError, match=r"the testbed mini has no SAE 'topk-3' \(did you mean '(batch_)?topk-[24]'\?\)"):
        bgs.load_sae("mini/topk-3")
    with pytest.raises(RunError, match=r"nothing: no such folder, and no SAE \(TESTBED/SAE\).*mini"):
        bgs.load_sae(tmp_path / "nothing")
    with pytest.raises(RunError, match="no SAE; looked for"):
        bgs.load_sae(tmp_path)


@pytest.mark.parametrize("words", [["check", "mni"], ["score", "mni/topk-2", "--testbed", "mini"], ["report", "mni"]])
def test_a_misspelt_name_is_an_error_that_lists_the_known(shipped, words, capsys):
    assert main(words) == 1
    assert "no such folder" in (said := capsys.readouterr().err) and "mini" in said


def test_saes_are_named_by_what_tells_them_apart():
    def trained(architecture, n_activations=1000, **fields):
        cfg = bgs.make_sae(architecture, d_model=8, n_latents=fields.pop("n_latents", 16), **fields).cfg
        return {**to_mapping(cfg), "n_activations": n_activations}

    alike = [trained("topk", k=2), trained("topk", k=2, seed=1), trained("topk", k=4)]
    assert sae_names(alike) == ["topk-2-seed-0", "topk-2-seed-1", "topk-4"]
    longer = [trained("topk", k=2, n_activations=n) for n in (500_000, 10_000_000)]
    assert sae_names(longer) == ["topk-2-0.5M", "topk-2-10M"]
    widths = [trained("topk", k=2, n_latents=n, seed=seed) for n, seed in ((16, 0), (32, 1))]
    assert sae_names(widths) == ["topk-2-16-seed-0", "topk-2-32-seed-1"]
    others = [trained("jumprelu", target_l0=8), trained("jumprelu", sparsity_loss="l0", sparsity_coefficient=0.5)]
    assert sae_names([*others, trained("relu", sparsity_coefficient=0.1)]) == ["jumprelu-8", "jumprelu-0.5", "relu-0.1"]
    with pytest.raises(RunError, match="two SAEs would be called"):
        sae_names([trained("topk", k=2), trained("topk", k=2)])


def test_the_verb_packs(tmp_path, capsys):
    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(STUDY))
    assert main(["pack", str(tmp_path / "mini.yaml"), "--out", str(tmp_path / "mini"), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip().endswith(str(tmp_path / "mini"))
    text = (tmp_path / "mini/README.md").read_text()
    assert "boardgame-sae score mini/topk-2 --testbed mini" in text
    assert "It has seen hardly any game." in text and "expected targets" in text
    for picture in ("learning_curve", "legality", "probe_accuracy", "probe_squares", "coverage_vs_l0"):
        assert f"figures/{picture}.png" in text and (tmp_path / f"mini/figures/{picture}.png").stat().st_size > 5000


def test_training_time_covers_every_session_and_is_shared_with_what_was_trained_beside_it(tmp_path):
    def seconds(*lines):
        (tmp_path / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return pack._seconds(tmp_path)

    assert pack._seconds(tmp_path) == 0
    assert (
        seconds({"what": "train", "seconds": 30, "steps": 100, "n_steps": 400}, {"what": "look", "seconds": 9}) == 120
    )
    assert seconds({"what": "train", "seconds": 30, "steps": 100, "n_steps": 100}) == 30
    assert seconds({"what": "train", "seconds": 30, "steps": 50, "n_steps": 100, "beside": 4}) == 12
    with pytest.raises(RunError, match=r"timings\.jsonl: line 1: field 'steps'.*remove that line"):
        seconds({"what": "train", "seconds": 30, "steps": 0, "n_steps": 100})


def test_the_card_holds_no_times_which_differ_from_one_packing_to_the_next(packed):
    assert "seconds" not in (packed / "card.json").read_text() and "minutes" not in (packed / "README.md").read_text()
    timings = [json.loads(line) for line in (packed / "timings.jsonl").read_text().splitlines()]
    assert [timing["what"] for timing in timings] == ["train GPT", "train SAEs"]
    assert "timings.jsonl" not in read_json(packed / "DONE")["files"]


def test_the_card_speaks_of_characters_where_tokens_are_characters(copied):
    model = read_json(copied / "model/cfg.json")
    corpus = {**model["corpus"], "max_plies": 9}
    (copied / "model/cfg.json").write_text(json.dumps({**model, "tokenization": "char", "corpus": corpus}))
    seal_again(copied)
    write_card(copied, "card.json")
    text = (copied / "README.md").read_text()
    assert "The move it writes greedily is legal at" in text and "one per character" in text
    assert "drawn at temperature 1" in text and "1,200, cut after 9 plies, seed 0" in text


def test_twins_that_ship_are_called_by_their_kind_and_sae(tmp_path):
    topk = {"architecture": "topk", "n_latents": 24, "k": 4, "seed": 0}
    twins = [("random_gpt_sae", topk), ("frozen_decoder", topk), ("frozen_decoder", {**topk, "k": 2})]
    for number, (kind, sae) in enumerate(twins):
        Scores({"name": "x", "kind": kind, "sae": sae}, {}).save(tmp_path / str(number))
    names = pack._twin_names([str(tmp_path / str(number)) for number in range(3)])
    assert names == ["random-gpt-topk-4", "frozen-decoder-topk-4", "frozen-decoder-topk-2"]
