"""How well a model plays, by its game's built-in search: what its moves lose at given positions, and who stands better
at the end of games.

    lost    mean over moves of (value of the best move - value of the model's), in centipawns
    legal   share of moves that are legal at the first try
    changed share of moves that are not those of the games that the positions are from
    won     share of games in which the model is ahead by more than 100 centipawns at the end, as published, or has won
    points  a win counts 1, a game that ends even 1/2

Values beyond ten pawns are all the same, and a position without a legal try loses as much. Games after different
vectors part early, and each says win, draw or loss; at given positions all vectors are asked the same, and only moves
that they change make a difference. So centipawns say more with far less computing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boardgame_sae.games import Game
from boardgame_sae.intervals import Estimate, bootstrap_interval
from boardgame_sae.metrics.causal.steering.playing import Played
from boardgame_sae.metrics.causal.steering.writing import Table, Writer, draws_of
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import Hook
from boardgame_sae.players.search import Searchable, searchable

DECIDED = 1000
"""Centipawns that are as good as a won game."""
AHEAD = 100
"""Centipawns at a game's end that count as a win."""
PER = {"lost": "moves", "legal": "moves", "changed": "moves", "won": "games", "points": "games"}
"""What each measure is a mean over."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Sums over the moves of B games, or over their ends."""

    sums: Mapping[str, np.ndarray]
    """float64 (B,) by name: measures of PER, and what they are divided by."""

    def estimate(self, measure: str) -> Estimate:
        """A measure, with its 95% interval over games."""
        return _estimate(lambda s: s[:, 0] / s[:, 1], self._of(measure))

    def less(self, other: "Measured", measure: str) -> Estimate:
        """How much larger a measure is than another's on the same games, with its 95% interval."""
        both_B4 = np.concatenate([self._of(measure), other._of(measure)], 1)
        return _estimate(lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], both_B4)

    def _of(self, measure: str) -> np.ndarray:
        return np.stack([self.sums[measure], self.sums[PER[measure]]], 1)


def _estimate(statistic: Callable[[np.ndarray], np.ndarray], sums_BX: np.ndarray) -> Estimate:
    return Estimate(float(statistic(sums_BX.sum(0)[None])[0]), bootstrap_interval(statistic, sums_BX))


def results(game: Game, played: Played, depth: int) -> Measured:
    """Who stands better at the end of games, by a search. depth: plies that it looks ahead.

    Raises ConfigError for a game without a built-in player.
    """
    ends = game.boards(played.record).ends
    value_B = searchable(game).search_boards(ends, depth)
    own_B = np.where(played.forfeited_B, -DECIDED, np.where(ends.mover_N, value_B, -value_B))
    won_B, even_B = own_B > AHEAD, np.abs(own_B) <= AHEAD
    return Measured({"won": won_B * 1.0, "points": won_B + even_B / 2, "games": np.ones(len(own_B))})


def losses(search: Searchable, position: Any, depth: int) -> dict[int, float]:
    """Centipawns that each legal move of a position loses, by its code."""
    codes, scores = search.score_moves(position, depth)
    values = np.clip(scores, -DECIDED, DECIDED)
    lost = np.minimum(values.max() - values, DECIDED)
    return dict(zip(codes.tolist(), lost.tolist(), strict=True))


class Exam:
    """Positions at which models are asked for their move: those at which one was asked in games that it has played."""

    def __init__(
        self, game: Game, played: Played, seeds_B: Sequence[int], *, depth: int, temperature: float = 0.0
    ) -> None:
        """seeds_B: what the moves' draws depend on. depth: plies that the search looks ahead which says what moves
        lose. temperature: of the moves.

        Raises ConfigError for a game without a built-in player.
        """
        self._search, self._depth, self._seeds_B = searchable(game), depth, seeds_B
        self._temperature = temperature
        self._moves_B = [moves.tolist() for moves in played.record]
        self._positions_B = [list(game.positions(moves)) for moves in self._moves_B]
        ends_B = played.record.lengths + played.forfeited_B
        self._plies_B = [
            [ply for ply in range(first, end) if game.mover(positions[ply])]
            for first, end, positions in zip(played.opening_B, ends_B, self._positions_B, strict=True)
        ]
        self._lost: dict[tuple[int, int], dict[int, float]] = {}

    def taken_by(self, model: GameModel, hooks: Mapping[str, Hook] | None = None) -> Measured:
        """What a model's moves lose. hooks: what changes it."""
        pairs = zip(self._positions_B, self._seeds_B, strict=True)
        tables = [Table([], positions[0], draws_of(seed)) for positions, seed in pairs]
        writer = Writer(model, len(tables), hooks, self._temperature)
        sums = {name: np.zeros(len(tables)) for name in ("lost", "legal", "changed", "moves")}
        for number in range(max(map(len, self._plies_B), default=0)):
            asked = [place for place in range(len(tables)) if self._turn_to(number, place, tables[place], model)]
            if not asked:
                break
            for place, written in zip(asked, writer([tables[place] for place in asked], asked), strict=True):
                ply = self._plies_B[place][number]
                lost = self._losses(place, ply)
                sums["lost"][place] += DECIDED if written.move is None else lost[written.move]
                sums["legal"][place] += written.at_once
                sums["changed"][place] += written.move != next(iter(self._moves_B[place][ply:]), None)
                sums["moves"][place] += 1
        return Measured(sums)

    def _turn_to(self, number: int, place: int, table: Table, model: GameModel) -> bool:
        """Set up a game's next question; False where there is none, or the model's context does not hold it."""
        if number >= len(self._plies_B[place]):
            return False
        ply = self._plies_B[place][number]
        table.moves, table.position = self._moves_B[place][:ply], self._positions_B[place][ply]
        return table.set_prompt(model)

    def _losses(self, place: int, ply: int) -> dict[int, float]:
        """Centipawns that each legal move loses, searched once for all models."""
        if (place, ply) not in self._lost:
            self._lost[place, ply] = losses(self._search, self._positions_B[place][ply], self._depth)
        return self._lost[place, ply]
