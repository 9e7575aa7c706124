"""Legality, loss and floor against a walk over the rules, one position at a time, for moves and for characters."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT
from boardgame_sae.model.legality import legality
from boardgame_sae.model.train import TrainGPTConfig, gpt_config, model_card
from boardgame_sae.transcripts.generate import generate

CORPORA = ["tiny_corpus", "tiny_corpus_char", "passing", "passing_char"]


def with_passes(tokenization, folder):
    return generate("othello4", n_games=80, passes="explicit", tokenization=tokenization, test_fraction=0.4, out=folder)


@pytest.fixture(scope="module")
def passing(tmp_path_factory):
    return with_passes("move", tmp_path_factory.mktemp("corpus") / "run")


@pytest.fixture(scope="module")
def passing_char(tmp_path_factory):
    return with_passes("char", tmp_path_factory.mktemp("corpus") / "run")


@pytest.fixture(params=CORPORA)
def corpus(request):
    return request.getfixturevalue(request.param)


def random_model(corpus) -> GameModel:
    """A GPT with opinions of its own, most of them wrong."""
    cfg = TrainGPTConfig(n_layers=1, d_model=16, n_heads=2)
    gpt = GPT(gpt_config(corpus, cfg), seed=5)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.mul_(8)
    return GameModel(gpt.eval(), model_card(corpus, cfg, "random"))


def predictions(corpus, split):
    """Every prediction in a split: (ids read, id that came, legal written moves, what is typed of one, its ply)."""
    game, ids = corpus.game, {token: i for i, token in enumerate(corpus.alphabet)}
    for text in game.texts(corpus.record(corpus.games(split))):
        position, read = game.start(), []
        for ply, written in enumerate(game.split(text), 1):
            legal = [game.move_text(position, move) for move in game.legal_moves(position)]
            tokens = [written] if corpus.tokenization == "move" else list(written)
            for place, token in enumerate(tokens):
                if read:
                    yield tuple(read), ids[token], legal, "".join(tokens[:place]), ply
                read.append(ids[token])
            position = game.play(position, game.parse_move(position, written))


def choices(corpus, legal, typed):
    """How many legal moves go on with each token id, after what is typed."""
    counts = {}
    for written in legal:
        if written.startswith(typed):
            token = written if corpus.tokenization == "move" else written[len(typed)]
            token = corpus.alphabet.index(token)
            counts[token] = counts.get(token, 0) + 1
    return counts


@torch.no_grad()
def by_brute_force(model, corpus, split):
    rows = []
    for read, came, legal, typed, ply in predictions(corpus, split):
        counts = choices(corpus, legal, typed)
        chances = model.gpt(torch.tensor([read]))[0, -1].double().softmax(-1)
        floor = math.log(sum(counts.values())) - math.log(counts[came])
        mass = sum(chances[token].item() for token in counts)
        rows.append((int(chances.argmax()) in counts, mass, -math.log(chances[came]), floor, ply))
    return np.array(rows, dtype=float)


def test_every_number_equals_the_brute_force(corpus):
    model = random_model(corpus)
    rows = by_brute_force(model, corpus, "test")
    found = legality(model, corpus, batch_size=7)
    assert found.n_positions == len(rows) and found.n_games == len(corpus.games("test")) and found.split == "test"
    for name, expected in zip(("legal_rate", "legal_mass", "loss", "loss_floor"), rows.mean(0), strict=False):
        assert abs(getattr(found, name) - expected) < 1e-6, name
    assert 0.05 < found.legal_rate < 0.95 and found.loss_floor < found.loss
    plies = np.unique(rows[:, 4])
    assert len(found.legal_rate_ply) == len(plies)
    for rate, ply in zip(found.legal_rate_ply, plies, strict=True):
        assert abs(rate - rows[rows[:, 4] == ply, 0].mean()) < 2e-6


def test_a_trained_model_equals_the_brute_force(tiny_model, tiny_corpus):
    expected = by_brute_force(tiny_model, tiny_corpus, "validation").mean(0)
    found = legality(tiny_model, tiny_corpus, split="validation")
    for name, value in zip(("legal_rate", "legal_mass", "loss", "loss_floor"), expected, strict=False):
        assert abs(getattr(found, name) - value) < 1e-6, name


def test_characters_cost_a_perfect_player_what_their_moves_cost(tiny_corpus, tiny_corpus_char):
    moves, chars = (legality(random_model(corpus), corpus) for corpus in (tiny_corpus, tiny_corpus_char))
    # A move model is told the first move, a character model its first letter, and no two first moves share theirs.
    assert abs(chars.loss_floor * chars.n_positions - moves.loss_floor * moves.n_positions) < 1e-6 * chars.n_positions


class Oracle:
    """Stands in for a GPT: plays uniformly among the legal moves of the positions of one split, and no other."""

    def __init__(self, corpus, split):
        self.device, self.size = torch.device("cpu"), len(corpus.alphabet)
        self.table = {}
        for read, _, legal, typed, _ in predictions(corpus, split):
            self.table[read] = choices(corpus, legal, typed)

    def __call__(self, tokens_BL):
        logits_BLV = torch.zeros(*tokens_BL.shape, self.size)
        for game, row in enumerate(tokens_BL.tolist()):
            for place in range(len(row)):
                counts = self.table.get(tuple(row[: place + 1]))
                if counts is not None:
                    logits_BLV[game, place] = -torch.inf
                    for token, count in counts.items():
                        logits_BLV[game, place, token] = math.log(count)
        return logits_BLV


@pytest.mark.filterwarnings("error")
def test_uniform_play_of_the_rules_is_always_legal_and_reaches_the_floor(corpus):
    model = dataclasses.replace(random_model(corpus), gpt=Oracle(corpus, "test"))
    found = legality(model, corpus)
    assert found.legal_rate == 1.0 and set(found.legal_rate_ply) == {1.0}
    assert abs(found.legal_mass - 1) < 1e-6
    assert abs(found.loss - found.loss_floor) < 1e-6 and found.loss_floor > 0.3


def test_the_first_games_asked_for_are_measured_whatever_the_batch_size(tiny_corpus):
    model = random_model(tiny_corpus)
    few = legality(model, tiny_corpus, n_games=20, batch_size=3)
    assert few.n_games == 20
    again = legality(model, tiny_corpus, n_games=20, batch_size=20)
    assert few.n_positions == again.n_positions and abs(few.loss - again.loss) < 1e-6
    lengths = tiny_corpus.arrays["games/length"][tiny_corpus.games("test", 20)]
    assert few.n_positions == (lengths - 1).sum()


def test_the_split_asked_for_is_measured(tiny_corpus):
    model = random_model(tiny_corpus)
    losses = {split: legality(model, tiny_corpus, split=split).loss for split in ("train", "validation", "test")}
    assert len(set(losses.values())) == 3


def test_a_corpus_of_another_alphabet_is_refused_and_named(tiny_model, tiny_corpus_char):
    with pytest.raises(ValueError, match="its alphabet is not the model's") as caught:
        legality(tiny_model, tiny_corpus_char)
    assert str(tiny_corpus_char.path) in str(caught.value)


def test_too_few_games_are_refused(tiny_model, tiny_corpus, tmp_path):
    with pytest.raises(ValueError, match="999 test games asked for"):
        legality(tiny_model, tiny_corpus, n_games=999)
    empty = generate("othello4", n_games=3, test_fraction=0.0, out=tmp_path / "run")
    with pytest.raises(ValueError, match="no test games"):
        legality(tiny_model, empty)
