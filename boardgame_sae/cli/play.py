"""Games: playing them, importing them, having engines judge positions and players."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Output, Workers, named, parse, say, verb
from boardgame_sae.config import Flags, config


@config
class CorpusInput:
    """A corpus."""

    corpus: str
    """Folder of the corpus."""


@verb("generate", 10, "--game othello6 --n-games 100000 --workers 2")
def generate(argv: Sequence[str]) -> Path:
    """Play games into a corpus."""
    from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

    cfg, output, workers = parse("generate", argv, GenerateConfig, Output, Workers)
    return generate_run(cfg, out=output.out, workers=workers.workers)


@verb("import-pgn", 20, "games.pgn.zst --min-elo 1500 --workers 2 --out DIR")
def import_pgn(argv: Sequence[str]) -> Path:
    """Read real chess games into a corpus."""
    from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig, import_pgn_run, import_table

    own = Flags(ImportPGNConfig, fixed={"players": ("pgn",)})
    cfg, output, workers = parse("import-pgn", named(argv, "--sources"), own, Output, Workers)
    folder = import_pgn_run(cfg, out=output.out, workers=workers.workers)
    say(import_table(folder))
    return folder


@verb("import-games", 25, "games.txt WTH_2004.wtb --game othello --out DIR")
def import_games(argv: Sequence[str]) -> Path:
    """Read real games of Othello, or any game but chess, into a corpus: text or WTHOR."""
    from boardgame_sae.transcripts.imports.importer import ImportGamesConfig, import_games_run
    from boardgame_sae.transcripts.pgn.importer import import_table

    own = Flags(ImportGamesConfig, fixed={"players": ("imported",)})
    cfg, output = parse("import-games", named(argv, "--sources"), own, Output)
    folder = import_games_run(cfg, out=output.out)
    say(import_table(folder))
    return folder


@verb("annotate", 30, "DIR --engine stockfish:nodes=1000")
def annotate(argv: Sequence[str]) -> Path:
    """Have an engine evaluate a corpus's positions."""
    from boardgame_sae.transcripts.annotate import AnnotateConfig, annotate_run

    argv = named(argv, "--corpus")
    source, cfg, output, workers = parse("annotate", argv, CorpusInput, AnnotateConfig, Output, Workers)
    return annotate_run(source.corpus, cfg, out=output.out, workers=workers.workers)


@verb("tournament", 40, "random search:depth=1,temperature=8 search:depth=1,temperature=1 --game chess --workers 2")
def tournament(argv: Sequence[str]) -> Path:
    """Rate players in Elo by a round-robin tournament."""
    from boardgame_sae.players.tournament import Standings, TournamentConfig, tournament_run

    cfg, output, workers = parse("tournament", named(argv, "--players"), TournamentConfig, Output, Workers)
    folder = tournament_run(cfg, out=output.out, workers=workers.workers)
    say(Standings.from_json(folder).table())
    return folder
