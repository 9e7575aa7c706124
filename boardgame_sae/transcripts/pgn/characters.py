"""Characters beyond ASCII that mean something between moves, in UTF-8 or Windows-1252, made plain."""

import re

_SPACES = "\u00a0\u00ad\u034f\u061c\u1680\u180e\u2028\u2029\u202f\u205f\u2060\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x2010))
)
"""What is white or cannot be seen."""
_DASHES = "".join(map(chr, range(0x2010, 0x2016))) + "\u2212\ufe58\ufe63\uff0d"
_LETTERS_O = "\u041e\u043e\u039f\u03bf"
"""Cyrillic and Greek, as in a castling that python-chess would pass over."""
_IN_UTF8 = {
    **{character.encode(): b" " for character in _SPACES},
    **{character.encode(): b"-" for character in _DASHES},
    **{character.encode(): b"O" for character in _LETTERS_O},
    "\u2026".encode(): b"...",
}
_PLAIN = {written: meant.center(len(written)) for written, meant in _IN_UTF8.items()}
_UTF8 = re.compile(b"|".join(map(re.escape, _PLAIN)))
_WINDOWS_1252 = bytes.maketrans(b"\xa0\xad\x85\x96\x97", b"  .--")


def is_utf8(text: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def plain(text: bytes) -> bytes:
    """Text as long as before, with spaces for all that is white or invisible, `-` for dashes and dots for an ellipsis.

    A half stays as it is, and so does what means nothing between moves.
    """
    if text.isascii():
        return text
    return _UTF8.sub(lambda found: _PLAIN[found.group()], text) if is_utf8(text) else text.translate(_WINDOWS_1252)


def as_utf8(text: bytes) -> bytes:
    """Text in UTF-8; what is not UTF-8 is taken for Latin-1, as PGN's standard has it."""
    return text if text.isascii() or is_utf8(text) else text.decode("latin1").encode()
