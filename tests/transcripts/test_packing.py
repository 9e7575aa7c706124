"""Rows of a batch are blocks of whole games: each begins a game, none is lost but at the very end of a pass."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_game import Toy, as_text

from boardgame_sae.games import load_game, registry
from boardgame_sae.model.data_parallel import Place, Process
from boardgame_sae.model.train import Training
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.corpus_writer import write_corpus
from boardgame_sae.transcripts.packing import Packing

CFG = TrainGPTConfig(n_layers=1, d_model=8, n_heads=2, n_steps=20, batch_size=4, n_ctx=29)


@dataclass(frozen=True)
class Made:
    """A config as `write_corpus` wants it."""

    game: str = "toy"
    tokenization: str | None = None
    seed: int = 0
    validation_fraction: float = 0.2
    test_fraction: float = 0.0


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """The toy game is known while a test of this file runs."""
    monkeypatch.setitem(registry._FACTORIES._known, "toy", Toy)
    monkeypatch.setattr(registry, "_LOADED", {})


@pytest.fixture
def corpus(tmp_path):
    record = load_game("toy").play_games(np.arange(200, dtype=np.uint64))
    write_corpus(tmp_path / "corpus.h5", record, Made(), "toy")
    return Corpus.open(tmp_path)


def pass_of(lengths, size):
    """The blocks of a pass over games of these lengths, as lists of (game, place in it), one token at a time."""
    starts_B = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    game_M = np.repeat(np.arange(len(lengths)), lengths)
    packing = Packing.of(starts_B, np.array(lengths), size)
    rows = packing.places(slice(None))
    assert rows.shape == (len(packing), size)
    return [[(int(game_M[place]), int(place - starts_B[game_M[place]])) for place in row if place >= 0] for row in rows]


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40), size=st.integers(2, 20))
def test_a_pass_is_cut_as_one_would_by_hand(lengths, size):
    blocks, block = [], []
    for game, length in enumerate(lengths):
        block += [(game, place) for place in range(length)]
        if len(block) >= size:
            blocks.append(block[:size])
            block = []
    assert pass_of(lengths, size) == (blocks or [block])


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40), size=st.integers(2, 20))
def test_blocks_begin_games_hold_each_game_once_and_leave_out_none_but_the_last(lengths, size):
    blocks = pass_of(lengths, size)
    seen = [game for block in blocks for game in dict(block)]
    assert all(block[0][1] == 0 for block in blocks)
    assert seen == list(range(len(seen)))
    assert sum(lengths[len(seen) :]) < size
    if len(blocks) > 1:
        assert {len(block) for block in blocks} == {size}


def test_a_million_games_are_cut_in_no_time():
    lengths_B = np.random.default_rng(0).integers(100, 1500, 1_000_000)
    began = time.perf_counter()
    packing = Packing.of(np.cumsum(lengths_B) - lengths_B, lengths_B, 1024)
    assert len(packing) > 400_000 and time.perf_counter() - began < 5
    assert (np.diff(packing.places(slice(7, 9)))[:, :50] == 1).all()


# Batches


def texts_of(corpus, split="train"):
    return corpus.game.texts(corpus.record(corpus.games(split)))


def rows_of(corpus, batch):
    """The rows of a batch as texts, without what is absent."""
    return [as_text(corpus.alphabet, row[plies >= 0]) for row, plies in zip(*batch, strict=True)]


def test_an_epochs_rows_are_its_games_in_the_order_of_the_permutation_cut_at_the_end(corpus):
    size, rows, row = 30, [], ""
    order = corpus.games("train")[corpus._permutation("train", 3, 0)]
    for text in corpus.game.texts(corpus.record(order)):
        row += text
        if len(row) >= size:
            rows.append(row[:size])
            row = ""
    found = rows_of(corpus, corpus.batch("train", 0, len(rows), 3, size - 1))
    assert corpus.packs and found == rows and len(rows) > 20
    assert "a" in "".join(rows)  # the letter that is token 0


def test_plies_begin_anew_with_each_game_and_count_its_moves(corpus):
    tokens_BL, plies_BL = corpus.batch("train", 0, 8, 0, 40)
    for row, plies in zip(rows_of(corpus, (tokens_BL, plies_BL)), plies_BL.tolist(), strict=True):
        expected = [sum(letter in "abc" for letter in row[row.rindex(";", 0, i + 1) : i + 1]) for i in range(len(row))]
        assert plies == expected


def test_a_batch_depends_on_nothing_but_its_arguments_and_any_size_follows_the_same_order(corpus):
    steps = [0, 40, 3, 0, 17, 41]
    in_turn = [corpus.batch("train", step, 7, 1, 25) for step in steps]
    for step, batch in zip(steps, in_turn, strict=True):
        fresh = Corpus.open(corpus.path).batch("train", step, 7, 1, 25)
        assert np.array_equal(batch, fresh) and batch[0].shape == (7, 26)
    small = [row for step in range(30) for row in rows_of(corpus, corpus.batch("train", step, 7, 1, 25))]
    assert small == rows_of(corpus, corpus.batch("train", 0, 210, 1, 25))
    assert small != rows_of(corpus, corpus.batch("train", 0, 210, 2, 25))


def test_each_pass_has_an_order_of_its_own(corpus):
    n_blocks = [corpus._n_blocks("train", 0, epoch, 30) for epoch in range(2)]
    rows = rows_of(corpus, corpus.batch("train", 0, sum(n_blocks), 0, 29))
    first, second = rows[: n_blocks[0]], rows[n_blocks[0] :]
    assert first != second[: len(first)] and abs(n_blocks[0] - n_blocks[1]) < 10


def test_few_games_fill_one_padded_row(corpus):
    tokens_BL, plies_BL = corpus.batch("validation", 0, 2, 0, 10_000)
    n_present = sum(map(len, texts_of(corpus, "validation")))
    assert (plies_BL >= 0).sum(1).tolist() == [n_present] * 2
    assert (plies_BL[:, n_present:] == -1).all() and (tokens_BL[:, n_present:] == 0).all()
    rows = rows_of(corpus, (tokens_BL, plies_BL))
    assert all(
        sorted(row[1:].split(";")) == sorted(text[1:] for text in texts_of(corpus, "validation")) for row in rows
    )


def test_one_token_a_move_is_never_packed(tmp_path):
    write_corpus(tmp_path / "corpus.h5", load_game("toy").record([";.ab", ";.b"]), Made(tokenization="move"), "toy")
    corpus = Corpus.open(tmp_path)
    assert not corpus.packs and corpus.n_ctx == 11
    assert (corpus.batch("train", 0, 2, 0)[0] > 0).sum() == 3


def test_training_reads_packed_rows_and_learns_from_them_alike_after_a_resume(corpus, monkeypatch):
    read, batch = [], Corpus.batch
    monkeypatch.setattr(Corpus, "batch", lambda *args: (read.append(args[1:]), batch(*args))[1])
    training = Training(corpus, CFG, Process(Place("cpu")))
    assert training.gpt.cfg.n_ctx == 29 and training.gpt.cfg.d_vocab == 5
    losses = [training.advance() for _ in range(6)]
    assert [args[:3] for args in read] == [("train", step, 4) for step in range(6)] and read[0][4] == 29
    state, meta = training.state()
    again = Training(corpus, CFG, Process(Place("cpu")))
    again.restore(state, meta)
    assert [training.advance() for _ in range(3)] == [again.advance() for _ in range(3)]
    assert losses[-1] < losses[0] and torch.isfinite(torch.tensor(losses)).all()
