"""One position by different orders of the moves: the board is the same, and so should be what a model makes of it.

The last moves of a game are played in other orders that the rules allow. Some lead to the same position, with the same
player to move, others to another one. The latter are pairs as near as can be whose truth differs; pairs with another
game's position after as many plies are far ones.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.games import Game, MoveRecord

REORDERED = 5
"""Last moves that are played in other orders."""
SAME, OTHER, FAR = "same position", "other position, same moves", "another game's position"


class Pair(NamedTuple):
    """Two games to the same number of plies, each with one more legal move."""

    game: int
    """The number of the game that both come from, or the first."""
    ply: int
    kind: str
    """SAME, OTHER or FAR."""
    first: list[int]
    second: list[int]


def orders(game: Game, position: Any, moves: Sequence[int]) -> Iterator[tuple[list[int], Any]]:
    """All orders of some moves that the rules allow, and the position that each leads to."""
    if not len(moves):
        yield [], position
        return
    legal = game.legal_moves(position)
    for place, move in enumerate(moves):
        if move in legal and move not in moves[:place]:
            for rest, reached in orders(game, game.play(position, move), [*moves[:place], *moves[place + 1 :]]):
                yield [move, *rest], reached


def pairs_of(game: Game, moves: list[int], ply: int, number: int, rng: np.random.Generator) -> list[Pair]:
    """At most one pair of the same position and one of another, of a game's first plies."""
    positions = list(game.positions(moves[:ply]))
    first, here = max(0, ply - REORDERED), positions[ply]
    found: dict[str, list[tuple[list[int], Any]]] = {SAME: [], OTHER: []}
    for order, reached in orders(game, positions[first], moves[first:ply]):
        if order == moves[first:ply] or game.mover(reached) != game.mover(here) or not game.legal_moves(reached):
            continue
        same = game.cells(reached) == game.cells(here)
        if same and game.legal_moves(reached) != game.legal_moves(here):
            continue  # the board is not all of it: castling rights, a capture in passing
        found[SAME if same else OTHER].append((order, reached))
    pairs = []
    for kind, others in found.items():
        if others:
            order, reached = others[rng.integers(len(others))]
            second = [*moves[:first], *order, game.legal_moves(reached)[0]]
            pairs.append(Pair(number, ply, kind, moves[: ply + 1], second))
    return pairs


def drawn_pairs(game: Game, record: MoveRecord, plies: Sequence[Sequence[int]], seed: int) -> list[Pair]:
    """Pairs of each kind, from one ply of each game, drawn at random.

    plies: those at which each game may be asked; a game must go on after each.
    """
    games, pairs = [moves.tolist() for moves in record], list[Pair]()
    asked: dict[int, list[int]] = {}
    for number, moves in enumerate(games):
        rng = np.random.default_rng(seed_for(seed, "orders", number))
        allowed = [ply for ply in plies[number] if ply >= 2]
        if not allowed:
            continue
        ply = int(rng.choice(allowed))
        pairs += pairs_of(game, moves, ply, number, rng)
        asked.setdefault(ply, []).append(number)
    for ply, numbers in sorted(asked.items()):
        for one, other in zip(numbers, [*numbers[1:], numbers[0]], strict=True):
            if one != other:
                pairs.append(Pair(one, ply, FAR, games[one][: ply + 1], games[other][: ply + 1]))
    return pairs


def total_variation(p_NV: np.ndarray, q_NV: np.ndarray) -> np.ndarray:
    """Half of the summed differences of two distributions: (N,)."""
    return np.abs(p_NV - q_NV).sum(1) / 2
