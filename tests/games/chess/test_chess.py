"""Chess as a game of this package: known counts, notation there and back, what is refused and how, pictures, labels."""

import xml.etree.ElementTree as ElementTree

import chess
import numpy as np
import pytest
from chess_positions import SPECIAL, game_of, special_games
from chess_states import state_of

from boardgame_sae.games import N_SKILLS, IllegalMove, MoveRecord, Result, load_game
from boardgame_sae.games.chess import kernels
from boardgame_sae.games.chess import play as chess_play
from boardgame_sae.games.chess.game import ENDINGS
from boardgame_sae.games.chess.position import move_code, python_move

GAME = load_game("chess")
PERFT = [
    (chess.STARTING_FEN, (20, 400, 8902, 197_281)),
    ("r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1", (48, 2039, 97_862, 4_085_603)),
    ("8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1", (14, 191, 2812, 43_238, 674_624)),
    ("r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1", (6, 264, 9467, 422_333)),
    ("rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8", (44, 1486, 62_379, 2_103_487)),
    ("r4rk1/1pp1qppp/p1np1n2/2b1p1B1/2B1P1b1/P1NP1N2/1PP1QPPP/R4RK1 w - - 0 10", (46, 2079, 89_890, 3_894_594)),
]
"""The start and the five positions that engines are tested on, as chessprogramming.org has them."""


def position_after(text):
    return GAME.replay(text)[-1]


def special(name):
    return MoveRecord.of([[move_code(move) for move in game_of(SPECIAL[name])]])


# Rules


@pytest.mark.parametrize(("fen", "counts"), PERFT)
def test_perft(fen, counts):
    for board in (chess.Board(fen), chess.Board(fen).mirror()):
        assert tuple(chess_play.perft(state_of(board), depth) for depth in range(1, len(counts) + 1)) == counts


def test_perft_of_the_start_through_the_game():
    assert [GAME.perft(depth) for depth in range(5)] == [1, 20, 400, 8902, 197_281]


def test_advance_is_replay_ply_by_ply_claims_included():
    games = [[move_code(move) for move in moves] for moves in special_games()]
    boards, row, claims = GAME.boards(MoveRecord.of(games)), -1, 0
    for moves in games:
        state, keys = chess_play.START.copy(), np.zeros(len(moves) + 1, np.uint64)
        keys[0] = chess_play.key_of(state)
        for ply in range(len(moves) + 1):
            row += 1
            if ply:
                chess_play.advance(state, keys[: ply + 1], ply, moves[ply - 1])
            assert state.tolist() == boards.state_N[row].tolist()
            assert (boards.ply_N[row], boards.last_N[row]) == (ply, moves[ply - 1] if ply else -1)
            claims += int(state[kernels.CLAIM])
    assert claims > 10 and row == len(boards) - 1


@pytest.mark.parametrize(
    ("name", "ending", "result"),
    [
        ("start", "ongoing", Result.UNFINISHED),
        ("fools_mate", "checkmate", -1),
        ("smothered_mate", "checkmate", 1),
        ("stalemate_white", "stalemate", 0),
        ("stalemate_black", "stalemate", 0),
        ("bare_kings", "insufficient material", 0),
        ("fivefold", "fivefold repetition", 0),
        ("seventyfive_moves", "75 moves", 0),
        ("threefold", "ongoing", Result.UNFINISHED),
        ("fifty_moves", "ongoing", Result.UNFINISHED),
    ],
)
def test_endings_and_results(name, ending, result):
    found = GAME.outcomes(special(name))
    assert (ENDINGS[found["ending"][0]], found["result"][0]) == (ending, result)
    assert found["ending"].dtype == found["result"].dtype == np.int8
    position = position_after(GAME.texts(special(name))[0])
    assert GAME.is_over(position) == (ending != "ongoing")
    expected = None if ending == "ongoing" else -1 if ending == "checkmate" else 0
    assert GAME.final_value(position) == expected


def test_a_position_is_python_chess_board_and_equal_to_one_come_about_alike():
    one, two, other = (
        position_after(";1.e4 c5 2.Nf3"),
        position_after(";1.e4 c5 2.Nf3"),
        position_after(";1.Nf3 c5 2.e4"),
    )
    assert one == two and hash(one) == hash(two) and one != other and one != "position"
    assert one.board.fen() == "rnbqkbnr/pp1ppppp/8/2p5/4P3/5N2/PPPP1PPP/RNBQKB1R b KQkq - 1 2"


# Notation


def test_every_move_has_a_token_and_a_name_there_and_back():
    names = GAME.alphabet[1:]
    assert len(names) == 1968 == len(set(names))
    for name in names:
        code = GAME.from_uci(name)
        assert GAME.uci(code) == name == python_move(code).uci() and move_code(chess.Move.from_uci(name)) == code
    tokens = GAME.move_tokens(MoveRecord.of([[GAME.from_uci(name) for name in names]]))
    assert tokens.tolist() == list(range(1, 1969))


@pytest.mark.parametrize("text", ["", "e4", "e2e9", "e2e2", "a1b4", "e7e8k", "e2e4q", "0000", "E2E4", "e2e4 "])
def test_what_is_no_move_in_ucis_notation_is_refused(text):
    with pytest.raises(ValueError, match=r"chess: .* is no move in UCI's notation"):
        GAME.from_uci(text)


@pytest.mark.parametrize(
    ("text", "written", "judgement"),
    [
        ("", "e4", "legal"),
        ("", "e5", "illegal"),
        ("", "Zf3", "unparsable"),
        ("", "e4é", "unparsable"),
        ("", "", "unparsable"),
        (";1.Nf3 a6 2.d4 a5", "Nd2", "ambiguous"),
        (";1.Nf3 a6 2.d4 a5", "Nbd2", "legal"),
        (";1.f3 e5 2.g4", "Qh4#", "legal"),
    ],
)
def test_judgements(text, written, judgement):
    assert GAME.judge(position_after(text), written) == judgement


def test_a_wrong_move_says_why():
    for text, written, why in (
        ("", "e5", "the rules forbid it"),
        ("", "x", "it cannot be read"),
        (";1.Nf3 a6 2.d4 a5", "Nd2", "more than one piece could make it"),
    ):
        with pytest.raises(ValueError, match=f"chess: '{written}' is no legal move there: {why}"):
            GAME.parse_move(position_after(text), written)


def test_prompts_end_where_the_move_begins():
    pieces = GAME.pieces(special("castling_queenside").moves_M.tolist())
    assert [piece[GAME.prompt_length(piece) :] for piece in pieces[:4]] == ["d4 ", "d5 ", "Nc3 ", "Nc6 "]
    assert [piece[: GAME.prompt_length(piece)] for piece in pieces[:4]] == [";1.", "", "2.", ""]
    assert "".join(pieces) == GAME.texts(special("castling_queenside"))[0]
    assert GAME.prompt_length("10.O-O") == 3 and GAME.prompt_length("e4") == 0


def test_phases():
    text = GAME.texts(special("bare_kings"))[0]
    phases = [GAME.phase(position) for position in GAME.replay(text)]
    assert phases[0] == phases[19] == "opening" and phases[20] == "middle" and phases[-1] == "end"
    assert phases == sorted(phases, key=["opening", "middle", "end"].index)


def test_texts_are_read_with_and_without_their_beginning_and_numbers():
    texts = [";1.e4 e5 2.Nf3", "1.e4 e5 2.Nf3", "e4 e5 Nf3", " 1. e4 e5 2. Nf3 ", ""]
    found = [[GAME.uci(code) for code in moves] for moves in GAME.record(texts)]
    assert found == [["e2e4", "e7e5", "g1f3"]] * 4 + [[]]
    assert GAME.texts(GAME.record(texts[:1])) == texts[:1] and GAME.texts(GAME.record([""])) == [";"]


def test_a_game_that_is_too_long_is_refused():
    cycle = "Nf3 Nf6 Ng1 Ng8 "
    assert len(GAME.record([cycle * 150]).moves_M) == GAME.max_plies
    with pytest.raises(ValueError, match=r"chess: 'Nf3 Nf6 .*\.\.\. has more than 600 plies"):
        GAME.record([cycle * 150 + "e4"])
    assert GAME.is_over(position_after(cycle * 150))


@pytest.mark.parametrize(
    ("text", "ply", "move"),
    [(";1.e4 e5 2.Ke3", 3, "Ke3"), (";1.e4 e5 2.Nf9", 3, "Nf9"), ("1.e4 e4", 2, "e4"), (";1.é", 1, "é")],
)
def test_an_illegal_move_is_named_with_what_is_legal_there(text, ply, move):
    with pytest.raises(IllegalMove) as caught:
        GAME.record([";1.d4", text])
    error = caught.value
    assert (error.game, error.ply, error.move) == ("chess", ply, move)
    assert f"chess: illegal move {move!r} at ply {ply} of" in str(error)
    assert "Ke2" in error.legal if ply == 3 else len(error.legal) == 20
    assert str(error).endswith(", ".join(error.legal))


@pytest.mark.parametrize("code", [GAME.from_uci("e2e5"), GAME.from_uci("e7e8q"), 0, 7, (1 << 15) + 3, 65_535])
def test_an_illegal_code_is_named_too(code):
    moves = [GAME.from_uci(name) for name in ("e2e4", "e7e5")]
    with pytest.raises(IllegalMove) as caught:
        GAME.boards(MoveRecord.of([moves, [*moves, code]]))
    assert caught.value.ply == 3 and "Nf3" in caught.value.legal and ";1.e4 e5 " in str(caught.value)


def test_nothing_is_legal_after_mate():
    with pytest.raises(IllegalMove, match="the game is over there"):
        GAME.record([GAME.texts(special("fools_mate"))[0] + " 3.a3"])


# Boards


def test_cells_are_the_board_from_a1():
    assert GAME.cells(GAME.start()) == "RNBQKBNR" + "P" * 8 + "." * 32 + "p" * 8 + "rnbqkbnr"
    cells = GAME.cells(position_after(";1.e4 c5"))
    assert [cells[GAME.squares.index(square)] for square in ("e2", "e4", "c5", "c7")] == [".", "P", "p", "."]


def texts_of(picture):
    return ["".join(each.itertext()) for each in ElementTree.fromstring(picture).iter() if each.tag.endswith("text")]


def fills(picture):
    return picture.count("#ff8c1a"), picture.count("#2f6bff"), picture.count("#dd3333")


def opacities(picture):
    found = ElementTree.fromstring(picture).iter()
    return [round(float(each.attrib["opacity"]), 2) for each in found if "opacity" in each.attrib]


def test_pictures_show_marks_heat_and_the_last_move():
    position = position_after(";1.e4 c5")
    plain = GAME.picture(position)
    heat = np.zeros((8, 8))
    heat[0, 0], heat[7, 7], heat[3, 3], heat[4, 4] = 2, -1, np.nan, np.inf
    drawn = GAME.picture(position, marks={0: "<b>", 63: "7"}, heat=heat, size=333)
    assert texts_of(plain) == [] and texts_of(drawn) == ["<b>", "7"]
    assert 'width="333"' in drawn and "lastmove" in plain
    assert fills(plain) == (0, 0, 0) and fills(drawn) == (1, 1, 0) and opacities(drawn) == [0.85, 0.42]
    moved = GAME.picture(position, last=20)
    assert fills(moved) == (0, 0, 1) and "lastmove" not in moved
    assert "lastmove" not in GAME.picture(position, last=-1) and "lastmove" not in GAME.picture(GAME.start())


def test_a_king_in_check_is_shown_and_heat_of_another_shape_refused():
    assert "check" in GAME.picture(position_after(GAME.texts(special("fools_mate"))[0]))
    with pytest.raises(ValueError, match=r"heat has shape \(64,\); the board's is \(8, 8\)"):
        GAME.picture(GAME.start(), heat=np.zeros(64))


def test_labels_of_a_text_have_a_row_a_ply_and_the_shape_of_their_property():
    properties = GAME.properties()
    found = GAME.labels(";1.e4 e5 2.Nf3 Nc6", [each.name for each in properties])
    for each in properties:
        assert found[each.name].dtype == bool and found[each.name].shape == (5, *each.shape), each.name
        assert each.shape[:2] == (8, 8) or len(each.shape) <= 1
    assert found["last_move"][1].reshape(-1).nonzero()[0].tolist() == [chess.E4]
    assert GAME.property("piece").class_names[:2] == ["a1 your king", "a1 your queen"]
    with pytest.raises(ValueError, match="did you mean"):
        GAME.labels(";1.e4", ["thread"])


def test_skill_is_that_of_the_player_to_move():
    record = GAME.record([";1.e4 e5", ";1.d4"])
    about = {"skill_first": np.array([5, 0], np.int8), "skill_second": np.array([2, -1], np.int8)}
    boards = GAME.boards(record, about)
    assert boards.skill_N.tolist() == [5, 2, 5, 0, -1] and boards.skill_N.dtype == np.int8
    labels_NC = GAME.property("skill").evaluate(boards)
    assert labels_NC.shape == (5, N_SKILLS) and labels_NC.argmax(1).tolist() == [5, 2, 5, 0, 0]
    assert labels_NC.any(1).tolist() == [True] * 4 + [False]
    assert GAME.boards(record, {"skill_first": about["skill_first"]}).skill_N.tolist() == [5, -1, 5, 0, -1]
    assert GAME.boards(record).skill_N.tolist() == [-1] * 5 == GAME.boards(record, {}).skill_N.tolist()


def test_picked_rows_keep_what_is_known():
    record = GAME.record([";1.e4 e5 2.Nf3"])
    about = {"skill_first": np.array([1]), "skill_second": np.array([3]), "evaluation": np.arange(4, dtype=np.int16)}
    picked = GAME.boards(record, about)[[3, 0]]
    assert (
        picked.skill_N.tolist() == [3, 1] and picked.evaluation_N.tolist() == [3, 0] and picked.ply_N.tolist() == [3, 0]
    )
