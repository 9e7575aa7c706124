"""A model writes its next move in many games at once, and again where its move is not legal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boardgame_sae.activations.growing import GrowingGames
from boardgame_sae.games import MoveRecord, SplitMix64
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import Hook
from boardgame_sae.model.sampling import choose

GREEDY = (0.0, 0.2, 0.4, 0.5, 0.5)
"""Temperatures of the tries at a legal move, as published; 0 takes the most probable characters."""


def tries_at(temperature: float) -> tuple[float, ...]:
    """Temperatures of as many tries, the first at a given one: those that follow it are too, unless it is 0."""
    return (temperature,) * len(GREEDY) if temperature else GREEDY


class Written(NamedTuple):
    """A model's move."""

    move: int | None
    """Its code; None where no try was legal."""
    at_once: bool
    """Whether its first try was legal."""


@dataclass
class Table:
    """A game in which a model writes moves."""

    moves: list[int]
    position: Any
    bits: SplitMix64
    """What its tries are sampled by."""
    prompt: list[int] = field(default_factory=list)
    """The tokens that the model reads before its next move."""
    n_read: int = 0
    """How many it has read."""

    def play(self, model: GameModel, move: int) -> None:
        """One more move."""
        self.moves.append(move)
        self.position = model.game.play(self.position, move)

    def set_prompt(self, model: GameModel) -> bool:
        """Find out what the model reads before its move here; False where its context has no room for the move."""
        self.prompt = prompt_of(model, self.moves, self.position)
        written = 1 if model.tokenizer.is_whole_move else model.game.max_written
        return len(self.prompt) + written - 1 <= model.gpt.cfg.n_ctx


def draws_of(seed: int) -> SplitMix64:
    """What the tries of a game are sampled by: not what its opponent draws by."""
    return SplitMix64(~seed & (2**64 - 1))


def prompt_of(model: GameModel, moves: Sequence[int], position: Any) -> list[int]:
    """The tokens that a model reads before it writes the move after some others: `;1.e4 e5 2.`

    Raises ValueError where there are none, as before the first move of a model of whole moves.
    """
    game = model.game
    longer = [*moves, game.legal_moves(position)[0]]
    tokens = model.tokenizer.encode(game, MoveRecord.of([longer])).ids.tolist()
    last = game.pieces(longer)[-1]
    prompt = tokens[: -(1 if model.tokenizer.is_whole_move else len(last) - game.prompt_length(last))]
    if not prompt:
        raise ValueError("a model of whole moves reads a move before it writes one; give a ply or more")
    return prompt


class Writer:
    """A model that writes moves in some games, which it reads once, as they are played."""

    def __init__(
        self, model: GameModel, n_games: int, hooks: Mapping[str, Hook] | None = None, temperature: float = 0.0
    ) -> None:
        """hooks: called with the activations (n, tokens, ...) of what the model reads. temperature: of its moves."""
        self.model, self.game, self.alphabet = model, model.game, model.alphabet
        self._tries = tries_at(temperature)
        self._ends = {"", *model.game.move_end}
        self._growing = GrowingGames(model.gpt, n_games, hooks)

    def __call__(self, tables: Sequence[Table], places: Sequence[int]) -> list[Written]:
        """The next move at each table, whose prompt is set. places: their numbers among all games."""
        logits_NV = self._read(tables, places)
        written = [Written(None, False)] * len(tables)
        for attempt, temperature in enumerate(self._tries):
            rows = [row for row, one in enumerate(written) if one.move is None]
            if not rows:
                break
            tried = [tables[row] for row in rows], [places[row] for row in rows]
            for row, move in zip(rows, self._tried(*tried, logits_NV[self._ids(rows)], temperature), strict=True):
                written[row] = Written(move, attempt == 0 and move is not None)
        return written

    def _read(self, tables: Sequence[Table], places: Sequence[int]) -> Tensor:
        """Read what is new at each table; the logits (N, V) of the next token."""
        new = [one.prompt[one.n_read :] for one in tables]
        n_tokens = max(map(len, new))
        tokens_NT = torch.tensor([part + [0] * (n_tokens - len(part)) for part in new], device=self.model.gpt.device)
        logits_NTV = self._growing(self._ids(places), self._ids(one.n_read for one in tables), tokens_NT)
        for one in tables:
            one.n_read = len(one.prompt)
        return logits_NTV[self._ids(range(len(tables))), self._ids(len(part) - 1 for part in new)]

    def _tried(
        self, tables: Sequence[Table], places: Sequence[int], logits_NV: Tensor, temperature: float
    ) -> list[int | None]:
        """One try at each move. It stays a trial: the next read begins where the prompt ends."""
        n_new = 1 if self.model.tokenizer.is_whole_move else self.game.max_written
        draws = [[one.bits.fraction() if temperature else 0.0 for _ in range(n_new)] for one in tables]
        draws_NT, written = torch.tensor(draws, dtype=torch.float64), [list[int]() for _ in tables]
        rows = list(range(len(tables)))
        for step in range(n_new):
            tokens = choose(logits_NV, temperature, draws_NT[rows, step]).tolist()
            for row, token in zip(rows, tokens, strict=True):
                written[row].append(token)
            rows = [row for row, token in zip(rows, tokens, strict=True) if self.alphabet[token] not in self._ends]
            if not rows or step + 1 == n_new:
                break
            start_N = self._ids(len(tables[row].prompt) + step for row in rows)
            last_N1 = self._ids(written[row][-1] for row in rows)[:, None]
            logits_NV = self._growing(self._ids(places[row] for row in rows), start_N, last_N1)[:, 0]
        return [self._move(one.position, tokens) for one, tokens in zip(tables, written, strict=True)]

    def _move(self, position: Any, tokens: Sequence[int]) -> int | None:
        """The code of a written move, where it is legal."""
        if self.model.tokenizer.is_whole_move:
            legal = self.game.legal_moves(position)
            known = self.game.move_tokens(MoveRecord.of([legal])).tolist()
            return dict(zip(known, legal, strict=True)).get(tokens[0])
        text = "".join(self.alphabet[token] for token in tokens if self.alphabet[token] not in self._ends)
        return self.game.parse_move(position, text) if self.game.judge(position, text) == "legal" else None

    def _ids(self, numbers: Iterable[int]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.int64, device=self.model.gpt.device)
