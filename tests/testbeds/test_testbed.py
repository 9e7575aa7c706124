import json
import re

import h5py
import numpy as np
import pytest
import torch

from boardgame_sae.activations.hook_points import HookError, default_hook_name
from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.files import RunError, write_json
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.testbeds import testbed as module
from boardgame_sae.testbeds.columns import MIN_COUNT
from boardgame_sae.testbeds.testbed import Testbed, load_testbed
from boardgame_sae.transcripts.corpus import SPLITS, CorpusError
from boardgame_sae.transcripts.labels import PackedLabels

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=40)


@pytest.fixture(scope="module")
def folder(tiny_model, tiny_corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("testbed")
    tiny_model.save(root / "model")
    return module.testbed_run(
        root / "model", tiny_corpus.path, hook_name=HOOK, n_games=40, out=root / "bed", device="cpu"
    )


def moves_of(corpus, game):
    start, stop = corpus.arrays["move_offsets"][game : game + 2]
    return [int(move) for move in corpus.arrays["moves"][start:stop]]


def text_of(corpus, game):
    position, text = corpus.game.start(), ""
    for move in moves_of(corpus, game):
        text += corpus.game.move_text(position, move)
        position = corpus.game.play(position, move)
    return text


def test_a_function_of_a_testbed_is_computed_once_and_its_siblings_compute_their_own(bed):
    calls = []

    def hook_name(testbed):
        calls.append(testbed)
        return [testbed.hook_name]

    def nothing(testbed):
        calls.append(testbed)

    sibling = bed.at("blocks.1.hook_resid_post")
    assert bed.once(hook_name) is bed.once(hook_name) and bed.once(hook_name) == [HOOK]
    assert sibling.once(hook_name) == ["blocks.1.hook_resid_post"]
    assert bed.once(nothing) is bed.once(nothing) is None
    assert calls == [bed, sibling, bed]


@pytest.mark.parametrize("split", SPLITS)
def test_columns_of_the_labels_are_the_games_own_labels_of_each_position(bed, split):
    games = bed.corpus.games(split)[:40]
    rows = []
    for game in games:
        truth = bed.corpus.game.labels(text_of(bed.corpus, game), list(bed.properties))
        n_read = min(len(moves_of(bed.corpus, game)), bed.corpus.n_ctx)
        parts = [truth[name][1 : n_read + 1].reshape(n_read, -1) for name in bed.properties]
        rows.append(np.concatenate(parts, axis=1))
    labels_NP = bed.labels(split)
    assert labels_NP.dtype == np.bool_
    np.testing.assert_array_equal(labels_NP, np.concatenate(rows))


def test_columns_name_every_label_its_property_level_and_square(bed):
    game = bed.corpus.game
    assert [columns.name for columns in bed.columns] == ["mine_yours", "legal_move", "flipped"]
    assert [columns.level for columns in bed.columns] == ["low", "high", "high"]
    assert [(columns.start, columns.stop) for columns in bed.columns] == [(0, 32), (32, 48), (48, 64)]
    for columns in bed.columns:
        assert len(columns.class_names) == len(columns.square_P) == columns.stop - columns.start
        for label, square in zip(columns.class_names, columns.square_P, strict=True):
            assert label.split()[0] == game.squares[square]
    assert bed.columns[0].class_names[:3] == ("a1 mine", "a1 yours", "b1 mine")


def test_supported_columns_are_true_and_false_often_enough_in_every_split(bed):
    expected = []
    for p in range(64):
        counts = [int(bed.labels(split)[:, p].sum()) for split in SPLITS]
        sizes = [len(bed.labels(split)) for split in SPLITS]
        expected.append(all(n >= MIN_COUNT and size - n >= MIN_COUNT for n, size in zip(counts, sizes, strict=True)))
    assert bed.supported_P.tolist() == expected
    assert {True, False} == set(expected)


def test_the_support_rule_is_exact_at_its_edges(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, HOOK, properties=("legal_move",), n_games=5)
    counts = {"train": [10, 9, -10, -9], "validation": [10, 30, 30, 30], "test": [30, 30, 30, 30]}
    for split in SPLITS:
        n = len(bed.positions(split))
        labels = np.zeros((n, 4, 4), dtype=bool)
        for square, count in enumerate(counts[split]):
            labels[: count if count > 0 else n + count, 0, square] = True
        bed._labels[split] = {"legal_move": PackedLabels.of(labels)}
    assert bed.supported_P[:4].tolist() == [True, False, True, False]


@torch.no_grad()
@pytest.mark.parametrize(("hook_name", "n_games"), [(HOOK, 256), (HOOK, 7), ("blocks.1.mlp.hook_post", 13)])
@pytest.mark.parametrize("kept_bytes", [2**30, 0])
def test_activation_rows_are_those_of_the_positions_one_by_one(bed, hook_name, n_games, kept_bytes, monkeypatch):
    monkeypatch.setattr(module, "GAMES_AT_ONCE", n_games)
    monkeypatch.setattr(module, "KEPT_BYTES", kept_bytes)
    here = bed.at(hook_name)
    acts_ND = torch.cat([here.read("test", span.start, span.stop) for span in here.spans("test")])
    assert bool(here._acts) == bool(kept_bytes)
    torch.testing.assert_close(here.activations("test"), acts_ND, rtol=1e-5, atol=1e-6)
    where = here.positions("test")
    assert acts_ND.shape == (len(where), here.width)
    assert acts_ND.dtype == torch.float32
    row = 0
    for place, game in enumerate(bed.corpus.games("test")[:40]):
        start, stop = bed.corpus.arrays["token_offsets"][game : game + 2]
        tokens = bed.corpus.arrays["tokens"][start:stop].astype(np.int64)[: bed.corpus.n_ctx]
        found = []
        bed.model.gpt(torch.from_numpy(tokens)[None], {hook_name: lambda value, found=found: found.append(value[0])})
        for token in range(len(tokens)):
            assert (where.game_N[row], where.token_N[row], where.ply_N[row]) == (place, token, token + 1)
            torch.testing.assert_close(acts_ND[row], found[0][token], rtol=1e-4, atol=1e-5)
            row += 1
    assert row == len(where)


def test_positions_of_a_character_corpus_are_the_last_characters_of_plies(tiny_corpus_char):
    corpus = tiny_corpus_char
    shape = {"n_layers": 1, "d_model": 4, "n_heads": 1, "d_vocab": len(corpus.alphabet), "n_ctx": corpus.n_ctx}
    model = GameModel(GPT(GPTConfig(**shape)).eval(), {"alphabet": list(corpus.alphabet), "hash": "x"})
    bed = Testbed(model, corpus, n_games=6)
    where = bed.positions("train")
    assert (where.token_N % 2 == 1).all()
    assert (where.ply_N == (where.token_N + 1) // 2).all()
    assert bed.activations("train").shape == (len(where), 4)
    truth = corpus.game.labels(text_of(corpus, corpus.games("train")[0]), ["mine_yours"])["mine_yours"]
    n_read = int((where.game_N == 0).sum())
    np.testing.assert_array_equal(bed.labels("train")[:n_read, :32], truth[1 : n_read + 1].reshape(n_read, 32))


def test_a_saved_testbed_opens_with_the_same_truth_and_activations(folder, bed):
    opened = load_testbed(folder, "cpu")
    assert opened.identity == bed.identity
    assert opened.hash == bed.hash
    for split in SPLITS:
        assert set(opened._labels[split]) == set(bed.properties)  # read, not computed again
        np.testing.assert_array_equal(opened.labels(split), bed.labels(split))
        assert torch.equal(opened.activations(split), bed.activations(split))
    np.testing.assert_array_equal(opened.supported_P, bed.supported_P)


def test_a_finished_testbed_run_is_reused(folder, tiny_corpus):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    model = folder.parent / "model"
    assert module.testbed_run(model, tiny_corpus.path, hook_name=HOOK, n_games=40, out=folder, device="cpu") == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_testbed_folder_can_be_moved_together_with_what_it_is_made_of(folder, tiny_corpus, tmp_path):
    card = json.loads((folder / "testbed.json").read_text())
    assert (folder / card["model"]).resolve() == (folder.parent / "model").resolve()
    assert (folder / card["corpus"]).resolve() == tiny_corpus.path.resolve()
    assert not card["model"].startswith("/")


def test_at_and_random_twin_share_labels_and_positions_but_not_activations(bed):
    truth, where = bed.labels("test"), bed.positions("test")
    elsewhere, twin = bed.at("blocks.1.hook_resid_post"), bed.random_twin()
    for other in (elsewhere, twin):
        assert other._labels is bed._labels
        assert other.positions("test") is where
        np.testing.assert_array_equal(other.labels("test"), truth)
        assert other.hash != bed.hash
        assert not torch.allclose(other.activations("test"), bed.activations("test"))
    assert elsewhere.model is bed.model
    assert (twin.hook_name, twin.n_games, twin.properties) == (bed.hook_name, bed.n_games, bed.properties)
    assert torch.equal(bed.random_twin().activations("test"), twin.activations("test"))
    assert not torch.equal(bed.random_twin(seed=1).activations("test"), twin.activations("test"))


def test_the_default_hook_point_is_two_thirds_up_the_residual_stream(tiny_model, tiny_corpus):
    assert Testbed(tiny_model, tiny_corpus).hook_name == "blocks.1.hook_resid_post"
    for n_layers, layer in ((1, 0), (3, 2), (4, 2), (8, 5)):
        gpt = GPT(GPTConfig(n_layers=n_layers, d_model=2, n_heads=1, d_vocab=2, n_ctx=2))
        assert default_hook_name(gpt) == f"blocks.{layer}.hook_resid_post"


def test_harvest_gives_training_activations_at_the_hook_point(bed, tmp_path):
    store = bed.harvest(200, out=tmp_path / "acts")
    assert isinstance(store, ActivationStore)
    assert (store.attributes["hook_name"], store.attributes["split"]) == (HOOK, "train")
    assert len(store) >= 200
    # every token of an othello game ends a ply, so the first rows are those of the first training games
    torch.testing.assert_close(torch.from_numpy(store.acts_ND[:200].copy()), bed.activations("train")[:200])


def test_a_corpus_of_another_alphabet_is_an_error_that_names_it(tiny_model, tiny_corpus_char):
    with pytest.raises(ValueError, match="its alphabet is not the model's") as caught:
        Testbed(tiny_model, tiny_corpus_char)
    assert str(tiny_corpus_char.path) in str(caught.value)


def test_an_unknown_property_is_an_error_with_near_names(tiny_model, tiny_corpus):
    with pytest.raises(ValueError, match="unknown othello property 'fliped'; did you mean 'flipped'"):
        Testbed(tiny_model, tiny_corpus, properties=("mine_yours", "fliped"))


def test_an_unknown_hook_point_is_an_error_at_once(tiny_model, tiny_corpus):
    with pytest.raises(HookError, match=r"blocks\.5"):
        Testbed(tiny_model, tiny_corpus, "blocks.5.hook_resid_post")


def test_an_unknown_split_is_an_error(bed):
    with pytest.raises(ValueError, match="unknown split 'tset'; the splits are train, validation, test"):
        bed.labels("tset")


def test_folders_that_are_no_testbed_are_errors_that_name_them(folder, tmp_path):
    with pytest.raises(RunError, match=re.escape(str(tmp_path / "nowhere"))):
        load_testbed(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"it has no testbed\.json; it holds"):
        load_testbed(folder.parent / "model")
    for manifest in ({"model": "a"}, {"model": "a", "corpus": "b", "hook_name": "c"}):
        write_json(tmp_path / "testbed.json", manifest)
        with pytest.raises(RunError, match=r"testbed\.json: field '\w+' is required"):
            load_testbed(tmp_path)
    (tmp_path / "testbed.json").write_text("{")
    with pytest.raises(RunError, match=r"testbed\.json: damaged"):
        load_testbed(tmp_path)


def test_damaged_labels_are_an_error_that_names_their_file(folder, tmp_path):
    card = json.loads((folder / "testbed.json").read_text())
    card |= {name: str((folder / card[name]).resolve()) for name in ("model", "corpus")}
    write_json(tmp_path / "testbed.json", card)
    for split in SPLITS:
        (tmp_path / f"{split}_labels.h5").write_bytes((folder / f"{split}_labels.h5").read_bytes())
    assert load_testbed(tmp_path, "cpu").labels("test").any()
    (tmp_path / "test_labels.h5").write_bytes((folder / "test_labels.h5").read_bytes()[:200])
    with pytest.raises(CorpusError, match="truncated or not an HDF5 file") as caught:
        load_testbed(tmp_path, "cpu")
    assert str(tmp_path / "test_labels.h5") in str(caught.value)


def test_labels_are_stored_packed(folder, bed):
    with h5py.File(folder / "test_labels.h5") as file:
        assert file["mine_yours"].shape == (len(bed.positions("test")), 4)
        assert file["mine_yours"].dtype == np.uint8
