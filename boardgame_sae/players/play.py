"""Play games between players: in bulk where the game itself can, else move by move. A game depends on its seed alone.

Draws of a game's `SplitMix64(seed)`: players that `Game.play_games` plays for, without an opening, draw as it states.
All others: first one for the opening's seed, then one for each side that has several temperatures; after them the
players' own.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.files import file_hash
from boardgame_sae.games import Game, MoveRecord, SplitMix64
from boardgame_sae.games.random_bits import GOLDEN
from boardgame_sae.players.movers import with_new_engines
from boardgame_sae.players.openings import Opening, make_opening
from boardgame_sae.players.registry import Player


@dataclass(frozen=True, eq=False)
class Played:
    """Games, and the temperatures (pawns, NaN where there is none) of their players."""

    record: MoveRecord
    temperatures_B2: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence["Played"]) -> "Played":
        """The games of several parts, in order."""
        record = MoveRecord.concatenate([part.record for part in parts])
        return cls(record, np.concatenate([np.empty((0, 2)), *(part.temperatures_B2 for part in parts)]))


@runtime_checkable
class SearchesInBulk(Protocol):
    """A game whose built-in player plays whole games by itself."""

    def search_games(
        self,
        words_B: np.ndarray,
        depths: tuple[int, int],
        temperatures_B2: np.ndarray,
        openings: MoveRecord,
        max_plies: int,
    ) -> MoveRecord:
        """Games from their openings on; `words_B` are the states of their generators."""
        ...


def identities(game: Game, both: Sequence[Player], opening: Opening | None) -> dict[str, str]:
    """What, beside its config, a corpus depends on: the engines' own names and versions, the opening book's hash.

    Raises ConfigError when a player cannot play the game, or an engine or the book is missing.
    """
    by_part = {}
    for side, player in enumerate(both):
        mover = player.mover(game)
        if mover.identity is not None:
            by_part[f"engine {side}"] = mover.identity
        mover.close()
    book = None if opening is None else opening.content(game)
    return by_part if book is None else {**by_part, "opening book": file_hash(book)}


def play_games(
    game: Game,
    both: Sequence[Player],
    seeds_B: np.ndarray,
    *,
    opening: Opening | None = None,
    opening_seeds_B: np.ndarray | None = None,
    max_plies: int | None = None,
) -> Played:
    """Play one game per seed: `both` are the first and the second mover.

    opening_seeds_B: seeds of the openings, where games shall share them (default: each drawn from its game's seed).
    max_plies: longer games are broken off.
    Raises ConfigError when a player cannot play the game, RunError when an engine fails again and again.
    """
    first, second = both
    max_plies = min(game.max_plies, max_plies or game.max_plies)
    epsilons = first.native_epsilon, second.native_epsilon
    if opening is None and epsilons[0] is not None and epsilons[1] is not None:
        record = game.play_games(np.asarray(seeds_B, np.uint64), (epsilons[0], epsilons[1])).cut(max_plies)
        return Played(record, np.full((len(record), 2), math.nan))
    begun_B = [_Begun.of(int(seed), both) for seed in seeds_B]
    opening_seeds = [begun.opening for begun in begun_B] if opening_seeds_B is None else opening_seeds_B.tolist()
    openings = (opening or make_opening(None)).play(game, opening_seeds).cut(max_plies)
    temperatures_B2 = np.array([begun.temperatures for begun in begun_B]).reshape(-1, 2)
    depths = first.search_depth, second.search_depth
    if isinstance(game, SearchesInBulk) and depths[0] is not None and depths[1] is not None:
        words_B = np.array([begun.random.state for begun in begun_B], np.uint64)
        record = game.search_games(words_B, (depths[0], depths[1]), temperatures_B2, openings, max_plies)
        return Played(record, temperatures_B2)
    jobs = [(begun, moves.tolist()) for begun, moves in zip(begun_B, openings, strict=True)]
    return Played(MoveRecord.of(_play_at_tables(game, both, jobs, max_plies)), temperatures_B2)


def _play_at_tables(
    game: Game, both: Sequence[Player], jobs: Sequence[tuple["_Begun", list[int]]], max_plies: int
) -> list[list[int]]:
    """Games move by move; with engines at two tables at once, so that one thinks while the other's answer is read."""
    n_tables = 2 if any(player.is_engine for player in both) else 1

    def play_every_other(first: int) -> list[list[int]]:
        with _Table(game, both) as table:
            return [table.play(begun, opening, max_plies) for begun, opening in jobs[first::n_tables]]

    games: list[list[int]] = [[] for _ in jobs]
    with ThreadPoolExecutor(n_tables) as pool:
        for first, played in enumerate(pool.map(play_every_other, range(n_tables))):
            games[first::n_tables] = played
    return games


@dataclass(frozen=True)
class _Begun:
    """A game after the draws that come before its moves."""

    opening: int
    temperatures: tuple[float, ...]
    random: SplitMix64

    @classmethod
    def of(cls, seed: int, both: Sequence[Player]) -> "_Begun":
        random = SplitMix64(seed)
        opening = random.draw()
        return cls(opening, tuple(draw_temperature(player.ladder, random) for player in both), random)


def draw_temperature(ladder: tuple[float, ...], random: SplitMix64) -> float:
    """One of the temperatures: NaN of none, and no draw of one alone."""
    if not ladder:
        return math.nan
    return ladder[random.below(len(ladder)) if len(ladder) > 1 else 0]


class _Table:
    """Two movers and the games they play; equal players share one mover, hence one engine."""

    def __init__(self, game: Game, both: Sequence[Player]) -> None:
        self.game = game
        mover_of = {player: player.mover(game) for player in dict.fromkeys(both)}
        self.movers = [mover_of[player] for player in both]

    def play(self, begun: _Begun, opening: list[int], max_plies: int) -> list[int]:
        """One game; played again from its beginning, with new engines, when an engine fails."""
        return with_new_engines(lambda: self._play(begun, list(opening), max_plies), self.close)

    def _play(self, begun: _Begun, moves: list[int], max_plies: int) -> list[int]:
        random, position = SplitMix64(begun.random.state), self.game.position_after(moves)
        for mover in dict.fromkeys(self.movers):
            mover.new_game()
        while len(moves) < max_plies and not self.game.is_over(position):
            side = 0 if self.game.mover(position) else 1
            move = self.movers[side].choose(position, moves, begun.temperatures[side], random)
            moves.append(move)
            position = self.game.play(position, move)
        return moves

    def close(self) -> None:
        """End all engines."""
        for mover in self.movers:
            mover.close()

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def game_seeds(seed: int, first: int, last: int) -> np.ndarray:
    """One uint64 seed per game, for games first..last-1 of a corpus."""
    base = np.uint64(seed_for(seed, "games"))
    with np.errstate(over="ignore"):
        return base + np.arange(first, last, dtype=np.uint64) * GOLDEN
