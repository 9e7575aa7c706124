"""One latent: the property it stands for, the boards that switch it on, and what those boards have in common.

Boards are plain data, one character a square, so that a page can draw them; nothing here is a picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.testbed import Testbed
from boardgame_sae.games import Game
from boardgame_sae.metrics.latents import Latents, as_latents
from boardgame_sae.metrics.score import ROWS_AT_ONCE, Scores

N_BOARDS = 8
EMPTY = "."
"""How `Game.cells` writes an empty square."""
Card = dict[str, Any]


def latent_cards(
    testbed: Testbed,
    sae: Any,
    scores: Scores,
    n: int,
    *,
    n_boards: int = N_BOARDS,
    activations: Mapping[str, Tensor] | None = None,
) -> list[Card]:
    """The n best latents of an SAE, as the classifier of a property: by how far above chance the test F1 of each is.

    Above chance is (F1 - F1_always) / (1 - F1_always): else what is nearly always true would come first.

    sae: what the scores are of; `encode` is all that is used. activations: those of the testbed's train and test
    positions, if already read. A card holds:
    property, label, latent, f1, precision, recall, threshold (a share of the largest activation on train), chance (F1
    of saying yes always), base (share of positions where it is true), density (share where the latent is above zero),
    on (share where it is above its threshold), boards (where it is most active) and mean (what its boards have).
    """
    best = best_latents(scores, n)
    if not best:
        return []
    known = activations or {split: testbed.activations(split) for split in ("train", "test")}
    chosen = [each["latent"] for each in best]
    max_F = encode_latents(sae, known["train"], chosen).max_F()
    latents = encode_latents(sae, known["test"], chosen)
    return [_card(testbed, each, latents.columns(i, i + 1), float(max_F[i]), n_boards) for i, each in enumerate(best)]


def best_latents(scores: Scores, n: int) -> list[Card]:
    """The n latents of test F1 farthest above chance over all properties, each once, with the class it stands for."""
    found = []
    for prop, value in scores["coverage"].details["by_property"].items():
        details = value["details"]
        names = ("columns", "f1", "always_on", "latent", "threshold")
        for label, f1, always_on, latent, threshold in zip(*(details[name] for name in names), strict=True):
            card = {"property": prop, "label": label, "latent": latent, "f1": f1, "threshold": threshold}
            found.append((-(f1 - always_on) / max(1 - always_on, 1e-9), prop, label, card))
    found.sort(key=lambda entry: entry[:3])
    distinct: dict[int, Card] = {}
    for *_, card in found:
        distinct.setdefault(card["latent"], card)
    return list(distinct.values())[:n]


@torch.no_grad()
def encode_latents(sae: Any, acts_ND: Tensor, chosen: Sequence[int]) -> Latents:
    """The chosen latents, in that order, of activations."""
    device = getattr(sae, "device", torch.device("cpu"))
    parts = [as_latents(sae.encode(part.to(device))[:, list(chosen)].cpu()) for part in acts_ND.split(ROWS_AT_ONCE)]
    return Latents.concatenate(parts)


def _card(testbed: Testbed, about: Card, latent: Latents, largest: float, n_boards: int) -> Card:
    columns = next(columns for columns in testbed.columns if columns.name == about["property"])
    true_N = testbed.labels("test")[:, columns.start + columns.labels.index(about["label"])]
    bar = np.asarray(about["threshold"], latent.values_Z.dtype) * latent.values_Z.dtype.type(largest)
    on_Z = latent.rows_Z[latent.values_Z > bar]
    hits, base = int(true_N[on_Z].sum()), float(true_N.mean())
    return {
        **about,
        "precision": _rounded(hits / max(len(on_Z), 1)),
        "recall": _rounded(hits / max(int(true_N.sum()), 1)),
        "chance": _rounded(2 * base / (1 + base)),
        "base": _rounded(base),
        "density": _rounded(latent.density_F()[0]),
        "on": _rounded(len(on_Z) / max(latent.n_positions, 1)),
        "boards": _top_boards(testbed, latent, n_boards),
        "mean": mean_boards(testbed, on_Z),
    }


def _top_boards(testbed: Testbed, latent: Latents, n_boards: int) -> list[Card]:
    """Where a latent is most active, strongest first: one position a game, and no board twice."""
    where, boards = testbed.positions("test"), []
    games, seen = set(), set()
    for place in np.argsort(-latent.values_Z, kind="stable"):
        row = int(latent.rows_Z[place])
        if len(boards) == n_boards:
            break
        if where.game_N[row] in games:
            continue
        games.add(where.game_N[row])
        board = board_at(testbed, int(where.games_B[where.game_N[row]]), int(where.ply_N[row]))
        if board["cells"] not in seen:
            seen.add(board["cells"])
            boards.append({**board, "activation": _rounded(latent.values_Z[place])})
    return boards


def board_at(testbed: Testbed, game_place: int, ply: int) -> Card:
    """A position of a corpus game: cells, squares of the last move, who is to move, and the game up to there."""
    game = testbed.corpus.game
    moves = next(iter(testbed.corpus.record(np.array([game_place])))).tolist()[:ply]
    position = before = game.start()
    for move in moves:
        before, position = position, game.play(position, move)
    cells = game.cells(position)
    return {
        "cells": cells,
        "last": last_squares(game.cells(before), cells),
        "first_to_move": bool(game.mover(position)),
        "ply": ply,
        "text": _text(game, moves),
    }


def last_squares(before: str, after: str) -> list[int]:
    """Squares that the last move put something on: those filled of late, or else (a capture) those that changed."""
    changed = [s for s, (old, new) in enumerate(zip(before, after, strict=True)) if old != new and new != EMPTY]
    return [s for s in changed if before[s] == EMPTY] or changed


def mean_boards(testbed: Testbed, on_Z: np.ndarray) -> list[Card]:
    """How often squares show each class of the headline property where a latent is on, less how often on all of test.

    on_Z: the rows where it is on. The two classes that differ most, as (class, difference by square); they are stated
    for the player to move. None where the latent is never on or the property is not about squares.
    """
    columns, n_squares = testbed.columns[0], len(testbed.corpus.game.squares)
    if len(on_Z) == 0 or (columns.square_P < 0).any():
        return []
    labels_NP = testbed.labels("test")[:, columns.start : columns.stop]
    difference_SC = (labels_NP[on_Z].mean(0) - labels_NP.mean(0)).reshape(n_squares, -1)
    names = testbed.corpus.game.property(columns.name).classes or (columns.name,)
    widest = sorted(np.argsort(-np.abs(difference_SC).max(0), kind="stable")[:2].tolist())
    return [{"class": names[c], "difference": [_rounded(value) for value in difference_SC[:, c]]} for c in widest]


def _text(game: Game, moves: Sequence[int]) -> str:
    """Moves as written, with a space between moves that hold none of their own."""
    pieces = game.pieces(list(moves))
    return "".join(pieces) if any(" " in piece for piece in pieces) else " ".join(pieces)


def _rounded(value: Any) -> float:
    return round(float(value), 4)
