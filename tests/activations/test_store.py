import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import h5py
import numpy as np
import pytest
import torch

from boardgame_sae.activations import store as module
from boardgame_sae.activations.hook_points import HookError
from boardgame_sae.activations.store import ActivationStore, games_for, harvest, harvest_run
from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def harvested(tiny_model, tiny_corpus, tmp_path_factory):
    return harvest_run(
        tiny_model, tiny_corpus, HOOK, n_activations=1500, out=tmp_path_factory.mktemp("store") / "harvest"
    )


@torch.no_grad()
def by_hand(model, corpus, hook_name, games):
    """One game at a time, one full forward pass each."""
    rows = []
    for game in games:
        start, stop = corpus.arrays["token_offsets"][game : game + 2]
        tokens = [int(token) for token in corpus.arrays["tokens"][start:stop]][: corpus.n_ctx]
        found = []
        model.gpt(torch.tensor([tokens]), {hook_name: lambda value, found=found: found.append(value[0].flatten(1))})
        rows.append(found[0])
    return torch.cat(rows)


def test_a_harvest_is_every_token_read_game_after_game(harvested, tiny_model, tiny_corpus):
    store = ActivationStore.open(harvested)
    expected = by_hand(tiny_model, tiny_corpus, HOOK, games_for(tiny_corpus, "train", 1500))
    assert store.acts_ND.dtype == np.float32
    assert (len(store), store.width) == (len(expected), tiny_model.gpt.cfg.d_model)
    np.testing.assert_allclose(store.acts_ND, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_harvest_in_memory_equals_the_definition_at_a_place_with_heads(tiny_model, tiny_corpus):
    games_B = tiny_corpus.games("validation")[:5]
    found = harvest(tiny_model, tiny_corpus, "blocks.1.attn.hook_z", games_B)
    torch.testing.assert_close(found, by_hand(tiny_model, tiny_corpus, "blocks.1.attn.hook_z", games_B))


def test_a_float16_harvest_is_the_float32_one_rounded(harvested, tiny_model, tiny_corpus, tmp_path):
    half = harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=1500, dtype="float16", out=tmp_path / "half")
    rounded = ActivationStore.open(harvested).acts_ND.astype(np.float16)
    assert ActivationStore.open(half).acts_ND.dtype == np.float16
    np.testing.assert_array_equal(ActivationStore.open(half).acts_ND, rounded)
    assert ActivationStore.open(half).stream(32, 0).batch(0).dtype == torch.float32


def test_as_many_games_are_harvested_as_the_number_asked_for_needs(tiny_corpus):
    offsets = tiny_corpus.arrays["token_offsets"]
    games = tiny_corpus.games("train")
    lengths = [min(int(offsets[game + 1] - offsets[game]), tiny_corpus.n_ctx) for game in games]
    for wanted in (1, lengths[0], lengths[0] + 1, sum(lengths[:7]), sum(lengths), 10**9):
        n_games = next((n for n in range(1, len(games) + 1) if sum(lengths[:n]) >= wanted), len(games))
        assert games_for(tiny_corpus, "train", wanted).tolist() == games[:n_games].tolist()


def test_the_file_says_what_was_harvested_and_is_reused(harvested, tiny_model, tiny_corpus):
    store = ActivationStore.open(harvested)
    assert store.attributes["hook_name"] == HOOK
    assert store.attributes["model"] == tiny_model.hash
    assert store.attributes["corpus"] == tiny_corpus.hash
    assert read_json(harvested / "DONE")["summary"] == {"n_activations": len(store), "width": store.width}
    before = (harvested / "acts.h5").stat().st_mtime_ns
    assert harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=1500, out=harvested) == harvested
    assert (harvested / "acts.h5").stat().st_mtime_ns == before


def test_two_harvests_at_different_seconds_are_the_same_bytes(harvested, tiny_model, tiny_corpus, tmp_path):
    while time.time() < (harvested / "run.json").stat().st_mtime + 1.1:
        time.sleep(0.05)
    again = harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=1500, out=tmp_path / "again")
    assert file_hash(again / "acts.h5") == file_hash(harvested / "acts.h5")


def test_different_harvests_have_different_hashes(harvested, tiny_model, tiny_corpus, tmp_path):
    other = harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=100, out=tmp_path / "other")
    hashes = [ActivationStore.open(folder).hash for folder in (harvested, other, harvested)]
    assert hashes[0] == hashes[2] != hashes[1]


KILLED = """
import os, signal, sys
from boardgame_sae.activations import store
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.transcripts.corpus import Corpus
model, corpus = GameModel.load(sys.argv[1], "cpu"), Corpus.open(sys.argv[2])
os.fsync = lambda file: None  # a kill, unlike a power cut, loses nothing that was written
store.GAMES_PER_BATCH = 4
real, calls = store.harvest, []
def harvest(*arguments):
    calls.append(1)
    if len(calls) == 21:  # progress was noted after batch 16
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
store.harvest = harvest
store.harvest_run(model, corpus, "blocks.0.hook_resid_post", n_activations=1500, out=sys.argv[3])
"""


def test_a_harvest_killed_halfway_resumes_to_the_same_bytes(harvested, tiny_model, tiny_corpus, tmp_path, monkeypatch):
    tiny_model.save(tmp_path / "model")
    out = tmp_path / "harvest"
    driver = [sys.executable, "-c", KILLED, str(tmp_path / "model"), str(tiny_corpus.path), str(out)]
    killed = subprocess.run(driver, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert json.loads((out / "progress.json").read_text())["games"] == 64
    assert not (out / "DONE").exists()
    monkeypatch.setattr(module, "GAMES_PER_BATCH", 4)
    monkeypatch.setattr(module, "harvest", lambda *arguments: (asked.append(arguments[3]), harvest(*arguments))[1])
    asked = []
    harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=1500, out=out)
    games_B = games_for(tiny_corpus, "train", 1500)
    assert np.concatenate(asked).tolist() == games_B[64:].tolist()
    whole = harvest_run(tiny_model, tiny_corpus, HOOK, n_activations=1500, out=tmp_path / "whole")
    assert file_hash(out / "acts.h5") == file_hash(whole / "acts.h5")
    assert not (out / "progress.json").exists()
    np.testing.assert_allclose(
        ActivationStore.open(out).acts_ND, ActivationStore.open(harvested).acts_ND, rtol=1e-4, atol=1e-5
    )


def test_a_bad_hook_point_is_an_error_before_a_folder_is_made(tiny_model, tiny_corpus, tmp_path):
    with pytest.raises(HookError, match=r"blocks\.9"):
        harvest_run(tiny_model, tiny_corpus, "blocks.9.hook_resid_post", n_activations=10, out=tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_activations_that_float16_cannot_hold_are_an_error(tiny_model, tiny_corpus, tmp_path):
    gpt = GPT(tiny_model.gpt.cfg).eval()
    with torch.no_grad():
        gpt.embed.weight.fill_(1e5)
    huge = GameModel(gpt, {**tiny_model.card, "hash": "huge"})
    arguments = {"n_activations": 100, "out": tmp_path / "huge"}
    with np.errstate(over="ignore"), pytest.raises(RunError, match=r"too large for float16.*float32"):
        harvest_run(huge, tiny_corpus, HOOK, dtype="float16", **arguments)
    assert not (tmp_path / "huge/DONE").exists()
    arguments["out"] = tmp_path / "single"
    assert np.isfinite(ActivationStore.open(harvest_run(huge, tiny_corpus, HOOK, **arguments)).acts_ND).all()


def truncated(path, whole):
    shutil.copy(whole, path)
    os.truncate(path, path.stat().st_size - 1000)


def foreign(path, whole):
    with h5py.File(path, "w") as file:
        file["acts"] = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "truncated or not an HDF5 file"),
        (lambda path, whole: path.write_text("hello"), "truncated or not an HDF5 file"),
        (lambda path, whole: None, "truncated or not an HDF5 file"),
        (foreign, "not activations of boardgame_sae"),
    ],
    ids=["truncated", "no HDF5", "missing", "foreign"],
)
def test_a_file_that_is_no_harvest_is_an_error_that_names_it(harvested, tmp_path, spoil, message):
    spoil(tmp_path / "acts.h5", harvested / "acts.h5")
    with pytest.raises(RunError, match=message) as caught:
        ActivationStore.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_corpus_given_as_a_harvest_is_an_error_that_names_it(tiny_corpus):
    with pytest.raises(RunError, match="not activations of boardgame_sae") as caught:
        ActivationStore.open(tiny_corpus.path)
    assert str(tiny_corpus.path) in str(caught.value)


def numbered(n_rows):
    """A store whose row i holds i and -i."""
    place_N = np.arange(n_rows, dtype=np.float32)
    return ActivationStore(module.Path("numbered"), {}, np.stack([place_N, -place_N], axis=1))


def one_pass(stream, number):
    first = number * stream.batches_per_pass
    return [stream.batch(step) for step in range(first, first + stream.batches_per_pass)]


SHAPES = [  # rows, block, blocks a buffer, batch
    (1000, 4096, 64, 32),  # one block
    (1000, 50, 4, 10),  # five buffers
    (1003, 50, 3, 20),  # a block is not whole batches, the last buffer smaller
    (97, 8, 2, 16),  # a batch larger than a block
    (64, 64, 1, 64),  # nothing but one batch
]


@pytest.mark.parametrize(("n_rows", "block", "blocks", "batch"), SHAPES)
def test_a_pass_is_a_permutation_that_leaves_out_at_most_a_tail(monkeypatch, n_rows, block, blocks, batch):
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    monkeypatch.setattr(module, "BUFFER_BLOCKS", blocks)
    stream = numbered(n_rows).stream(batch, seed=3)
    block = max(batch, min(block, n_rows))
    in_blocks = n_rows // block * block
    n_buffers = -(-in_blocks // (block * blocks))
    for number in range(3):
        rows = torch.cat(one_pass(stream, number))
        assert all(len(part) == batch for part in one_pass(stream, number))
        assert torch.equal(rows[:, 1], -rows[:, 0])
        assert set(Counter(rows[:, 0].tolist()).values()) == {1}
        assert in_blocks - n_buffers * (batch - 1) <= len(rows) <= in_blocks
        assert rows[:, 0].max() - rows[:, 0].min() < in_blocks
        if len(rows) > 100:
            assert rows[:, 0].tolist() != sorted(rows[:, 0].tolist())


@pytest.mark.parametrize(("n_rows", "block", "blocks", "batch"), SHAPES)
def test_a_batch_depends_on_seed_and_step_alone(monkeypatch, n_rows, block, blocks, batch):
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    monkeypatch.setattr(module, "BUFFER_BLOCKS", blocks)
    store = numbered(n_rows)
    stream = store.stream(batch, seed=3)
    steps = range(3 * stream.batches_per_pass)
    in_order = [stream.batch(step).clone() for step in steps]
    jumping = store.stream(batch, seed=3)
    for step in sorted(steps, key=lambda step: (step * 7919) % 31):
        assert torch.equal(jumping.batch(step), in_order[step])
    other = store.stream(batch, seed=4)
    assert any(not torch.equal(other.batch(step), in_order[step]) for step in steps)


def test_passes_have_different_orders_and_reach_the_tail_in_turn(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 50)
    monkeypatch.setattr(module, "BUFFER_BLOCKS", 2)
    stream = numbered(110).stream(10, seed=0)
    orders = [tuple(torch.cat(one_pass(stream, number))[:, 0].tolist()) for number in range(100)]
    assert len(set(orders)) == 100
    assert {row for order in orders for row in order} == set(range(110))


def test_rows_of_different_blocks_of_a_buffer_mix_in_a_batch(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 50)
    monkeypatch.setattr(module, "BUFFER_BLOCKS", 4)
    first = numbered(1000).stream(20, seed=0).batch(0)[:, 0]
    assert len({int(row) // 50 for row in first}) > 2


def test_a_batch_larger_than_the_store_is_an_error(harvested):
    store = ActivationStore.open(harvested)
    with pytest.raises(ValueError, match=f"{len(store)} activations, fewer than a batch of {len(store) + 1}"):
        store.stream(len(store) + 1, seed=0)
    assert len(store.stream(len(store), seed=0).batch(0)) == len(store)


def test_mean_norm_is_the_root_of_the_mean_squared_norm(harvested):
    store = ActivationStore.open(harvested)
    squares = [sum(float(value) ** 2 for value in row) for row in store.acts_ND]
    assert store.mean_norm == pytest.approx((sum(squares) / len(squares)) ** 0.5, rel=1e-12)
