"""A model plays many games at once: by the rules, alone as in company; and how its play is judged."""

import numpy as np
import pytest
from planted_mover import BAD, BEGUN, GOOD, HOOK, PLANTED, planted_mover

from boardgame_sae.config import ConfigError
from boardgame_sae.games import MoveRecord
from boardgame_sae.metrics.causal.steering.playing import Played, play_against
from boardgame_sae.metrics.causal.steering.strength import Exam, results
from boardgame_sae.metrics.causal.steering.vectors import adding, random_vector
from boardgame_sae.metrics.causal.steering.writing import prompt_of
from boardgame_sae.players.registry import make_player

RANDOM = make_player("random")


@pytest.fixture(scope="module")
def mover():
    return planted_mover()


def played(model, size=0.0, vector=PLANTED, n=3, temperature=0.0, max_plies=3):
    openings, hooks = model.game.record([BEGUN] * n), adding({HOOK: size * vector})
    return play_against(model, RANDOM, openings, range(n), max_plies=max_plies, temperature=temperature, hooks=hooks)


def test_play_changes_along_the_planted_direction_and_along_no_other(mover):
    text = {size: mover.game.texts(played(mover, size).record)[0] for size in (0, 10, -10)}
    assert text == {0: f";{BEGUN} 2.{BAD}", 10: f";{BEGUN} 2.{GOOD}", -10: f";{BEGUN} 2.{BAD}"}
    for seed in range(10):
        steered = played(mover, 10, random_vector(PLANTED, seed))
        assert mover.game.texts(steered.record)[0] == text[0]


def test_the_exam_says_what_the_planted_move_saves(mover):
    plain = played(mover)
    exam = Exam(mover.game, plain, range(3), depth=2)
    lost = {size: exam.taken_by(mover, adding({HOOK: size * PLANTED})) for size in (0, 10, -10)}
    assert lost[0].estimate("lost").value > 700 > 50 > lost[10].estimate("lost").value
    assert lost[-10].estimate("lost") == lost[0].estimate("lost")
    assert [lost[size].estimate("changed").value for size in (0, 10, -10)] == [0, 1, 0]
    saved = lost[0].less(lost[10], "lost")
    assert saved.value > 650 and saved.interval == (saved.value, saved.value)  # all games are the same
    random = exam.taken_by(mover, adding({HOOK: 10 * random_vector(PLANTED, 0)}))
    assert lost[0].less(random, "lost").value == 0


def test_the_end_is_judged_and_a_model_without_a_legal_move_has_lost(mover):
    assert results(mover.game, played(mover, 10), 2).estimate("points").value == 0.5  # Black takes back
    assert results(mover.game, played(mover), 2).estimate("points").value == 0
    longer = played(mover, 10, max_plies=30)  # it writes nothing that makes sense at its next move
    assert longer.forfeited_B.all() and (longer.record.lengths == 4).all()
    assert results(mover.game, longer, 2).estimate("points").value == 0
    exam = Exam(mover.game, longer, range(3), depth=2).taken_by(mover, adding({HOOK: 10 * PLANTED}))
    assert exam.sums["moves"].tolist() == [2] * 3 and exam.estimate("legal").value == 0.5
    assert exam.estimate("lost").value >= 500 and exam.estimate("changed").value == 0


def test_a_mate_given_wins_and_a_game_that_is_over_ends(mover):
    mated = mover.game.record(["1.f3 e5 2.g4 Qh4#", "1.e4 e5 2.Bc4 Nc6 3.Qh5 Nf6 4.Qxf7#"])
    ends = results(mover.game, Played(mated, np.zeros(2, int), np.zeros(2, bool)), 1)
    assert ends.sums["won"].tolist() == [0, 1] and ends.sums["points"].tolist() == [0, 1]
    over = play_against(mover, RANDOM, mated, [1, 2], max_plies=30)
    assert over.record.lengths.tolist() == mated.lengths.tolist() and not over.forfeited_B.any()


def test_the_games_positions_give_the_games_moves_also_when_they_are_sampled(mover):
    sampled = played(mover, n=30, temperature=1.0, max_plies=5)
    assert len(set(mover.game.texts(sampled.record))) > 1
    exam = Exam(mover.game, sampled, range(30), depth=1, temperature=1.0).taken_by(mover)
    assert exam.estimate("changed").value == 0


def test_a_game_is_the_same_alone_and_in_company(tiny_model, tiny_corpus):
    openings = tiny_corpus.record(tiny_corpus.games("test")[:12]).cut(3)
    seeds = [7 * place for place in range(12)]
    for temperature in (0.0, 1.0):
        settings = {"max_plies": 12, "temperature": temperature}
        together = play_against(tiny_model, RANDOM, openings, seeds, **settings)
        for place, moves in enumerate(together.record):
            alone = play_against(tiny_model, RANDOM, openings[place], seeds[place : place + 1], **settings)
            assert alone.record.moves_M.tolist() == moves.tolist()
            assert alone.forfeited_B[0] == together.forfeited_B[place]
        tiny_model.game.boards(together.record)  # raises at an illegal move
        assert (together.record.lengths > 3).any()


def test_prompts_are_what_comes_before_a_move(mover, tiny_model):
    def prompt(model, moves):
        codes = model.game.record([moves]).moves_M.tolist()
        return "".join(model.alphabet[i] for i in prompt_of(model, codes, model.game.position_after(codes)))

    assert [prompt(mover, moves) for moves in ("", "1.e4", "1.e4 e5")] == [";1.", ";1.e4 ", ";1.e4 e5 2."]
    assert prompt(tiny_model, "b1") == "b1"
    with pytest.raises(ValueError, match="a model of whole moves reads a move before it writes one"):
        prompt(tiny_model, "")


def test_games_without_a_built_in_search_are_not_judged(tiny_model):
    none = Played(MoveRecord.of([[]]), np.zeros(1, int), np.zeros(1, bool))
    for judge in (lambda: results(tiny_model.game, none, 1), lambda: Exam(tiny_model.game, none, [0], depth=1)):
        with pytest.raises(ConfigError, match="has no built-in player"):
            judge()
