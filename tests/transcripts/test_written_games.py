"""What a corpus of written games can have and one of Othello has not: marked places, columns, a token 0."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_packing import Made
from toy_game import Toy

from boardgame_sae.activations.store import harvest
from boardgame_sae.files import read_json
from boardgame_sae.games import load_game, registry
from boardgame_sae.metrics.saebench.core.splice import CleanRun
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT
from boardgame_sae.model.train import gpt_config, model_card
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.probes.fit import ProbeConfig, probe_results, probe_run
from boardgame_sae.testbeds import testbed as module
from boardgame_sae.testbeds.testbed import Testbed, load_testbed
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.corpus_writer import write_corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run
from boardgame_sae.transcripts.labels import positions, property_labels, resolve_read_at
from boardgame_sae.transcripts.tokenization import MoveTokens

CFG = TrainGPTConfig(n_layers=2, d_model=8, n_heads=2)
MADE = Made(validation_fraction=0.3, test_fraction=0.3)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """The toy game is known while a test of this file runs."""
    monkeypatch.setitem(registry._FACTORIES._known, "toy", Toy)
    monkeypatch.setattr(registry, "_LOADED", {})


@pytest.fixture
def record():
    return load_game("toy").play_games(np.arange(120, dtype=np.uint64))


@pytest.fixture
def corpus(record, tmp_path):
    columns = {"skill": np.arange(120) % 10, "site": np.array([b"lichess", b"otb"] * 60)}
    write_corpus(tmp_path / "corpus.h5", record, MADE, "toy", columns)
    return Corpus.open(tmp_path)


def model_of(corpus, n_ctx=None):
    cfg = replace(CFG, n_ctx=n_ctx)
    return GameModel(GPT(gpt_config(corpus, cfg), seed=1).eval(), model_card(corpus, cfg, f"model {n_ctx}"))


def texts(corpus, games_B):
    return corpus.game.texts(corpus.record(games_B))


# The game


def test_a_game_is_played_until_it_is_over_though_moves_are_left(record):
    game = load_game("toy")
    ends = [game.replay(text)[-1] for text in game.texts(record)]
    assert all(game.is_over(end) and game.legal_moves(end) for end in ends)
    assert {len(end) for end in ends} >= {4, 5, 6}


def test_a_corpus_is_tokenized_as_the_game_has_it_and_holds_the_spec(tmp_path):
    cfg = GenerateConfig(game="toy:longest=7", n_games=20)
    corpus = Corpus.open(generate_run(cfg, out=tmp_path / "run"))
    assert (corpus.tokenization, corpus.attributes["game"], corpus.n_ctx) == ("char", "toy:longest=7", 11)
    assert corpus.config["tokenization"] == "char" and corpus.game.options == {"longest": 7}
    moves = Corpus.open(generate_run(replace(cfg, tokenization="move"), out=tmp_path / "moves"))
    assert (moves.tokenization, moves.n_ctx) == ("move", 6)


# Columns


def test_columns_are_stored_beside_the_games_own_and_mapped(corpus, record):
    assert corpus.arrays["games/skill"].tolist() == [i % 10 for i in range(120)]
    assert corpus.arrays["games/site"].dtype == "S7" and corpus.arrays["games/site"][:2].tolist() == [
        b"lichess",
        b"otb",
    ]
    assert np.array_equal(corpus.arrays["games/length"], record.lengths)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"skill": np.arange(3)}, "column 'skill' is int64 of shape .3,.; 120 games need an entry each, int64"),
        ({"skill": np.arange(120, dtype=np.int8)}, "column 'skill' is int8 of shape .120,.; .* int64"),
        ({"length": np.arange(120)}, "toy declares no column 'length'"),
        ({"elo": np.arange(120)}, "toy declares no column 'elo' of its games; its `columns` must name it"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(record, tmp_path, columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        write_corpus(tmp_path / "corpus.h5", record, MADE, "toy", columns)
    assert not (tmp_path / "corpus.h5").exists()


def test_boards_know_what_the_corpus_knows_of_their_games(corpus, record, tmp_path):
    games_B = np.array([17, 3, 88])
    assert sorted(set(corpus.boards(games_B).skill_N)) == [3, 7, 8]
    where = positions(corpus, games_B)
    skilled = property_labels(corpus, where, ["strong"])["strong"][:, 0]
    assert np.array_equal(skilled, np.array([7, 3, 8])[where.game_N] > 5)
    write_corpus(tmp_path / "plain.h5", record, MADE, "toy")
    assert not Corpus.open(tmp_path / "plain.h5").boards(games_B).skill_N.any()
    assert load_game("toy").property("strong").needs == "skill" and not load_game("toy").property("odd").needs


# Positions


def dots(text):
    """(token, plies complete) of every dot of a written game."""
    return [(i, sum(map(str.isalpha, text[:i]))) for i, mark in enumerate(text) if mark == "."]


def test_positions_are_the_marks_asked_for_or_by_default_the_games(corpus):
    games_B = np.array([5, 0, 7])
    by_default, dot, ply = (positions(corpus, games_B, place) for place in (None, "dot", "ply"))
    expected = [(b, *both) for b, text in enumerate(texts(corpus, games_B)) for both in dots(text)]
    for where in (by_default, dot):
        found = zip(where.game_N.tolist(), where.token_N.tolist(), where.ply_N.tolist(), strict=True)
        assert list(found) == expected
    assert (dot.ply_N[np.flatnonzero(dot.token_N == 1)] == 0).all()
    written = [(b, i) for b, text in enumerate(texts(corpus, games_B)) for i, c in enumerate(text) if c.isalpha()]
    assert list(zip(ply.game_N.tolist(), ply.token_N.tolist(), strict=True)) == [x for x in written if x[1] < 18]


def test_an_unknown_place_is_refused_with_those_there_are(corpus):
    with pytest.raises(ValueError, match="no positions 'comma'; with one token per character: ply, token, dot"):
        positions(corpus, np.arange(2), "comma")
    with pytest.raises(ValueError, match="no positions 'dot'; with one token per move: ply, token"):
        resolve_read_at(corpus.game, MoveTokens(), "dot")
    assert resolve_read_at(corpus.game, MoveTokens()) == "ply"


# Contexts


@pytest.mark.parametrize("n_ctx", [4, 18, 40])
def test_a_model_reads_as_much_as_its_own_context_holds(corpus, n_ctx):
    assert corpus.n_ctx == 18
    model, games_B = model_of(corpus, n_ctx), corpus.games("test")[:20]
    lengths = [min(len(text), n_ctx) for text in texts(corpus, games_B)]
    assert len(harvest(model, corpus, "blocks.0.hook_resid_post", games_B)) == sum(lengths)
    tokens_BL, plies_BL = corpus.rows(games_B, n_ctx)
    assert tokens_BL.shape == (20, n_ctx + 1) and (plies_BL >= 0).sum() == sum(
        min(len(text), n_ctx + 1) for text in texts(corpus, games_B)
    )
    for place in ("dot", "ply"):
        bed = Testbed(model, corpus, n_games=20, positions=place)
        where = bed.positions("test")
        full = positions(corpus, games_B, place, 100)
        assert np.array_equal(where.token_N, full.token_N[full.token_N < n_ctx])
        assert len(bed.activations("test")) == len(bed.labels("test")) == len(where)
    reference = CleanRun(bed, 10**6)
    assert reference.n_tokens == corpus.n_read(corpus.games("test"), n_ctx).sum()


def test_token_0_is_read_and_predicted_like_any_other(corpus):
    model, games_B = model_of(corpus), corpus.games("test")
    row, text = next((row, text) for row, text in enumerate(texts(corpus, games_B)) if "aa" in text)
    tokens_1L = torch.tensor([[corpus.alphabet.index(letter) for letter in text]])
    assert 0 in tokens_1L
    seen = []
    model.gpt(tokens_1L, {"blocks.1.hook_resid_post": seen.append})
    found = harvest(model, corpus, "blocks.1.hook_resid_post", games_B[row : row + 1])
    torch.testing.assert_close(found, seen[0][0], rtol=1e-4, atol=1e-6)
    losses = []
    for each in texts(corpus, games_B):
        row = torch.tensor([[corpus.alphabet.index(letter) for letter in each]])
        losses += torch.nn.functional.cross_entropy(model.gpt(row[:, :-1])[0], row[0, 1:], reduction="none").tolist()
    assert abs(CleanRun(Testbed(model, corpus), 10**6).clean.cross_entropy - np.mean(losses)) < 1e-5


# Testbeds


def test_a_testbed_remembers_where_it_reads_boards(corpus, tmp_path):
    model = model_of(corpus)
    model.save(tmp_path / "model")
    beds = {}
    for place in (None, "dot", "ply"):
        made = {"positions": place, "out": tmp_path / str(place), "device": "cpu"}
        beds[place] = load_testbed(module.testbed_run(tmp_path / "model", corpus.path, n_games=20, **made), "cpu")
    assert {place: bed.read_at for place, bed in beds.items()} == {None: "dot", "dot": "dot", "ply": "ply"}
    assert beds[None].hash == beds["dot"].hash != beds["ply"].hash
    assert beds["ply"].random_twin().at("blocks.0.hook_resid_post").read_at == "ply"
    with pytest.raises(ValueError, match="no positions 'comma'"):
        Testbed(model, corpus, positions="comma")


def test_probes_are_fitted_where_boards_are_read(corpus, tmp_path):
    model = model_of(corpus, n_ctx=9)
    made = {"property": "odd", "n_train_games": 20, "n_test_games": 20, "games_a_step": 10}
    folders = {
        place: probe_run(model, corpus, ProbeConfig(positions=place, **made), out=tmp_path / str(place))
        for place in (None, "dot", "ply")
    }
    names = {place: read_json(folder / "run.json")["config"]["positions"] for place, folder in folders.items()}
    assert names == {None: "dot", "dot": "dot", "ply": "ply"}
    default, dot, ply = (probe_results(folder) for folder in folders.values())
    assert default == dot != ply
    with pytest.raises(ValueError, match="no positions 'comma'"):
        probe_run(model, corpus, ProbeConfig(positions="comma", **made), out=tmp_path / "refused")
