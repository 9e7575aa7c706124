import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from boardgame_sae.activations.branches import Branches
from boardgame_sae.activations.hook_points import read
from boardgame_sae.config import ConfigError
from boardgame_sae.games import MoveRecord, load_game
from boardgame_sae.metrics.causal.boards import contents_of, set_square
from boardgame_sae.metrics.causal.probe_edits import board_probes
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.studies.faithfulness.asked import Asked, FaithfulnessStudy
from boardgame_sae.studies.faithfulness.boards_read import boards_read, chosen_positions, position_with
from boardgame_sae.studies.faithfulness.errors import (
    consistency,
    consistency_of_texts,
    disagreement,
    elsewhere,
    follows,
)
from boardgame_sae.studies.faithfulness.evaluation import Evaluator, own_values, rank
from boardgame_sae.studies.faithfulness.study import faithfulness
from boardgame_sae.studies.faithfulness.transpositions import FAR, OTHER, SAME, drawn_pairs, pairs_of, total_variation
from boardgame_sae.studies.study import Setting, write_tables
from boardgame_sae.testbeds.testbed import Testbed

GAME = load_game("othello6")
SMALL = {"n_train": 60, "n_validation": 20, "n_games": 30, "n_samples": 2, "n_evaluated": 20, "n_played": 10}


@pytest.fixture(scope="module")
def wrong_boards():
    """Positions, and for each two boards on which one disc is of the other colour, apart from each other."""
    rng, found = np.random.default_rng(0), []
    for moves in GAME.play_games(np.arange(25, dtype=np.uint64)):
        positions = list(GAME.positions(moves.tolist()))
        for ply in range(8, 24, 2):
            (contents,) = contents_of(GAME, moves.tolist(), [ply])
            discs = rng.permutation([square for square, content in enumerate(contents) if content != "empty"])
            turned = [
                set_square(GAME, positions[ply], int(square), "yours" if contents[square] == "mine" else "mine")
                for square in discs[:2]
            ]
            if all(GAME.legal_moves(one) for one in (positions[ply], *turned)):
                found.append((positions[ply], *turned))
    return found


def legal_of(positions):
    legal_NV = np.zeros((len(positions), len(GAME.alphabet)), bool)
    for row, position in enumerate(positions):
        legal_NV[row, GAME.move_tokens(MoveRecord.of([GAME.legal_moves(position)]))] = True
    return legal_NV


def contents(position):
    own = "b" if GAME.mover(position) else "w"
    seen = {".": "empty", own: "mine"}
    return np.array([GAME.contents.index(seen.get(cell, "yours")) for cell in GAME.cells(position)])


def shuffled(true, read, n=5):
    """Boards with the same mistakes elsewhere: n for each position."""
    rng, boards = np.random.default_rng(1), []
    for position, as_read in zip(true, read, strict=True):
        others = [elsewhere(contents(position), contents(as_read), rng) for _ in range(n)]
        boards.append([position_with(GAME, position, range(36), content_S) for content_S in others])
    return boards


def test_a_model_that_follows_its_wrong_board_is_told_from_one_that_contradicts_it(wrong_boards):
    true, read, other = zip(*wrong_boards, strict=True)
    legal_NV, read_NV, other_NV = legal_of(true), legal_of(read), legal_of(other)
    elsewhere_NV = np.mean([legal_of(part) for part in zip(*shuffled(true, read), strict=True)], 0)
    consistent, expected, sides = {}, {}, {}
    for name, plays_NV in (("follows", read_NV), ("contradicts", other_NV), ("is right", legal_NV)):
        p_NV = plays_NV / plays_NV.sum(1, keepdims=True)
        found = consistency(p_NV, legal_NV, read_NV, elsewhere_NV)
        consistent[name], expected[name] = (
            part.sum() / max(found.error_N.sum(), 1e-9) for part in (found.consistent_N, found.expected_N)
        )
        above, below = follows(p_NV, legal_NV, read_NV)
        sides[name] = above.sum() / below.sum()
    assert consistent["follows"] == pytest.approx(1) and consistent["is right"] == 0
    assert expected["follows"] < 0.4 and consistent["contradicts"] < 0.4
    assert abs(consistent["contradicts"] - expected["contradicts"]) < 0.15
    assert sides["follows"] == 1 and sides["is right"] == 0 and 0 < sides["contradicts"] < 0.2


def test_moves_as_texts_are_judged_like_tokens(wrong_boards):
    true, read, other = (list(part) for part in zip(*wrong_boards, strict=True))
    boards, legal_NV, read_NV = shuffled(true, read), legal_of(true), legal_of(read)
    elsewhere_NV = np.mean([legal_of(part) for part in zip(*boards, strict=True)], 0)
    for played in (read, other):
        written = [[GAME.move_text(one, move) for move in GAME.legal_moves(one)] for one in played]
        found = consistency_of_texts(GAME, true, dict(enumerate(read)), dict(enumerate(boards)), written)
        same = consistency(legal_of(played).astype(float), legal_NV, read_NV, elsewhere_NV)
        for one, two in zip(found, same, strict=True):
            np.testing.assert_allclose(one, two)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20), st.integers(0, 99))
def test_the_same_mistakes_are_made_elsewhere(squares, seed):
    true_S, read_S = (np.array(part) for part in zip(*squares, strict=True))
    moved_S = elsewhere(true_S, read_S, np.random.default_rng(seed))
    pairs = [sorted(zip(true_S.tolist(), part.tolist(), strict=True)) for part in (read_S, moved_S)]
    assert pairs[0] == pairs[1]
    if (true_S == read_S).all():
        assert (moved_S == true_S).all()


def test_layers_disagree_on_the_squares_where_not_all_read_the_same():
    read_HNS = np.array([[[0, 1, 2, 0]], [[0, 1, 2, 1]], [[0, 2, 2, 2]], [[2, 2, 2, 2]]])
    assert disagreement(read_HNS, [0, 1]).tolist() == [0.25] and disagreement(read_HNS, [0, 1, 2]).tolist() == [0.5]
    assert disagreement(read_HNS, [1]).tolist() == [0]


def test_a_board_that_is_read_is_set_square_by_square_where_the_rules_know_it():
    moves = GAME.play_games(np.array([5], np.uint64))[[0]].moves_M.tolist()
    position, (contents,) = GAME.position_after(moves[:11]), contents_of(GAME, moves, [11])
    content_S = np.array([GAME.contents.index(content) for content in contents])
    wanted_S = np.roll(content_S, 1)
    assert position_with(GAME, position, [], content_S) is position
    made = position_with(GAME, position, np.flatnonzero(wanted_S != content_S), wanted_S)
    other = "wb" if GAME.mover(position) else "bw"
    shown = {"mine": other[1], "yours": other[0], "empty": "."}
    assert GAME.cells(made) == "".join(shown[GAME.contents[content]] for content in wanted_S)
    chess = load_game("chess")
    empty_S = np.full(64, chess.contents.index("empty"))
    assert chess.cells(position_with(chess, chess.start(), range(64), empty_S)).replace(".", "") == "Kk"


def test_transpositions_lead_to_the_same_position_and_other_orders_to_another():
    chess = load_game("chess")
    (moves,) = chess.record([";1.e4 e5 2.Nf3 Nc6 3.Bc4 Nf6"])
    by_kind = {pair.kind: pair for pair in pairs_of(chess, moves.tolist(), 4, 0, np.random.default_rng(0))}
    assert by_kind[SAME].first[:4] != by_kind[SAME].second[:4]
    reached = [chess.position_after(side[:4]) for side in by_kind[SAME][3:]]
    assert chess.cells(reached[0]) == chess.cells(reached[1])
    assert [len(side) for side in by_kind[SAME][3:]] == [5, 5]
    record = GAME.play_games(np.arange(9, dtype=np.uint64))
    pairs = drawn_pairs(GAME, record, [[8, 9, 10]] * 9, 0)
    assert {pair.kind for pair in pairs} == {SAME, OTHER, FAR}
    for pair in pairs:
        one, two = (GAME.position_after(side) for side in (pair.first[:-1], pair.second[:-1]))  # raises if illegal
        assert one.ply == two.ply == pair.ply and pair.second[-1] in GAME.legal_moves(two)
        assert (GAME.cells(one) == GAME.cells(two)) is (pair.kind == SAME)
        if pair.kind != FAR:
            assert sorted(pair.first[:-1]) == sorted(pair.second[:-1]) and one.mover == two.mover
            assert pair.first[: pair.ply] != pair.second[: pair.ply]
    assert total_variation(np.array([[0.5, 0.5, 0]]), np.array([[0, 0.5, 0.5]])).tolist() == [0.5]


def test_chosen_positions_are_followed_by_a_move_and_at_most_so_many_of_a_game(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=40)
    every, few = (chosen_positions(bed, "test", 30, n, 0) for n in (None, 2))
    lengths_B = tiny_corpus.record(every.games_B).lengths
    assert (every.ply_N < lengths_B[every.game_N]).all() and len(every) == (lengths_B - 1).sum()
    assert np.bincount(few.game_N, minlength=30).max() == 2 and (np.diff(few.game_N) >= 0).all()


def test_boards_are_read_where_they_are_and_predictions_are_the_models(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=200)
    probes, where = board_probes(bed, 150), chosen_positions(bed, "test", 20, 3, 0)
    found = boards_read(tiny_model.gpt, tiny_corpus, where, probes)
    tokens_BL = torch.from_numpy(tiny_corpus.rows(where.games_B)[0][:, :-1])
    logits_NV = tiny_model.gpt(tokens_BL)[where.game_N, where.token_N].detach().double()
    torch.testing.assert_close(found.logits_NV, logits_NV)
    acts_ND = read(tiny_model.gpt, tokens_BL, ["blocks.1.hook_resid_post"])["blocks.1.hook_resid_post"]
    outputs = probes.probes["blocks.1.hook_resid_post"].logits(acts_ND[where.game_N, where.token_N])
    assert (found.read_HNS[1] == outputs.argmax(-1).numpy()).all() and found.right_H[1] > 0.5
    game = tiny_corpus.game
    for row in range(0, len(where), 7):
        (contents,) = contents_of(game, tiny_corpus.record([where.games_B[where.game_N[row]]]).moves_M.tolist(),
                                  [where.ply_N[row]])  # fmt: skip
        assert [game.contents[content] for content in found.true_NS[row]] == contents


@pytest.fixture(scope="module")
def writer(tiny_corpus_char):
    """An untrained model that writes moves, on its testbed."""
    corpus = tiny_corpus_char
    cfg = GPTConfig(n_layers=2, d_model=16, n_heads=2, d_vocab=len(corpus.alphabet), n_ctx=corpus.n_ctx)
    card = {"game": corpus.game.name, "tokenization": "char", "alphabet": list(corpus.alphabet), "hash": "untrained"}
    return Testbed(GameModel(GPT(cfg, seed=1).eval(), card), corpus, "blocks.0.hook_resid_post", n_games=60)


def test_a_moves_own_evaluation_is_read_where_the_move_is_complete(writer):
    tokens_BL = torch.from_numpy(writer.corpus.rows(writer.corpus.games("test")[:3])[0][:, :-1])
    of = Evaluator("blocks.1.hook_resid_post", np.random.default_rng(0).normal(size=16), 0.3, 1.0)
    texts = ["a1", "b3", "c4"]
    with torch.no_grad():
        values = own_values(of, writer, Branches(writer.model.gpt, tokens_BL), 1, 5, texts)
        for text, value in zip(texts, values, strict=True):
            ids = [*tokens_BL[1, :6].tolist(), *(writer.corpus.alphabet.index(c) for c in text)]
            acts_D = read(writer.model.gpt, torch.tensor([ids]), [of.hook_name])[of.hook_name][0, -1].numpy()
            assert value == pytest.approx(-of.value(acts_D[None])[0], abs=1e-4)
    assert [rank(value, np.array([1.0, 2.0, 3.0, 3.0])) for value in (1.0, 2.0, 3.0)] == [0.125, 0.375, 0.75]


def test_ranks_are_of_legal_moves_and_of_those_that_were_played(writer):
    asked = Asked(FaithfulnessStudy(**SMALL), writer, 0)
    asked.__dict__["evaluator"] = Evaluator("blocks.1.hook_resid_post", np.ones(16), 0.0, 1.0)
    found = asked.ranks
    assert len(found.own_M) == len(found.game_M) and ((found.played_M > 0) & (found.played_M < 1)).all()


def test_a_game_without_a_search_is_refused_before_anything_is_read(writer, tmp_path):
    corpus = type(writer.corpus)(writer.corpus.path, writer.corpus.attributes, writer.corpus.arrays)
    corpus.__dict__["config"] = {**corpus.config, "players": ["epsilon_greedy:epsilon=0.2"]}
    with pytest.raises(ConfigError, match="othello4 has no built-in player"):
        faithfulness(FaithfulnessStudy(**SMALL), Setting(tmp_path, Testbed(writer.model, corpus), "cpu"))


@pytest.mark.parametrize("written", [False, True])
def test_the_study_runs_on_models_of_whole_and_of_written_moves(written, tiny_model, tiny_corpus, writer, tmp_path):
    bed = writer if written else Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=60)
    plan = faithfulness(FaithfulnessStudy(**SMALL, per_game=2, seeds=(0, 1)), Setting(tmp_path, bed, "cpu"))
    rows = [compute() for compute in plan.rows]
    write_tables(tmp_path, rows, plan)
    assert isinstance(plan.figure(rows), Figure)
    assert sum("value" in row for row in rows) >= len(rows) - 1
    same = next(row for row in rows if row["what"].startswith(SAME) and row["beside"] == "true boards")
    assert same["control"] == 1
