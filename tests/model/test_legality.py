"""Legality, loss and floor against a walk over the rules and a run of the GPT, one position at a time."""

import dataclasses
import json
import math
import string
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from boardgame_sae.games import Game, MoveRecord
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.legality import KINDS, legal_positions, legality
from boardgame_sae.model.sampling import KeyValueCache
from boardgame_sae.model.train import gpt_config, model_card
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import generate

MOVES, CHARACTERS = ["tiny_corpus", "passing"], ["tiny_corpus_char", "passing_char", "counting"]


def with_passes(tokenization, folder):
    return generate("othello4:passes=explicit", n_games=80, tokenization=tokenization, test_fraction=0.4, out=folder)


@pytest.fixture(scope="module")
def passing(tmp_path_factory):
    return with_passes("move", tmp_path_factory.mktemp("corpus") / "run")


@pytest.fixture(scope="module")
def passing_char(tmp_path_factory):
    return with_passes("char", tmp_path_factory.mktemp("corpus") / "run")


class Counting(Game):
    """A game of numbers, written as chess is: `;1.3 11 2.4 6`. A number may be played if it and the ply divide by 3."""

    name, max_plies, max_written, move_end = "counting", 7, 3, " ;"
    text_alphabet = (" ", ".", ";", *string.digits)

    @dataclasses.dataclass(frozen=True)
    class Position:
        ply: int = 0

    def start(self):
        return self.Position()

    def legal_moves(self, position):
        return [code for code in range(1, 13) if (code + position.ply) % 3 == 0] if position.ply < 7 else []

    def play(self, position, move):
        return self.Position(position.ply + 1)

    def parse_move(self, position, text):
        if text not in map(str, range(1, 13)):
            raise ValueError(text)
        return int(text)

    def judge(self, position, written):
        return "ambiguous" if written == "0" else super().judge(position, written)

    def move_text(self, position, move):
        return str(move)

    def pieces(self, moves):
        numbers = ["" if ply % 2 else f"{ply // 2 + 1}." for ply in range(len(moves))]
        ends = [" "] * (len(moves) - 1) + [""]
        pieces = [f"{number}{move}{end}" for number, move, end in zip(numbers, moves, ends, strict=True)]
        return [";" + pieces[0], *pieces[1:]]

    def prompt_length(self, piece):
        return piece.find(".") + 1


Counting.__abstractmethods__ = frozenset()


@pytest.fixture(scope="module")
def counting():
    """40 games of three to seven plies; ten are test games."""
    game, generator = Counting(), np.random.default_rng(0)
    games = []
    for _ in range(40):
        plies = range(generator.integers(3, 8))
        games.append([int(generator.choice(game.legal_moves(Counting.Position(ply)))) for ply in plies])
    record = MoveRecord.of(games)
    chars, plies, offsets = game.characters(record)
    ids = {character: i for i, character in enumerate(game.text_alphabet)}
    config = json.dumps({"players": ["random"], "n_games": 40})
    attributes = {"tokenization": "char", "alphabet": json.dumps(game.text_alphabet), "config": config, "hash": ""}
    arrays = {
        "moves": record.moves_M,
        "move_offsets": record.offsets,
        "tokens": np.array([ids[chr(c)] for c in chars], np.uint8),
        "token_offsets": offsets,
        "plies": plies,
        "split": np.repeat([0, 2], [30, 10]),
    }
    corpus = Corpus(Path("counting.h5"), attributes, arrays)
    vars(corpus)["game"] = game
    return corpus


def counting_model(corpus, n_ctx) -> GameModel:
    """A GPT that has learned some of the game."""
    gpt = GPT(GPTConfig(n_layers=2, d_model=16, n_heads=2, d_vocab=len(corpus.alphabet), n_ctx=n_ctx), seed=1)
    tokens_BL, plies_BL = (torch.from_numpy(x) for x in corpus.rows(corpus.games("train"), n_ctx))
    targets_BL = tokens_BL[:, 1:].masked_fill(plies_BL[:, 1:] < 0, -100)
    optimizer = torch.optim.Adam(gpt.parameters(), lr=1e-2)
    for _ in range(60):
        F.cross_entropy(gpt(tokens_BL[:, :-1]).transpose(1, 2), targets_BL).backward()
        optimizer.step()
        optimizer.zero_grad()
    return GameModel(gpt.eval(), {"alphabet": list(corpus.alphabet)})


def random_model(corpus, n_ctx=None) -> GameModel:
    """A GPT with opinions of its own, most of them wrong."""
    cfg = TrainGPTConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=n_ctx)
    gpt = GPT(gpt_config(corpus, cfg), seed=5)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.mul_(8)
    return GameModel(gpt.eval(), model_card(corpus, cfg, "random"))


@torch.no_grad()
def by_move(model, corpus, split):
    """Of every position of a split that a model of moves predicts: hit, mass, loss, floor, ply."""
    game, ids, rows = corpus.game, {token: i for i, token in enumerate(corpus.alphabet)}, []
    for text in game.texts(corpus.record(corpus.games(split))):
        position, read = game.start(), []
        for ply, written in enumerate(game.split(text), 1):
            legal = [ids[game.move_text(position, move)] for move in game.legal_moves(position)]
            if read:
                chances = model.gpt(torch.tensor([read]))[0, -1].double().softmax(-1)
                came = -math.log(chances[ids[written]])
                rows.append((int(chances.argmax()) in legal, chances[legal].sum(), came, math.log(len(legal)), ply))
            read.append(ids[written])
            position = game.play(position, game.parse_move(position, written))
    return np.array(rows, dtype=float)


class Asked(NamedTuple):
    """A position at which a model of characters is asked for a move, and what is true there."""

    game: int
    ply: int
    phase: str
    kind: str
    mass: float


def written_greedily(model, corpus, prompt):
    read, text = list(prompt), ""
    for _ in range(corpus.game.max_written):
        token = int(model.gpt(torch.tensor([read]))[0, -1].argmax())
        if corpus.alphabet[token] in tuple(corpus.game.move_end):
            break
        read, text = [*read, token], text + corpus.alphabet[token]
    return text


def chance(model, prompt, ids):
    chances_LV = model.gpt(torch.tensor([[*prompt, *ids[:-1]]]))[0].double().softmax(-1)
    return math.prod(chances_LV[len(prompt) - 1 + i, token].item() for i, token in enumerate(ids))


@torch.no_grad()
def by_character(model, corpus, split):
    """Every `Asked` of a split, the mean loss, and its floor."""
    game, n_ctx, ids = corpus.game, model.gpt.cfg.n_ctx, {token: i for i, token in enumerate(corpus.alphabet)}
    asked, losses, floor = [], [], 0.0
    for number, moves in zip(corpus.games(split), corpus.record(corpus.games(split)), strict=True):
        position, before, pieces = game.start(), "", game.pieces(moves.tolist())
        for ply, (move, piece) in enumerate(zip(moves.tolist(), pieces, strict=True), 1):
            prompt = [ids[character] for character in before + piece[: game.prompt_length(piece)]]
            legal = [game.move_text(position, move) for move in game.legal_moves(position)]
            if prompt and len(before + piece) <= n_ctx + 1:
                floor += math.log(len(legal))
            if prompt and len(prompt) - 1 + game.max_written <= n_ctx:
                spellings = [[ids[c] for c in text + end] for text in legal for end in game.move_end or [""]]
                mass = sum(chance(model, prompt, spelling) for spelling in spellings)
                kind = game.judge(position, written_greedily(model, corpus, prompt))
                asked.append(Asked(int(number), ply, game.phase(position), kind, mass))
            before += piece
            position = game.play(position, move)
        row = torch.tensor([ids[character] for character in before])[: n_ctx + 1]
        losses += F.cross_entropy(model.gpt(row[None, :-1])[0], row[1:], reduction="none").tolist()
    return asked, np.mean(losses), floor / len(losses)


@pytest.mark.parametrize("name", MOVES)
def test_moves_equal_the_brute_force(name, request):
    corpus = request.getfixturevalue(name)
    model = random_model(corpus)
    rows = by_move(model, corpus, "test")
    found = legality(model, corpus, batch_size=7)
    assert found.n_positions == len(rows) and found.n_games == len(corpus.games("test")) and found.split == "test"
    for field, expected in zip(("legal_rate", "legal_mass", "loss", "loss_floor"), rows.mean(0), strict=False):
        assert abs(getattr(found, field) - expected) < 1e-6, field
    assert 0.05 < found.legal_rate < 0.95 and found.loss_floor < found.loss
    plies = np.unique(rows[:, 4])
    assert len(found.legal_rate_ply) == len(plies)
    for rate, ply in zip(found.legal_rate_ply, plies, strict=True):
        assert abs(rate - rows[rows[:, 4] == ply, 0].mean()) < 2e-6
    third_N = np.minimum(3 * (rows[:, 4] - 1) // corpus.game.max_plies, 2)
    assert list(found.legal_rate_phase) == ["opening", "middle", "end"][: int(third_N.max()) + 1]
    for third, rate in enumerate(found.legal_rate_phase.values()):
        assert abs(rate - rows[third_N == third, 0].mean()) < 1e-6
    assert found.kinds["greedy"] == pytest.approx({"legal": found.legal_rate, "illegal": 1 - found.legal_rate})
    assert found.kinds["sampled"] == pytest.approx({"legal": found.legal_mass, "illegal": 1 - found.legal_mass})


def test_a_trained_model_equals_the_brute_force(tiny_model, tiny_corpus):
    expected = by_move(tiny_model, tiny_corpus, "validation").mean(0)
    found = legality(tiny_model, tiny_corpus, split="validation")
    for name, value in zip(("legal_rate", "legal_mass", "loss", "loss_floor"), expected, strict=False):
        assert abs(getattr(found, name) - value) < 1e-6, name


def test_the_positions_behind_the_legal_rate_are_told(tiny_model, tiny_corpus):
    legal_N, game_N = legal_positions(tiny_model, tiny_corpus, n_games=20)
    measured = legality(tiny_model, tiny_corpus, n_games=20)
    assert legal_N.mean() == pytest.approx(measured.legal_rate)
    assert (len(legal_N), len(np.unique(game_N))) == (measured.n_positions, measured.n_games)


def test_a_perfect_player_loses_nothing_but_the_choice_between_legal_moves(tiny_corpus, tiny_corpus_char):
    lengths = tiny_corpus.arrays["games/length"][tiny_corpus.games("test")].astype(int)
    moves, chars = (legality(random_model(corpus), corpus) for corpus in (tiny_corpus, tiny_corpus_char))
    # The first move is told to a model of moves, and its first letter to one of characters: its second is no choice.
    assert moves.loss_floor * (lengths - 1).sum() == pytest.approx(chars.loss_floor * (2 * lengths - 1).sum())


CASES = [("tiny_corpus_char", None), ("passing_char", None), ("passing_char", 9), ("counting", 40), ("counting", 17)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]}")
def written(request):
    """A model of characters and its corpus; the context is as long as the longest game, or shorter."""
    name, n_ctx = request.param
    corpus = request.getfixturevalue(name)
    return (counting_model(corpus, n_ctx) if name == "counting" else random_model(corpus, n_ctx)), corpus


def test_characters_equal_the_brute_force(written):
    model, corpus = written
    asked, loss, floor = by_character(model, corpus, "test")
    found = legality(model, corpus, batch_size=3)
    assert found.n_positions == len(asked) and found.n_games == len(corpus.games("test"))
    assert abs(found.loss - loss) < 1e-5 and abs(found.loss_floor - floor) < 1e-9
    kinds = Counter(each.kind for each in asked)
    assert found.kinds["greedy"] == {kind: kinds[kind] / len(asked) for kind in KINDS}
    for rates, by in (
        (dict(zip(sorted({a.ply for a in asked}), found.legal_rate_ply, strict=True)), "ply"),
        (found.legal_rate_phase, "phase"),
    ):
        for key, rate in rates.items():
            hits = [each.kind == "legal" for each in asked if getattr(each, by) == key]
            assert abs(rate - np.mean(hits)) < 2e-6
    masses = np.array([each.mass for each in asked])
    drawn = [legality(model, corpus, seed=seed, n_games=found.n_games).legal_mass for seed in range(20)]
    deviation = math.sqrt((masses * (1 - masses)).sum() / 20) / len(asked)
    assert abs(np.mean(drawn) - masses.mean()) < 3 * deviation


def test_shares_sum_to_one_and_the_interval_holds_the_rate(written):
    found = legality(*written)
    for shares in found.kinds.values():
        assert sum(shares.values()) == pytest.approx(1)
    low, high = found.interval
    assert 0 <= low <= found.legal_rate <= high <= 1 and (low < high or found.legal_rate in (0, 1))
    assert found.kinds["sampled"]["legal"] == found.legal_mass


def test_a_model_that_learned_some_of_the_game_makes_every_kind_of_move(counting):
    found = legality(counting_model(counting, 40), counting)
    assert 0.2 < found.legal_rate < 0.95 and found.kinds["sampled"]["unparsable"] > 0
    assert found.loss < math.log(13) and found.loss_floor < found.loss
    assert len(found.legal_rate_ply) == 7  # from the first


def test_every_kind_of_move_is_told_apart(counting, monkeypatch):
    texts = ["3", "4", "0", "33", "", "111"]
    ids = [[counting.alphabet.index(c) for c in (text + " ")[:3]] for text in texts]

    def write(reading, game_N, start_N, n_new, *, stop_ids, **_):
        assert [counting.alphabet[i] for i in stop_ids] == [" ", ";"]
        planned = [each + [-1] * (n_new - len(each)) for each in ids]
        return torch.tensor([planned[0 if start == 2 else 1 + n % 5] for n, start in enumerate(start_N.tolist())])

    monkeypatch.setattr(KeyValueCache, "sample", write)
    kinds = legality(counting_model(counting, 40), counting).kinds["greedy"]
    n_positions = legality(counting_model(counting, 40), counting).n_positions
    assert all(kinds.values()) and kinds["ambiguous"] * n_positions > 3


def test_one_seed_gives_one_result_and_another_draws_other_moves(written):
    model, corpus = written
    first = legality(model, corpus, seed=3)
    again = legality(model, corpus, seed=3, batch_size=2)
    assert again.loss == pytest.approx(first.loss) and dataclasses.replace(again, loss=first.loss) == first
    others = [legality(model, corpus, seed=seed) for seed in (4, 5, 6)]
    assert any(other.legal_mass != first.legal_mass for other in others)
    assert all(other.kinds["greedy"] == first.kinds["greedy"] for other in others)


@pytest.mark.parametrize("name", MOVES + CHARACTERS)
def test_fewer_positions_a_game_are_spread_over_it_and_the_loss_counts_all(name, request):
    corpus = request.getfixturevalue(name)
    model = counting_model(corpus, 40) if name == "counting" else random_model(corpus)
    whole, few = legality(model, corpus), legality(model, corpus, positions_a_game=2)
    assert few.n_positions == 2 * whole.n_games
    assert (few.loss, few.loss_floor) == (whole.loss, whole.loss_floor)
    assert len(few.legal_rate_ply) == len(whole.legal_rate_ply)
    assert len(few.legal_rate_phase) > 1 and few.kinds != whole.kinds
    assert legality(model, corpus, positions_a_game=99) == whole


@pytest.mark.parametrize("name", ["tiny_corpus", "counting"])
def test_no_floor_is_known_of_players_that_are_not_all_random(name, request, monkeypatch):
    corpus = request.getfixturevalue(name)
    model = counting_model(corpus, 40) if name == "counting" else random_model(corpus)
    whole = legality(model, corpus)
    monkeypatch.setitem(vars(corpus), "config", {"players": ["random", "epsilon_greedy"]})
    assert legality(model, corpus) == dataclasses.replace(whole, loss_floor=None)
    monkeypatch.setitem(vars(corpus), "config", {})
    assert legality(model, corpus).loss_floor is None


def test_a_context_without_room_for_a_move_is_refused(counting):
    with pytest.raises(ValueError, match="none of 10 test games has a move that this model can predict"):
        legality(counting_model(counting, 4), counting)


class Oracle:
    """Stands in for a GPT: plays uniformly among the legal moves of the positions of one split, and no other."""

    def __init__(self, corpus, split):
        self.device, self.size, self.table = torch.device("cpu"), len(corpus.alphabet), {}
        self.cfg = GPTConfig(n_layers=1, d_model=1, n_heads=1, d_vocab=self.size, n_ctx=corpus.n_ctx)
        game, ids = corpus.game, {token: i for i, token in enumerate(corpus.alphabet)}
        for text in game.texts(corpus.record(corpus.games(split))):
            read = ()
            for position, written in zip(game.replay(text), game.split(text), strict=False):
                self.table[read] = [ids[game.move_text(position, move)] for move in game.legal_moves(position)]
                read += (ids[written],)

    def __call__(self, tokens_BL):
        logits_BLV = torch.zeros(*tokens_BL.shape, self.size)
        for game, row in enumerate(tokens_BL.tolist()):
            for place in range(len(row)):
                legal = self.table.get(tuple(row[: place + 1]))
                if legal is not None:
                    logits_BLV[game, place] = -torch.inf
                    logits_BLV[game, place, legal] = 0.0
        return logits_BLV


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", MOVES)
def test_uniform_play_of_the_rules_is_always_legal_and_reaches_the_floor(name, request):
    corpus = request.getfixturevalue(name)
    found = legality(dataclasses.replace(random_model(corpus), gpt=Oracle(corpus, "test")), corpus)
    assert found.legal_rate == 1.0 and set(found.legal_rate_ply) == {1.0} and found.interval == (1.0, 1.0)
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
