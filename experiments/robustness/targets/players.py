"""What players read: the words of an engine, an opening book."""

from pathlib import Path

from boardgame_sae.games import SplitMix64, load_game
from boardgame_sae.players.openings import BookOpening
from boardgame_sae.players.uci.player import UciPlayer
from robustness.entry import entry
from robustness.mutations.raw import RAW, several, tokens

_WORDS = tokens(
    b"uciok\n", b"readyok\n", b"bestmove", b"bestmove e2e4\n", b"bestmove (none)\n", b"bestmove e7e8q\n", b"info ",
    b"depth ", b"depth 99999999999999999999 ", b"multipv 0 ", b"multipv 500 ", b"multipv 99999999999999999999999 ",
    b"score cp ", b"score mate 0 ", b"score cp 99999999999999999999999999999999999999 ", b"score mate -",
    b"lowerbound ", b" pv ", b"9" * 5000,
    b"option name MultiPV type spin default 1 min 1 max 99999999999999999999\n",
    b"id name \xff\n", b"\r\n", b"\n", b"\0", b"x" * 100_000,
    b"info string " + b"y" * 2**20, b"option name", b" min -5 max x",
)  # fmt: skip


@entry("UCI", "engine", "said.txt", by=(_WORDS, several((_WORDS, *RAW))), starts_programs=True)
def engine(folder: Path) -> None:
    """Two moves, drawn by their scores."""
    player = UciPlayer(path=str(folder / "engine.sh"), temperature=1.0, multipv=2, timeout=1.0)
    game, moves = load_game("chess"), list[int]()
    mover = player.mover(game)
    try:
        mover.new_game()
        for _ in range(2):
            moves.append(mover.choose(game.position_after(moves), moves, 1.0, SplitMix64(1)))
    finally:
        mover.close()


@entry("polyglot", "book.bin", by=(several(RAW), tokens(b"\0" * 16, b"\xff" * 16, b"\x46\x3b\x96\x18\x16\x91\xfc\x9c")))
def book(file: Path) -> None:
    """Openings out of a book."""
    BookOpening(path=str(file), plies=3).play(load_game("chess"), [1, 2, 3])
