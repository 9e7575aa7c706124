"""Where PGN comes from: files, zstd files and standard input, each known by its content and read in blocks."""

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.launch import needs

STANDARD_INPUT = "-"
BLOCK = 1 << 20
ZSTD_BLOCK = 1 << 9
"""Compressed bytes unpacked at once: four bytes can hold 128 KiB, so that these unfold to 16 MiB at worst."""
ZSTD = b"\x28\xb5\x2f\xfd"
FOREIGN = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True, eq=False)
class Source:
    """Some PGN text that can be read from its beginning."""

    name: str
    """The path as given, or `-`."""
    size: int
    """Bytes as stored."""
    digest: str
    """BLAKE2b of those bytes."""
    is_zstd: bool
    spool: Any = None
    """Where standard input was kept."""

    @property
    def identity(self) -> str:
        """What tells its content, wherever it lies."""
        return f"{self.size} bytes, blake2b {self.digest}"

    def open(self) -> BinaryIO:
        """The bytes as stored."""
        if self.spool is None:
            return open(self.name, "rb")
        self.spool.seek(0)
        return self.spool


def open_source(name: str, spool_folder: Path) -> Source:
    """Look at a source and hash it. What cannot be read twice (`-`, a pipe) is first kept in a nameless file.

    spool_folder: on whose disk that file is made. It is packed with zstd, and gone when the process ends.
    Raises ConfigError naming the source when there is none, or it is neither text nor zstd; RunError where the library
    that unpacks it is not installed.
    """
    shown = "standard input" if name == STANDARD_INPUT else name
    try:
        if name != STANDARD_INPUT and Path(name).is_dir():
            raise ConfigError(f"{name}: a folder; name its files, as in {name}/*")
        file = nullcontext(sys.stdin.buffer) if name == STANDARD_INPUT else open(name, "rb")  # noqa: SIM115 - see below
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}); give a file, plain or zstd, or -") from error
    with file as stream:
        head = stream.read(BLOCK)
        is_zstd, kept = _recognise(shown, head), name != STANDARD_INPUT and _is_file(stream)
        if is_zstd or not kept:
            _zstandard(shown)
        if kept:
            size, digest = _digest(head, stream, None)
            return Source(name, size, digest, is_zstd)
        try:
            return _spooled(name, head, stream, is_zstd, spool_folder)
        except OSError as error:
            raise RunError(
                f"{shown}: cannot be kept on the disk of {spool_folder} ({error.strerror}), which importing it needs; "
                "make room, or choose another --out"
            ) from error


def _is_file(stream: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def _spooled(name: str, head: bytes, stream: BinaryIO, is_zstd: bool, folder: Path) -> Source:
    """A source that was kept in a nameless file as it was read."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as its Source
    if is_zstd:
        return Source(name, *_digest(head, stream, spool), True, spool)
    with _zstandard(name).ZstdCompressor(level=1).stream_writer(spool, closefd=False) as packed:
        return Source(name, *_digest(head, stream, packed), True, spool)


def _zstandard(name: str) -> ModuleType:
    """The library that packs and unpacks. Raises RunError that names the source and the extra where it is missing."""
    with needs("zstd", f"{name}: a file packed with zstd, or what cannot be read twice,"):
        import zstandard
    return zstandard


def _recognise(shown: str, head: bytes) -> bool:
    """Whether a source that begins like this is zstd. Raises ConfigError when it is neither that nor plain text."""
    is_zstd = head[:4] == ZSTD or (0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18" if head else False)
    if shown.endswith(".zst") and not is_zstd:
        raise ConfigError(f"{shown}: named .zst, but is no zstd file; get it again, or drop .zst if it is plain text")
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            raise ConfigError(f"{shown}: is {kind}; give it plain or as zstd, for example by piping it unpacked into -")
    return is_zstd


def _digest(head: bytes, file: BinaryIO, copy: Any) -> tuple[int, str]:
    """Size and hash of a stream that begins with `head`, copied as it is read."""
    mixed, size, block = hashlib.blake2b(digest_size=16), 0, head
    while block:
        mixed.update(block)
        size += len(block)
        if copy is not None:
            copy.write(block)
        block = file.read(BLOCK)
    return size, mixed.hexdigest()


def _with_newlines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same text with a newline at the end of every line, each byte in its place.

    A carriage return before a newline, or two (what writing as text twice makes of it), become spaces; one alone is an
    old Macintosh's end of line.
    """
    held = b""
    for block in blocks:
        text = held + block
        end = len(text) - len(text[-2:]) + len(text[-2:].rstrip(b"\r"))
        held = text[end:]
        yield _newlines(text[:end])
    yield _newlines(held)


def _newlines(text: bytes) -> bytes:
    if b"\r" not in text:
        return text
    return text.replace(b"\r\r\n", b"  \n").replace(b"\r\n", b" \n").replace(b"\r", b"\n")


class Blocks:
    """The text of a source, block by block, its lines ended by newlines.

    Once they are read, `fault` says what cut it short, if anything did.
    """

    def __init__(self, source: Source, *, binary: bool = False) -> None:
        """binary: leave every byte as it is."""
        self.source, self.binary = source, binary
        self.consumed = 0
        """Stored bytes read so far."""
        self.fault = ""

    def __iter__(self) -> Iterator[bytes]:
        yield from filter(None, self._stored() if self.binary else _with_newlines(self._stored()))

    def _stored(self) -> Iterator[bytes]:
        with self.source.open() as file:
            if self.source.is_zstd:
                yield from self._unpacked(file)
                return
            while block := file.read(BLOCK):
                self.consumed += len(block)
                yield block

    def _unpacked(self, file: BinaryIO) -> Iterator[bytes]:
        zstandard = _zstandard(self.source.name)
        engine = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        frame, begun, text = engine.decompressobj(write_size=1 << 14), False, bytearray()
        while not self.fault and (data := file.read(ZSTD_BLOCK)):
            self.consumed += len(data)
            while data:
                try:
                    text += frame.decompress(data)
                except zstandard.ZstdError:
                    self.fault = "damaged zstd"
                    break
                begun, data = not frame.eof, frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame = engine.decompressobj(write_size=1 << 14)
            while len(text) >= BLOCK:
                yield bytes(text[:BLOCK])
                del text[:BLOCK]
        if text:
            yield bytes(text)
        if begun and not self.fault:
            self.fault = "truncated zstd"
