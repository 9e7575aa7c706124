"""Boards with one or two squares set otherwise: which there are, and which of them the rules could have led to.

An edit is asked about only where it changes which moves are legal: elsewhere a model that takes no notice of it is
right as well. Two boards apart by one square are seldom both reached by play. Where they are, playing the game's last
plies in another order often leads from the one to the other; such an edit is called natural, and every other one
unnatural: not known to be reachable, and often not reachable at all, as after a disc of Othello is taken away.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.games import Game, MoveRecord

REORDERED = 5
"""Plies that are played in another order to reach a natural board."""
TRIED = 8
"""Positions of a game that are tried for a natural board; any of them for what is quicker to find."""
KINDS = ("natural", "replace", "remove")
"""A natural board; a disc turned, or a piece of another kind or colour; a disc or piece taken away."""
OF_TWO = ("move", "swap")
"""A disc or piece that stands on another square, which was empty; what stands on two squares exchanged."""
EMPTY = "empty"
"""What every game's board calls a square where nothing stands."""


class SquareChange(NamedTuple):
    """What is to stand on a square."""

    square: int
    old: str
    """What stands there, a class of the game's board, as the player to move sees it."""
    new: str


class BoardEdit(NamedTuple):
    """One or two squares set otherwise."""

    changes: tuple[SquareChange, ...]
    kind: str
    """One of KINDS, which set one square, or of OF_TWO."""
    position: Any
    """The edited position."""
    legal: list[int]
    """Its legal moves, by their codes: not those of the position as it was, and never none."""


def contents_of(game: Game, moves: Sequence[int], n_plies: Sequence[int]) -> list[list[str]]:
    """What stands on every square after some numbers of plies, as the player to move sees it."""
    boards = game.boards(MoveRecord.of([moves]))
    labels_NSC = game.property(game.board_property).evaluate(boards[np.asarray(n_plies)])
    classes_NS = labels_NSC.reshape(len(n_plies), len(game.squares), -1).argmax(-1)
    return [[game.contents[content] for content in classes_S] for classes_S in classes_NS]


def set_square(game: Game, position: Any, square: int, content: str) -> Any:
    """The position with a square set otherwise, or None where the rules know none such."""
    try:
        return game.with_square(position, square, content)
    except ValueError:
        return None


def edit_to(game: Game, position: Any, changes: Sequence[SquareChange], kind: str) -> BoardEdit | None:
    """An edit, if there is one that changes the legal moves and leaves some."""
    edited = position
    for one in changes:
        edited = None if edited is None else set_square(game, edited, one.square, one.new)
    legal = [] if edited is None else game.legal_moves(edited)
    if not legal or legal == game.legal_moves(position):
        return None
    return BoardEdit(tuple(changes), kind, edited, legal)


def edits_of(game: Game, positions: Sequence[Any], moves: Sequence[int], ply: int, kind: str) -> Iterator[BoardEdit]:
    """Every edit of a kind after some plies of a game that changes the legal moves.

    positions: the game's, the start first. moves: the codes of its moves.
    """
    (contents,) = contents_of(game, moves, [ply])
    if kind == "natural":
        yield from _reordered(game, positions, moves, ply, contents)
        return
    changes = _of_two(contents, kind) if kind in OF_TWO else _of_one(game, contents, kind)
    for change in changes:
        if edit := edit_to(game, positions[ply], change, kind):
            yield edit


def _of_one(game: Game, contents: Sequence[str], kind: str) -> Iterator[tuple[SquareChange]]:
    """Every disc or piece taken away, or replaced by every other."""
    for square, old in enumerate(contents):
        if old != EMPTY:
            for new in [EMPTY] if kind == "remove" else [c for c in game.contents if c not in (EMPTY, old)]:
                yield (SquareChange(square, old, new),)


def _of_two(contents: Sequence[str], kind: str) -> Iterator[tuple[SquareChange, SquareChange]]:
    """Every disc or piece on every empty square instead, or every two that differ exchanged."""
    for (first, a), (second, b) in itertools.combinations(enumerate(contents), 2):
        n_empty = (a, b).count(EMPTY)
        if a != b and n_empty == (1 if kind == "move" else 0):
            yield SquareChange(first, a, b), SquareChange(second, b, a)


def _reordered(
    game: Game, positions: Sequence[Any], moves: Sequence[int], ply: int, contents: Sequence[str]
) -> Iterator[BoardEdit]:
    """Edits whose board another order of the last plies leads to, each once."""
    first, position = max(0, ply - REORDERED), positions[ply]
    cells, seen = game.cells(position), set[str]()
    for other in _orders(game, positions[first], moves[first:ply]):
        other_cells = game.cells(other)
        differing = [square for square, pair in enumerate(zip(cells, other_cells, strict=True)) if len(set(pair)) > 1]
        if len(differing) != 1 or other_cells in seen or game.mover(other) != game.mover(position):
            continue
        seen.add(other_cells)
        for new in game.contents:
            change = SquareChange(differing[0], contents[differing[0]], new)
            edit = edit_to(game, position, [change], "natural")
            if edit and game.cells(edit.position) == other_cells and edit.legal == game.legal_moves(other):
                yield edit


def _orders(game: Game, position: Any, moves: Sequence[int]) -> Iterator[Any]:
    """The positions after all orders of some moves that the rules allow."""
    if not len(moves):
        yield position
        return
    legal = game.legal_moves(position)
    for place, move in enumerate(moves):
        if move in legal:
            yield from _orders(game, game.play(position, move), [*moves[:place], *moves[place + 1 :]])


def drawn_edits(
    game: Game,
    positions: Sequence[Any],
    moves: Sequence[int],
    plies: Sequence[int],
    kinds: Sequence[str],
    rng: np.random.Generator,
    wanted: Callable[[int, BoardEdit], bool] = lambda ply, edit: True,  # noqa: ARG005
) -> list[tuple[int, BoardEdit]]:
    """At most one edit of each kind of a game, with the number of plies before it.

    Plies are tried in random order; of the wanted edits of the first one that has any, one is drawn.
    """
    drawn = []
    for kind in kinds:
        order = rng.permutation(np.array(plies, np.int64)).tolist()
        for ply in order[:TRIED] if kind == "natural" else order:
            found = [edit for edit in edits_of(game, positions, moves, ply, kind) if wanted(ply, edit)]
            if found:
                drawn.append((ply, found[rng.integers(len(found))]))
                break
    return drawn
