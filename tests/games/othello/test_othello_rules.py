"""The fast engine against a slow one written apart from it, published perft tables, and games known by hand."""

from dataclasses import replace

import numpy as np
import pytest
from slow_othello import OTHER, SlowOthello

from boardgame_sae.games import IllegalMove, MoveRecord, load_game
from boardgame_sae.games.othello.rules import Rules

PERFT = [1, 4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]
VARIANTS = ("classic", "nomidflip", "delflank", "iago")
OF_6X6 = ("othello6_parallel", "othello6_straight")
NAMES = ("othello", "othello6", "othello4", *OF_6X6, *VARIANTS)
PASSES = ("implicit", "explicit")
GAMES = {"othello": 30, "othello6": 30, "othello4": 60}
CLOSED_BY_PASSES = {"classic": 3483, "nomidflip": 8398}
"""Seeds of games that end with a pass of each player."""
PASS_GAME = "e6f6d3e7e8d8g7f8"
"""Eight plies after which black, whose turn it would be, has no move: the earliest pass in 300,000 random games."""


def walk_slowly(slow, moves):
    """The slow engine's states through a game, checking that it may play each move."""
    states = [slow.start()]
    for code in moves.tolist():
        move = None if code == slow.size**2 else divmod(code, slow.size)
        assert move in slow.moves(states[-1])
        states.append(slow.play(states[-1], move))
    return states


def marked(slow, squares):
    grid = np.zeros((slow.size, slow.size), bool)
    for row, column in squares:
        grid[row, column] = True
    return grid


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("name", NAMES)
def test_boards_are_those_of_the_slow_engine(name, passes):
    game, slow = load_game(name, passes=passes), SlowOthello(name, passes)
    n_games = GAMES.get(name, 15)
    seeds = np.array([*range(n_games), *CLOSED_BY_PASSES.values()], np.uint64)
    record = MoveRecord.concatenate([game.play_games(seeds[1:]), game.play_games(seeds[:1], (0.2, 0.2))])
    boards = game.boards(record)
    labels = game.property_labels(boards, ["board", "legal_move", "flipped", "line"])
    row = 0
    for moves in record:
        states = walk_slowly(slow, moves)
        for ply, state in enumerate(states):
            mine, yours = state.mover, OTHER[state.mover]
            legal = {move for move in slow.moves(state) if move}
            for i, who in enumerate((mine, yours, ".")):
                assert (labels["board"][row, :, :, i] == (np.array(state.grid) == who)).all()
            assert boards.mover_N[row] == (mine == "b")
            assert (labels["legal_move"][row] == marked(slow, legal)).all()
            assert (labels["flipped"][row] == marked(slow, state.changed)).all()
            assert {(r, c, d, k + 1) for r, c, d, k in np.argwhere(labels["line"][row]).tolist()} == slow.lines(state)
            assert (boards.ply_N[row], boards.last_N[row]) == (ply, moves[ply - 1] if ply else -1)
            row += 1
        assert slow.moves(states[-1]) == []
        if name in VARIANTS:
            assert states[-1].steps == 60
    assert row == len(boards)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("name", NAMES)
def test_positions_played_one_by_one_are_those_of_the_slow_engine(name, passes):
    game, slow = load_game(name, passes=passes), SlowOthello(name, passes)
    moves = next(iter(game.play_games(np.array([5], np.uint64))))
    position = game.start()
    for state, code in zip(walk_slowly(slow, moves), [*moves.tolist(), None], strict=True):
        assert game.cells(position) == "".join("".join(line) for line in state.grid)
        assert [game.move_text(position, move) for move in game.legal_moves(position)] == [
            slow.write(move) for move in slow.moves(state)
        ]
        assert (position.mover, position.steps) == (state.mover == "b", state.steps)
        assert game.evaluate(position) == sum(
            (x == state.mover) - (x == OTHER[state.mover]) for line in state.grid for x in line
        )
        if code is not None:
            position = game.play(position, code)
    assert game.is_over(position)
    assert game.keeps(position)


def test_perft_is_the_published_table():
    assert [load_game("othello").perft(depth) for depth in range(10)] == PERFT
    assert load_game("othello", passes="explicit").perft(10) == 24571284


@pytest.mark.parametrize(
    ("name", "depth"),
    [("othello", 4), ("othello6", 5), ("othello4", 6), *((v, 4) for v in OF_6X6), *((v, 2) for v in VARIANTS)],
)
def test_perft_is_that_of_the_slow_engine(name, depth):
    slow = SlowOthello(name, "explicit")
    assert [load_game(name).perft(d) for d in range(depth + 1)] == [slow.perft(d) for d in range(depth + 1)]


def test_deep_perft_counts_finished_games_and_passes():
    game = load_game("othello4", passes="explicit")
    assert game.perft(game.max_plies) == 60060, "all games of 4x4 Othello, a known number"


def test_the_mover_stays_when_the_other_must_pass():
    game, written = (load_game("othello", passes=passes) for passes in PASSES)
    positions = game.replay(PASS_GAME)
    movers = [position.mover for position in positions]
    assert movers[:-1] == [ply % 2 == 0 for ply in range(len(movers) - 1)]
    assert movers[-1] == movers[-2]
    assert positions[-1].steps == len(movers)
    before = written.replay(PASS_GAME)[-1]
    assert written.legal_moves(before) == [64]
    after = written.replay(PASS_GAME + "--")[-1]
    assert (after.black, after.white, after.mover) == (positions[-1].black, positions[-1].white, positions[-1].mover)
    assert game.labels(PASS_GAME, ["legal_move"])["legal_move"][-1].any()
    with pytest.raises(IllegalMove):
        game.replay(PASS_GAME + "--")


def test_a_finished_game_belongs_to_the_opponent_of_the_last_mover():
    game = load_game("othello")
    record = game.play_games(np.arange(200, dtype=np.uint64))
    boards = game.boards(record)
    ends = boards.rows(np.arange(len(record)), record.lengths)
    assert (boards.mover_N[ends] != boards.mover_N[ends - 1]).all()
    assert (boards.legal_N[ends] == 0).all()


def test_passes_are_as_frequent_as_known():
    """Measured elsewhere on 100,000 random games: .446 passes a game, .70% of positions with the parity wrong."""
    game, written = load_game("othello"), load_game("othello", passes="explicit")
    seeds = np.arange(5000, dtype=np.uint64)
    assert np.mean(written.play_games(seeds).moves_M == 64) * 60.4 == pytest.approx(0.446, abs=0.05)
    boards = game.boards(game.play_games(seeds))
    assert np.mean((boards.mover_N != (boards.ply_N % 2 == 0))[boards.ply_N < 59]) == pytest.approx(0.007, abs=0.002)


@pytest.mark.parametrize("name", ["othello", *OF_6X6, *VARIANTS])
def test_the_same_games_are_played_however_passes_are_written(name):
    seeds = np.arange(3000, dtype=np.uint64)
    game = load_game(name)
    implicit, explicit = (load_game(name, passes=passes).play_games(seeds) for passes in PASSES)
    plies = [moves[moves != game.pass_code].tolist() for moves in explicit]
    assert plies == [moves.tolist() for moves in implicit]
    assert (implicit.lengths < explicit.lengths).any()


def test_variants_keep_only_games_of_sixty_steps_and_may_close_with_two_passes():
    games = {name: load_game(name, passes="explicit") for name in VARIANTS}
    records = {name: game.play_games(np.arange(3000, dtype=np.uint64)) for name, game in games.items()}
    assert all((record.lengths == 60).all() for record in records.values())
    for name, seed in CLOSED_BY_PASSES.items():
        assert games[name].play_games(np.array([seed], np.uint64)).moves_M[-2:].tolist() == [64, 64]
    short = load_game("othello", passes="explicit").play_games(np.arange(3000, dtype=np.uint64))
    assert (short.lengths < 60).any()


@pytest.mark.parametrize(
    ("name", "row", "after"),
    [
        ("classic", ".wwwb...", "bbbbb..."),
        ("nomidflip", ".wwwb...", "bbwbb..."),
        ("nomidflip", ".wwwwwwb", "bbwwwwbb"),
        ("nomidflip", ".wwb....", "bbbb...."),
        ("nomidflip", ".wb.....", "bbb....."),
        ("nomidflip", ".www....", "bwww...."),
        ("delflank", ".wwwb...", "b...b..."),
        ("delflank", ".www.b..", "bwww.b.."),
    ],
)
def test_what_a_move_does_to_a_run(name, row, after):
    """Black plays a1 on a board with one row of discs; the same along the first column."""
    game = load_game(name)
    for step in (1, 8):
        black, white = (sum(1 << step * i for i, cell in enumerate(row) if cell == x) for x in "bw")
        position = replace(game.start(), black=black, white=white, legal=1)
        cells = game.cells(game.play(position, 0))
        assert cells[: 8 * step : step] == after
        assert cells.count(".") == 56 + after.count(".")


def test_straight_rules_flank_along_rows_and_columns_only():
    """Black plays a1 where a run of white and a black disc follow along the row, the column and the diagonal."""
    for name, turned in (("othello6", "b1 a2 b2"), ("othello6_straight", "b1 a2")):
        game = load_game(name)
        black, white = (
            sum(1 << game.squares.index(square) for square in of.split()) for of in ("c1 a3 c3", "b1 a2 b2")
        )
        position = game.play(replace(game.start(), black=black, white=white, legal=1), 0)
        assert {game.squares[i] for i in range(36) if position.flipped >> i & 1} == set(turned.split())
        assert [game.squares[i] for i in range(36) if position.black >> i & 1] == sorted(
            ["a1", "c1", "a3", "c3", *turned.split()], key=game.squares.index
        )
    only = replace(game.start(), black=1 << 14, white=1 << 7)
    assert load_game("othello6").with_square(only, 14, "mine").legal == 1
    assert game.with_square(only, 14, "mine").legal == 0, "a diagonal makes no move legal"


def test_the_parallel_start_is_the_other_one():
    start = load_game("othello6_parallel").start()
    assert [start.black >> i & 1 for i in (14, 15, 20, 21)] == [1, 1, 0, 0] and start.white.bit_count() == 2
    assert {load_game("othello6").squares[i] for i in load_game("othello6_parallel").legal_moves(start)} == {
        "b5", "c5", "d5", "e5",
    }  # fmt: skip
    assert len({load_game(name).alphabet for name in ("othello6", *OF_6X6)}) == 1


def test_delflank_starts_apart_and_plays_squares_again():
    game = load_game("delflank")
    start = game.start()
    assert {game.squares[i]: x for i, x in enumerate(game.cells(start)) if x != "."} == {
        "c3": "b",
        "f3": "w",
        "c6": "w",
        "f6": "b",
    }
    record = game.play_games(np.arange(200, dtype=np.uint64))
    assert any(len(set(moves.tolist())) < len(moves) for moves in record)
    played = {game.squares[code] for code in record.moves_M.tolist() if code < 64}
    assert {"d4", "e4", "d5", "e5", "c3"} <= played


def test_iago_is_classic_written_otherwise():
    classic, iago = load_game("classic"), load_game("iago")
    seeds = np.arange(50, dtype=np.uint64)
    record = iago.play_games(seeds)
    assert (record.moves_M == classic.play_games(seeds).moves_M).all()
    items = [*classic.squares, "--"]
    moves = record.moves_M[: record.offsets[1]].tolist()
    assert iago.texts(record[:1]) == ["".join(items[(47 * i + 13) % 65] for i in moves)]
    assert (iago.record(iago.texts(record)).moves_M == record.moves_M).all()
    assert [iago.alphabet[token] for token in iago.move_tokens(record[:1])] == [
        items[(47 * i + 13) % 65] for i in moves
    ]
    assert sorted(iago.rules.written) == sorted(items)


def test_alphabets():
    game = load_game("othello")
    published = [i for i in range(64) if i not in (27, 28, 35, 36)]
    assert game.alphabet == ("", *(game.squares[i] for i in published))
    record = game.play_games(np.arange(20, dtype=np.uint64))
    assert [published[token - 1] for token in game.move_tokens(record)] == record.moves_M.tolist()
    assert load_game("othello", passes="explicit").alphabet == (*game.alphabet, "--")
    assert len(load_game("othello6").alphabet) == 33
    assert len(load_game("othello4").alphabet) == 13
    for name in VARIANTS:
        for passes in PASSES:
            assert load_game(name, passes=passes).alphabet == ("", *game.squares, "--")


def test_options():
    assert load_game("othello", size=6) is load_game("othello6")
    assert load_game("classic", passes="implicit") is load_game("classic")
    assert load_game("othello:size=4,passes=explicit") is load_game("othello4:passes=explicit")
    assert load_game("othello:size=4", passes="explicit").spec == "othello4:passes=explicit"
    assert load_game("classic:passes=implicit").spec == "classic"
    assert load_game("othello", size=4, passes="explicit").name == "othello4"
    with pytest.raises(ValueError, match="4, 6, 8 rows"):
        load_game("othello", size=5)
    with pytest.raises(ValueError, match="implicit"):
        load_game("othello", passes="both")
    with pytest.raises(ValueError, match="4, 6 or 8"):
        Rules(size=10)
