"""Board edits where the right answer is planted, and by hand on a real GPT."""

import numpy as np
import pytest
import torch
from planted import perfect_sae, permuted_sae, planted
from planted_player import plays_by_its_board

from boardgame_sae.games import load_game
from boardgame_sae.metrics.causal.boards import edits_of
from boardgame_sae.metrics.causal.edit_score import EditConfig, edit_plan, edit_score
from boardgame_sae.metrics.causal.edits import Outcomes, drawn, legal_tokens, top_errors
from boardgame_sae.metrics.causal.inner_board import Intervention, seen_by_the_other
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

CFG = EditConfig(n_train=60, n_validation=36, n_games=25)


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as monkeypatch:
        plays_by_its_board(monkeypatch)
        yield


@pytest.fixture(scope="module")
def bed(tiny_corpus, patched):
    return planted(tiny_corpus, properties=("board",), n_games=60, width=128, noise=0.02)


@pytest.fixture(scope="module")
def scored(bed):
    sae = perfect_sae(bed)
    saes = {"perfect": sae, "permuted": permuted_sae(sae)}
    return {name: edit_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_planted_direction_makes_the_edit_perfect_and_a_random_one_does_nothing(scored):
    value = scored["perfect"]
    assert value.value == value.parts["latents_set"] == value.parts["probe"] == 1
    assert value.parts["errors"] == value.parts["clean_errors"] == 0 < value.parts["null_errors"]
    assert value.parts["greedy_legality"] == value.parts["probe_greedy_legality"] == 1
    assert abs(value.parts["random_direction"]) < 0.25 and abs(value.parts["probe_random_direction"]) < 0.25
    assert value.parts["probe_other_square"] < 0.3
    assert scored["permuted"].value < 0.4
    assert scored["permuted"].parts["probe"] == 1


def test_choices_do_not_look_at_test_games(tiny_corpus, patched, scored, bed):
    other = planted(tiny_corpus, properties=("board",), n_games=60, width=128, noise=0.02)
    other.once(drawn, "test", CFG.n_games, CFG.seed).asking.spoilt = True
    value = edit_score(Subject("perfect", "sae", perfect_sae(other), other), CFG)
    for key in ("chosen", "best", "probe_chosen", "probe_best", "validation_errors"):
        assert value.details[key] == scored["perfect"].details[key]
    assert value.value < scored["perfect"].value


def test_every_edit_changes_the_legal_moves_and_nothing_else(bed):
    plan, game = bed.once(edit_plan, CFG), bed.corpus.game
    for edits in (plan.validation, plan.test):
        assert len(edits) == len(edits.before) == len(edits.row_N) >= 10
        for edit, before, row in zip(edits.edits, edits.before, edits.row_N, strict=True):
            assert edit.legal == game.legal_moves(edit.position) != game.legal_moves(before)
            cells = game.cells(before), game.cells(edit.position)
            assert [s for s in range(16) if cells[0][s] != cells[1][s]] == [one.square for one in edit.changes]
            assert before.ply == edits.where.ply_N[row]
    assert not set(plan.validation.where.games_B) & set(plan.test.where.games_B)


def test_the_top_n_error_counts_wrong_and_missing_moves():
    rng = np.random.default_rng(0)
    logits_NV, legal_NV = torch.from_numpy(rng.integers(-3, 4, (60, 12))).float(), rng.random((60, 12)) < 0.3
    for n, found in enumerate(top_errors(logits_NV, legal_NV).tolist()):
        legal = {v for v in range(12) if legal_NV[n, v]}
        top = set(sorted(range(12), key=lambda v: (-float(logits_NV[n, v]), v))[: len(legal)])
        assert found == len(top - legal) + len(legal - top)


def test_natural_boards_are_reached_by_another_order_of_the_last_plies():
    game = load_game("othello6")
    found = 0
    for moves in game.play_games(np.arange(6, dtype=np.uint64)):
        moves = moves.tolist()
        positions = list(game.positions(moves))
        for edit in edits_of(game, positions, moves, 14, "natural"):
            found += 1
            boards, todo = set(), [(positions[9], moves[9:14])]
            while todo:
                position, left = todo.pop()
                if not left:
                    boards.add((game.cells(position), game.mover(position)))
                for place, move in enumerate(left):
                    if move in game.legal_moves(position):
                        todo.append((game.play(position, move), left[:place] + left[place + 1 :]))
            assert (game.cells(edit.position), game.mover(positions[14])) in boards
    assert found


@pytest.mark.parametrize("everywhere", [False, True])
@torch.no_grad()
def test_an_intervention_is_what_the_whole_game_gives_with_its_tokens_changed(tiny_model, tiny_corpus, everywhere):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=20)
    edits = drawn(bed, "test", 12, 0, None, ("replace",))
    direction_SCD = torch.randn(16, 3, 16, generator=torch.Generator().manual_seed(0))
    change = Intervention(
        {bed.hook_name: lambda x, s: direction_SCD[s.square_M, s.new_M] - direction_SCD[s.square_M, s.old_M]},
        everywhere,
    )
    logits_NV, gpt, other = edits.ask(change).logits_NV, bed.model.gpt, seen_by_the_other(("mine", "yours", "empty"))
    assert logits_NV is not None
    for n, row in enumerate(edits.row_N.tolist()):
        game, token = edits.where.game_N[row], edits.where.token_N[row]
        square, (old, new) = edits.square_SN[0, n], edits.content_2SN[:, 0, n]

        def hook(value, game=game, token=token, row=row, square=square, old=old, new=new):
            value = value.clone()
            for t in range(token + 1) if everywhere else [token]:
                same = edits.mover_N[row - token + t] == edits.mover_N[row]
                a, b = (old, new) if same else (other[old], other[new])
                value[0, t] += direction_SCD[square, b] - direction_SCD[square, a]
            return value

        whole_LV = gpt(edits.asking.tokens_BL[game][None], {bed.hook_name: hook})[0]
        torch.testing.assert_close(logits_NV[n], whole_LV[token], rtol=1e-4, atol=1e-5)


def test_legal_moves_as_tokens_are_those_of_the_batch(tiny_corpus, tiny_model):
    bed, game = Testbed(tiny_model, tiny_corpus, n_games=5), tiny_corpus.game
    moves = tiny_corpus.record(tiny_corpus.games("test")[:1])
    positions = list(game.positions(moves.moves_M.tolist()))
    by_hand = legal_tokens(bed, [game.legal_moves(position) for position in positions])
    assert (by_hand == game.legal_tokens(game.boards(moves))).all()


def test_what_cannot_be_edited_is_said(tiny_model, tiny_corpus):
    with pytest.raises(UnscorableError, match=r"only .* edits that change .* in 1 test games"):
        drawn(Testbed(tiny_model, tiny_corpus, n_games=5), "test", 1, 0)
    bed = Testbed(tiny_model, tiny_corpus, n_games=5, positions="token")
    with pytest.raises(UnscorableError, match="boards are read at every token"):
        drawn(bed, "test", 5, 0)


def test_contents_are_seen_the_other_way_round_by_the_other_player():
    assert seen_by_the_other(("mine", "yours", "empty")).tolist() == [1, 0, 2]
    assert seen_by_the_other(load_game("chess").contents).tolist() == list(range(12, -1, -1))


def test_a_model_that_no_edit_makes_wrong_is_not_scored(tiny_corpus, patched):
    bed = planted(tiny_corpus, properties=("board",), n_games=60, width=128, noise=0.02)
    edits = bed.once(drawn, "test", CFG.n_games, CFG.seed)
    object.__setattr__(edits, "outcomes", lambda answers, **_: Outcomes(*np.zeros((3, len(edits)), np.int64)))
    with pytest.raises(UnscorableError, match="makes no error on the edited boards"):
        edit_score(Subject("perfect", "sae", perfect_sae(bed), bed), CFG)
