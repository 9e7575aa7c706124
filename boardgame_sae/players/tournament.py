"""How strong players are: a round-robin, each opening played twice with colours swapped, rated on one scale of Elo.

    standings.json   results of every pair, ratings, standard errors
    table.md         the same as a table

Every ordered pair of players (first mover, second mover) plays in one piece, into a file that appears whole; a killed
run plays only the pieces that are missing.
"""

import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from boardgame_sae.config import ConfigError, Count, Natural, Seed, config, from_mapping, record, seed_for, to_mapping
from boardgame_sae.files import RunError, read_json, read_record, write_bytes, write_json
from boardgame_sae.games import Result, load_game
from boardgame_sae.launch import map_ordered
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import game_seeds, identities, play_games
from boardgame_sae.players.registry import make_player, settle_player
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.integrity import verified

STANDINGS_FILE, TABLE_FILE = "standings.json", "table.md"
SCALE = math.log(10) / 400
"""Logits in one point of Elo."""
PRIOR_DRAWS = 1.0
"""Draws that each player is given, spread evenly over all others: without them a player that never loses would have no
finite rating. A whole one against each would compress a long ladder, most of whose players never lose to most others.
"""


@config
class TournamentConfig:
    """Who plays and how."""

    players: tuple[str, ...]
    """The players, as of `generate`; the first is the anchor of the scale, at 0."""
    game: str
    """A registered game, with its options if any."""
    n_games: Count = 40
    """Games per pair of players, half with each to move first."""
    opening: str | None = "random:plies=6"
    """How games begin; every opening is played twice, once with each of the two to move first."""
    max_plies: Count | None = None
    """Longer games are broken off there, and count as draws (default: the game's own limit)."""
    seed: Seed = 0
    """The seed of the openings and of the players' draws."""

    def __post_init__(self) -> None:
        if len(self.players) < 2 or len(set(self.players)) < len(self.players):
            raise ValueError("players are two or more, each named once")
        if self.n_games % 2:
            raise ValueError(
                f"n_games is even and at least 2, not {self.n_games}: half of them with each to move first"
            )


Table: TypeAlias = tuple[tuple[Natural, ...], ...]


@record
class StandingsRecord:
    """What is read of standings.json: see `Standings`."""

    players: Annotated[tuple[str, ...], Field(min_length=2)]
    wins: Table
    draws: Table
    unfinished: Table


@dataclass(frozen=True, eq=False)
class Standings:
    """Results of a round-robin, and the ratings that fit them."""

    players: tuple[str, ...]
    """As they were named."""
    wins_PP: np.ndarray
    """int64: games that the player of the row won against that of the column."""
    draws_PP: np.ndarray
    """int64: games drawn, those broken off included."""
    unfinished_PP: np.ndarray
    """int64: of the draws, games that were broken off."""

    @property
    def games_PP(self) -> np.ndarray:
        """Games played."""
        return self.wins_PP + self.wins_PP.T + self.draws_PP

    @property
    def points_PP(self) -> np.ndarray:
        """Wins, and half the draws, of the row against the column."""
        return self.wins_PP + self.draws_PP / 2

    @property
    def ratings_P(self) -> np.ndarray:
        """Elo; the first player's is 0."""
        return _fit(self.points_PP)[0]

    @property
    def errors_P(self) -> np.ndarray:
        """Standard error of each rating's distance to the first player's; 0 for the first itself."""
        return np.sqrt(np.diag(_fit(self.points_PP)[1]))

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """How much Elo player `b` is above player `a` (places in `players`), and its standard error."""
        ratings_P, covariance_PP = _fit(self.points_PP)
        variance = covariance_PP[a, a] + covariance_PP[b, b] - 2 * covariance_PP[a, b]
        return float(ratings_P[b] - ratings_P[a]), math.sqrt(max(variance, 0.0))

    def table(self, *, markdown: bool = False) -> str:
        """One line per player: its number, Elo, standard error, and its share of the points against each other one."""
        points_PP, games_PP = self.points_PP, self.games_PP
        heads = ["", "player", "Elo", "s.e.", "points", "games", *(str(place + 1) for place in range(len(points_PP)))]
        rows = []
        for place, name in enumerate(self.players):
            shares = ["" if not n else f"{p / n:.3f}" for p, n in zip(points_PP[place], games_PP[place], strict=True)]
            shown = [f"{self.ratings_P[place]:.0f}", f"{self.errors_P[place]:.0f}"]
            totals = [f"{points_PP[place].sum():g}", f"{games_PP[place].sum()}"]
            rows.append([str(place + 1), name, *shown, *totals, *shares])
        if markdown:
            rule = ["--:" if place != 1 else ":--" for place in range(len(heads))]
            return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))
        widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column == 1 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *rows)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data: players, results of every pair, ratings and errors."""
        return {
            "players": list(self.players),
            "wins": self.wins_PP.tolist(),
            "draws": self.draws_PP.tolist(),
            "unfinished": self.unfinished_PP.tolist(),
            "ratings": self.ratings_P.round(3).tolist(),
            "errors": self.errors_P.round(3).tolist(),
        }

    @classmethod
    def from_json(cls, path: str | Path) -> "Standings":
        """The standings of a run folder, or of its `standings.json`. Raises RunError if damaged or changed."""
        path = Path(path)
        path = path / STANDINGS_FILE if path.is_dir() else path
        verified(path)
        standings = read_record(StandingsRecord, path, "run the tournament again")
        tables, n = (standings.wins, standings.draws, standings.unfinished), len(standings.players)
        if any([len(row) for row in table] != [n] * n for table in tables):
            raise RunError(f"{path}: its tables are not of {n} by {n} players; run the tournament again")
        return cls(standings.players, *(np.array(table, np.int64) for table in tables))


def _fit(points_PP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum-likelihood Bradley-Terry ratings in Elo, the first 0, and their covariance (the inverse Hessian's).

    A draw is half a win, and each player has `PRIOR_DRAWS` more of them. As draws vary less than wins and losses do,
    the errors are a little too large where many games are drawn.
    """
    others_PP = 1 - np.eye(len(points_PP))
    points_PP = points_PP + others_PP * PRIOR_DRAWS / 2 / (len(points_PP) - 1)
    games_PP, logits_P = points_PP + points_PP.T, np.zeros(len(points_PP))
    for _ in range(200):
        slope_P, hessian_PP = _likelihood(points_PP, games_PP, logits_P)
        step_P = np.linalg.solve(hessian_PP[1:, 1:], slope_P[1:])
        logits_P[1:] += step_P * min(1.0, 2.0 / max(np.abs(step_P).max(), 1e-300))  # far steps would overshoot
        if np.abs(step_P).max() < 1e-12:
            break
    covariance_PP = np.zeros_like(games_PP)
    covariance_PP[1:, 1:] = np.linalg.inv(_likelihood(points_PP, games_PP, logits_P)[1][1:, 1:])
    return logits_P / SCALE, covariance_PP / SCALE**2


def _likelihood(points_PP: np.ndarray, games_PP: np.ndarray, logits_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the log likelihood, and minus its second derivatives."""
    chance_PP = 1 / (1 + np.exp(np.clip(logits_P[None] - logits_P[:, None], -500, 500)))
    weight_PP = games_PP * chance_PP * (1 - chance_PP)
    return (points_PP - games_PP * chance_PP).sum(1), np.diag(weight_PP.sum(1)) - weight_PP


@dataclass(frozen=True)
class _Piece:
    """The games of one player, moving first, against another."""

    cfg: TournamentConfig
    first: int
    second: int
    path: str | None = None
    """Where the results are written, if anywhere."""

    @property
    def written(self) -> bool:
        """Whether it has been played."""
        return self.path is not None and Path(self.path).exists()

    def play(self) -> list[int]:
        """Games that the first mover won, drew, lost; and those of the drawn that were broken off."""
        cfg, n = self.cfg, self.cfg.n_games // 2
        game, opening = load_game(cfg.game), make_opening(cfg.opening) if cfg.opening else None
        names = [cfg.players[place] for place in (self.first, self.second)]
        played = play_games(
            game,
            [make_player(name) for name in names],
            game_seeds(seed_for(cfg.seed, "tournament", *names), 0, n),
            opening=opening,
            opening_seeds_B=game_seeds(seed_for(cfg.seed, "openings", *sorted(names)), 0, n),
            max_plies=cfg.max_plies,
        )
        results_B = game.results(played.record)
        won, lost, unfinished = (
            int((results_B == result).sum()) for result in (Result.WON, Result.LOST, Result.UNFINISHED)
        )
        counts = [won, n - won - lost, lost, unfinished]
        if self.path:
            write_json(Path(self.path), counts)
        return counts


def _play(piece: _Piece) -> list[int]:
    return piece.play()


def _standings(players: Sequence[str], pieces: Sequence[_Piece], results: Sequence[Sequence[int]]) -> Standings:
    shape = (len(players), len(players))
    wins_PP, draws_PP, unfinished_PP = (np.zeros(shape, np.int64) for _ in range(3))
    for piece, (won, drawn, lost, broken_off) in zip(pieces, results, strict=True):
        a, b = piece.first, piece.second
        wins_PP[a, b] += won
        wins_PP[b, a] += lost
        for counts_PP, n in ((draws_PP, drawn), (unfinished_PP, broken_off)):
            counts_PP[[a, b], [b, a]] += n
    return Standings(tuple(players), wins_PP, draws_PP, unfinished_PP)


def _settled(cfg: TournamentConfig) -> TournamentConfig:
    """The config with what its names stand for here."""
    players = tuple(map(settle_player, cfg.players))
    return dataclasses.replace(cfg, game=load_game(cfg.game).spec, players=players)


def _pieces(cfg: TournamentConfig, run: Run | None = None) -> list[_Piece]:
    pairs = [pair for both in itertools.combinations(range(len(cfg.players)), 2) for pair in (both, both[::-1])]
    return [_Piece(cfg, a, b, str(run / f"pairs/{a:03}-{b:03}.json") if run else None) for a, b in pairs]


def tournament(
    players: Sequence[str], *, game: str, n_games: int = 40, workers: int = 1, **settings: object
) -> Standings:
    """Play a round-robin and rate the players, the first at 0.

    n_games: per pair of players, half with each to move first. settings: any other field of TournamentConfig.
    Results are those on the board; a game broken off at max_plies is a draw. The result is the same for any `workers`.
    Raises ConfigError for an unknown player or opening, or a game that does not say who won; RunError when an engine
    fails again and again.
    """
    values = {"players": tuple(players), "game": game, "n_games": n_games, **settings}
    cfg = _settled(from_mapping(TournamentConfig, values, "tournament"))
    pieces = _pieces(cfg)
    return _standings(cfg.players, pieces, list(map_ordered(_play, pieces, workers)))


def tournament_run(cfg: TournamentConfig, *, out: str | Path | None = None, workers: int = 1) -> Path:
    """`tournament` into a run folder, which is returned; a finished one is reused, a killed one resumed.

    Raises what `tournament` raises.
    """
    cfg = _settled(cfg)
    game, opening = load_game(cfg.game), make_opening(cfg.opening) if cfg.opening else None
    inputs = identities(game, list(map(make_player, cfg.players)), opening)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    with Run("tournament", game.name, to_mapping(cfg), inputs, out) as run:
        if run.done:
            return run.folder
        began, pieces = time.perf_counter(), _pieces(cfg, run)
        missing = [piece for piece in pieces if not piece.written]
        n_done = (len(pieces) - len(missing)) * cfg.n_games // 2
        with progress(len(pieces) * cfg.n_games // 2, f"play {game.name}", "games", initial=n_done) as bar:
            for results in map_ordered(_play, missing, workers):
                bar.update(sum(results[:3]))
        standings = _standings(cfg.players, pieces, [read_json(Path(str(piece.path))) for piece in pieces])
        write_json(run / STANDINGS_FILE, standings.to_json())
        write_bytes(run / TABLE_FILE, (standings.table(markdown=True) + "\n").encode())
        shutil.rmtree(run / "pairs")
        run.log_time("tournament", time.perf_counter() - began, games=len(pieces) * cfg.n_games // 2)
        best = int(np.argmax(standings.ratings_P))
        run.finish(n_players=len(cfg.players), best=cfg.players[best], elo=float(standings.ratings_P[best]))
        return run.folder
