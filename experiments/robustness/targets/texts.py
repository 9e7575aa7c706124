"""What people write: PGN, plain and packed, other games, and YAML."""

from pathlib import Path

from boardgame_sae.cli.flags import Output, Workers, parse
from boardgame_sae.config import read_yaml
from boardgame_sae.pipeline.sweep import sweep_config
from boardgame_sae.shipping.pack import pack_config
from boardgame_sae.transcripts.generate import GenerateConfig
from boardgame_sae.transcripts.imports.importer import ImportGamesConfig, import_games_run
from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig, import_pgn_run, import_table
from robustness.entry import entry
from robustness.mutations.plain import YAML
from robustness.mutations.raw import RAW, several, tokens

_WORDS = tokens(
    b"{", b"}", b"(", b")", b";", b"%", b"\n%", b"$", b"$300", b"[", b"]", b'"', b"\\", b"\n", b"\r", b"\r\n", b"\0",
    b"1-0", b"0-1", b"1/2-1/2", b"*", b"\xc2\xbd-\xc2\xbd", b"1\xe2\x80\xa6", b"\xc2\xa0", b"\xe2\x80\x8b", b"--",
    b"Z0", b"O-O-O", b"0-0", b"e8=Q", b"e8Q", b"Pe4", b"e1h1", b"exd6 e.p.", b"!?", b"+-", b"N",
    b"(" * 3000, b"{" * 50,
    b'[Event "x"]\n', b'[Result "1-0"]\n', b'[FEN "x"]\n', b'[Variant "Atomic"]\n',
    b'[WhiteElo "99999999999999999999"]\n',
    b'[TimeControl "' + b"9" * 300 + b'"]\n', b"a" * 3000, b"\xff\xfe", b"\xef\xbb\xbf", b"1." * 500,
)  # fmt: skip


@entry("PGN", "games.pgn", by=(_WORDS, _WORDS, several((_WORDS, *RAW))))
@entry(
    "zst", "games.pgn.zst", by=(several(RAW), tokens(b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\x04\0\0\0", b"\xff" * 8))
)
def pgn(file: Path) -> None:
    """As `import-pgn` imports it."""
    folder = import_pgn_run(ImportPGNConfig(sources=(str(file),)), out=file.parent / "imported")
    import_table(folder)


@entry("games", "games.txt", by=(_WORDS, several((_WORDS, *RAW))))
@entry("games", "games.wtb", by=RAW)
def games(file: Path) -> None:
    """As `import-games` imports them."""
    game = "othello4" if file.suffix == ".txt" else "othello"
    folder = import_games_run(ImportGamesConfig(sources=(str(file),), game=game), out=file.parent / "imported")
    import_table(folder)


@entry("YAML", "study.yaml", by=YAML)
def sweep(file: Path) -> None:
    """As `sweep` reads it."""
    sweep_config(read_yaml(file), str(file))


@entry("YAML", "study.yaml", by=YAML)
def pack(file: Path) -> None:
    """As `pack` reads it."""
    pack_config(read_yaml(file), str(file))


@entry("YAML", "generate.yaml", by=YAML)
def flags(file: Path) -> None:
    """As `--config` of any verb reads it."""
    parse("generate", ["--config", str(file)], GenerateConfig, Output, Workers)
