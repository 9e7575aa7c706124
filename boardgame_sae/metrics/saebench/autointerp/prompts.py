"""What a language model is asked about a latent, and how its answers are read.

A position is shown as the moves that led to it, who is to move, and the board. Prompts follow SAEBench's.
"""

import re
from collections.abc import Sequence

import numpy as np

from boardgame_sae.testbeds.testbed import Testbed

Message = dict[str, str]
MAX_EXPLANATION, MAX_ANSWER = 60, 60
"""Tokens of an explanation, and of a list of positions."""
_INTRODUCTION = (
    "We study the latents of a sparse autoencoder of a neural network that plays the board game {game}. Each latent is "
    "on at some positions of games and off at all others. A position is given by the moves so far, the player to move, "
    "and the board, row by row, with . for an empty square."
)


def described(testbed: Testbed, split: str, row: int) -> str:
    """A scored position as text."""
    where, game = testbed.positions(split), testbed.corpus.game
    place, ply = int(where.games_B[where.game_N[row]]), int(where.ply_N[row])
    moves = next(iter(testbed.corpus.record(np.array([place])))).tolist()[:ply]
    pieces, position = game.pieces(moves), game.position_after(moves)
    text = "".join(pieces) if any(" " in piece for piece in pieces) else " ".join(pieces)
    cells, (n_rows, n_columns) = game.cells(position), game.shape
    rows = [cells[row * n_columns : (row + 1) * n_columns] for row in range(n_rows)]
    rows = rows if game.first_row_on_top else rows[::-1]
    mover = "first" if game.mover(position) else "second"
    return f"moves: {text.strip()}; to move: the {mover} player; board: {' / '.join(rows)}"


def explanation_messages(game: str, positions: Sequence[str], activations: Sequence[float]) -> list[Message]:
    """Ask for an explanation from positions at which a latent is on, the strongest first."""
    system = (
        f"{_INTRODUCTION.format(game=game)} You are given positions at which one latent is on, the most strongly "
        "active first. Say in one short sentence what they have in common that would tell when the latent is on. Think "
        "of what stands on which square, of whose it is, and of the moves. Answer in the form "
        '"This latent is on when ..."'
    )
    largest = max(activations)
    lines = [
        f"{number}. (activation {activation / largest:.2f}) {position}"
        for number, (position, activation) in enumerate(zip(positions, activations, strict=True), 1)
    ]
    return _messages(system, "\n".join(lines))


def detection_messages(game: str, explanation: str, positions: Sequence[str]) -> list[Message]:
    """Ask at which of some positions a latent is on, by its explanation."""
    system = (
        f"{_INTRODUCTION.format(game=game)} You are given a short explanation of one latent, and {len(positions)} "
        "positions in random order. Answer with a comma-separated list of the numbers of those at which the latent is "
        'on, such as "1, 4, 5", or with "None". Answer with nothing else.'
    )
    lines = [f"{number}. {position}" for number, position in enumerate(positions, 1)]
    return _messages(system, f"The latent is on when {explanation}.\n\n" + "\n".join(lines))


def _messages(system: str, user: str) -> list[Message]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def read_explanation(answer: str) -> str:
    """An explanation without the words that it was asked to begin with, on one line."""
    line = " ".join(answer.split())
    return re.split(r"\bis on when\b", line, flags=re.IGNORECASE)[-1].strip(" .")


def read_numbers(answer: str, n: int) -> set[int] | None:
    """The numbers, of 1 to n, that a list names; none of `None`. None: the answer is no such list."""
    text = re.sub(r"\band\b|[;&]", ",", answer.strip().strip(".[]()\"'`"))
    if text.strip().lower() == "none":
        return set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(re.fullmatch(r"[0-9]{1,6}", word) for word in words):
        return None
    numbers = {int(word) for word in words}
    return numbers if all(1 <= number <= n for number in numbers) else None
