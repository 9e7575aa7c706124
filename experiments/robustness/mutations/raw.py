"""Ways to spoil any file: bytes turned, cut, moved and inserted."""

import struct
from collections.abc import Sequence
from random import Random

from robustness.entry import Mutation

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
"""Values at the edges of their types."""


def flip(random: Random, data: bytes) -> bytes:
    """Turn one to four bits."""
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 4) if spoilt else 0):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def flip_early(random: Random, data: bytes) -> bytes:
    """Turn bits among the first 512 bytes, where headers are."""
    return flip(random, data[:512]) + data[512:]


def overwrite(random: Random, data: bytes) -> bytes:
    """Write a number of one to eight bytes over what is there."""
    size = random.choice((1, 2, 4, 8))
    number = (random.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, random.choice(("little", "big")))
    place = random.randrange(len(data) + 1)
    return data[:place] + number + data[place + size :]


def truncate(random: Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: random.randrange(len(data) + 1)]


def cut(random: Random, data: bytes) -> bytes:
    """Take a stretch out."""
    start, stop = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[stop:]


def double(random: Random, data: bytes) -> bytes:
    """Repeat a stretch, at another place."""
    start, stop = sorted(random.randrange(len(data) + 1) for _ in range(2))
    place = random.randrange(len(data) + 1)
    return data[:place] + data[start:stop] + data[place:]


def garbage(random: Random, data: bytes) -> bytes:
    """Other bytes altogether: none, noise, another kind of file."""
    whole = (
        b"",
        random.randbytes(random.randrange(1, 200)),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:",
    )
    return random.choice((*whole, b"\0" * len(data), b"PK\x03\x04" + data[4:], b"\x89HDF\r\n\x1a\n" + data[8:]))


RAW: tuple[Mutation, ...] = (flip, flip, flip_early, overwrite, truncate, cut, double, garbage)
"""All of these."""


def tokens(*words: bytes) -> Mutation:
    """A mutation that inserts one to three of some words, or writes them over what is there."""

    def insert(random: Random, data: bytes) -> bytes:
        for _ in range(random.randint(1, 3)):
            word, place = random.choice(words), random.randrange(len(data) + 1)
            data = data[:place] + word + data[place + random.choice((0, len(word))) :]
        return data

    return insert


def several(mutations: Sequence[Mutation]) -> Mutation:
    """A mutation that applies one to three of some, one after the other."""

    def apply(random: Random, data: bytes) -> bytes:
        for _ in range(random.choice((1, 1, 2, 3))):
            data = random.choice(mutations)(random, data)
        return data

    return apply


def header(text: bytes) -> bytes:
    """Bytes after their length, as safetensors begins."""
    return struct.pack("<Q", len(text)) + text
