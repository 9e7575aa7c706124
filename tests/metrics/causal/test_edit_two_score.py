"""Edits of two squares where the right answer is planted, and what they set on real boards."""

import numpy as np
import pytest
from planted import perfect_sae, permuted_sae, planted
from planted_player import plays_by_its_board

from boardgame_sae.games import load_game
from boardgame_sae.metrics.causal.boards import EMPTY, OF_TWO, contents_of, edits_of
from boardgame_sae.metrics.causal.edit_score import EditConfig, edit_score
from boardgame_sae.metrics.causal.edit_two_score import edit_two_score, edits_of_two
from boardgame_sae.metrics.subject import Subject

CFG = EditConfig(n_train=60, n_validation=36, n_games=25)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    with pytest.MonkeyPatch.context() as monkeypatch:
        plays_by_its_board(monkeypatch)
        yield planted(tiny_corpus, properties=("board",), n_games=60, width=128, noise=0.02)


@pytest.fixture(scope="module")
def scored(bed):
    sae = perfect_sae(bed)
    subjects = {
        name: Subject(name, "sae", one, bed) for name, one in (("perfect", sae), ("permuted", permuted_sae(sae)))
    }
    return {name: (edit_two_score(one, CFG), edit_score(one, CFG)) for name, one in subjects.items()}


def test_where_directions_are_planted_both_squares_are_set_and_random_ones_do_nothing(scored):
    value, _ = scored["perfect"]
    assert value.value == value.parts["probe"] == value.parts["move"] == value.parts["probe_swap"] == 1
    assert value.parts["errors"] == value.parts["clean_errors"] == 0 < value.parts["null_errors"]
    assert value.parts["greedy_legality"] == value.parts["probe_greedy_legality"] == 1
    assert abs(value.parts["random_direction"]) < 0.25
    assert scored["permuted"][0].value < 0.4
    assert scored["permuted"][0].parts["probe"] == 1


def test_both_kinds_make_up_the_value_and_nothing_is_chosen_anew(bed, scored):
    edits, outcomes = bed.once(edits_of_two, CFG)
    for two, _ in scored.values():
        null = {kind: outcomes["null"].error_N[edits.kind_N == number].sum() for number, kind in enumerate(OF_TWO)}
        by_hand = sum(null[kind] * two.parts[kind] for kind in OF_TWO) / sum(null.values())
        assert two.value == pytest.approx(by_hand)
        assert two.details["n_edits"] == {kind: int((edits.kind_N == n).sum()) for n, kind in enumerate(OF_TWO)}


@pytest.mark.parametrize("kind", OF_TWO)
@pytest.mark.parametrize(("name", "ply"), [("othello6", 11), ("chess", 9)])
def test_a_move_takes_what_stands_somewhere_to_an_empty_square_and_a_swap_exchanges_two(name, ply, kind):
    game = load_game(name)
    (moves,) = game.play_games(np.arange(1, dtype=np.uint64))
    moves = moves[: ply + 1].tolist()
    positions = list(game.positions(moves))
    (contents,) = contents_of(game, moves, [ply])
    found = set()
    for edit in edits_of(game, positions, moves, ply, kind):
        (first, a, b), (second, c, d) = edit.changes
        assert first != second and (a, b) == (d, c) == (contents[first], contents[second]) and a != b
        assert ((a, b).count(EMPTY) == 1) == (kind == "move")
        before, after = game.cells(positions[ply]), list(game.cells(edit.position))
        after[first], after[second] = after[second], after[first]
        assert after == list(before)
        assert edit.legal == game.legal_moves(edit.position) != game.legal_moves(positions[ply])
        found.add((first, second))
    assert len(found) > 5
