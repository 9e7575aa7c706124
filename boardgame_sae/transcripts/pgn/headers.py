"""What the headers of a game say: who played, how it ended, and whether it is a game of chess from the usual start."""

import re
from collections.abc import Mapping

import chess as python_chess

from boardgame_sae.games.chess.notation import RESULTS
from boardgame_sae.transcripts.pgn.characters import plain

Headers = Mapping[bytes, bytes]
"""Values by names, as they are written."""
_TAGS = "White Black Site Result WhiteElo BlackElo ECO Opening TimeControl Variant SetUp FEN"
_HEADER = re.compile(
    rb'^(?:\xef\xbb\xbf)?[ \t]*\[[ \t]*(%s)[ \t]+"([^\n]*)"[ \t]*\]' % b"|".join(_TAGS.encode().split()), re.MULTILINE
)
_ELO = re.compile(rb"\s*(\d{1,4})\??\s*")
_STANDARD = {b"", b"?", b"standard", b"chess", b"normal", b"from position"}
_HALF = re.compile(rb"\xc2?\xbd")


def read_headers(text: bytes, begin: int, end: int) -> dict[bytes, bytes]:
    """The headers in a part of a text that are of use here; of several of one name the last, as in python-chess."""
    return dict(_HEADER.findall(text, begin, end))


def elo(headers: Headers, name: bytes) -> int:
    """A player's Elo, 0 where it is not known."""
    value = _ELO.fullmatch(headers.get(name, b""))
    return int(value[1]) if value else 0


def stated_result(headers: Headers) -> str:
    """The result in the headers, however it is written (`1 - 0`, `½-½`): one of RESULTS; empty where there is none.

    What is no result is returned as it is.
    """
    written = headers.get(b"Result", b"").strip()
    if written == b"?" or written.decode("latin1") in RESULTS:
        return written.decode().removeprefix("?")
    word = _HALF.sub(b"1/2", plain(written).replace(b" ", b"")).decode("latin1")
    word = "1/2-1/2" if word == "1/2" else word
    return word if word in RESULTS else written.decode("utf-8", "replace")


def why_not_chess(headers: Headers) -> str:
    """Why headers are not those of a game of chess from its usual start; empty when they are."""
    if headers.get(b"Variant", b"").lower() not in _STANDARD:
        return "variant"
    fen = headers.get(b"FEN", b"")
    usual = fen.split()[:4] == python_chess.STARTING_FEN.encode().split()[:4]
    if (fen and not usual) or (not fen and headers.get(b"SetUp") == b"1"):
        return "non-standard start"
    return ""
