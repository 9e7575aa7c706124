"""The edits of a split: chosen by rule, asked of the model under any intervention, judged by the rules.

Edits are drawn where the model follows the rules on the board as it is: where its N most probable moves, N being the
number of legal ones, are the legal moves, or, where moves are written, where its most probable one is legal and, as
published, no longer so on the edited board. What remains wrong afterwards is then the edit's fault. A model that has
learned too little for that is asked anywhere. What is to stand on a square has to be seen there in train games: neither
a probe nor an SAE can know of an empty centre of Othello.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.config import seed_for
from boardgame_sae.games import Boards, MoveRecord
from boardgame_sae.metrics.causal.asking import Answers, Asking, Hooked, HooksOf, unchanged
from boardgame_sae.metrics.causal.boards import KINDS, OF_TWO, BoardEdit, drawn_edits
from boardgame_sae.metrics.causal.inner_board import Intervention, Setting, hooks_that_set, seen_by_the_other
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.model.float64 import exact
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.labels import Positions

ASKED_PER_GAME = 6
"""Positions of a game that a model writes a move at, for edits to be drawn from."""
MIN_SEEN = 10
"""How often what is to stand on a square stands there at scored positions of train games, at least."""
PILOT, MIN_EDITS = 20, 10
"""Kinds of edits are asked about that a quarter of the first validation games have, of so many; and there must be so
many edits in each split."""


class Outcomes(NamedTuple):
    """What comes of N edits, by the rules on some boards."""

    error_N: np.ndarray
    """int64: wrong and missing moves among the N most probable ones, N being the number of legal moves; 1 where the
    move that is written is illegal, and 0 where it is legal."""
    mass_N: np.ndarray
    """Total probability of the legal moves; where moves are written, the share of those sampled that are legal."""
    greedy_N: np.ndarray
    """bool: whether the most probable move is legal."""


def top_errors(logits_NV: Tensor, legal_NV: np.ndarray) -> np.ndarray:
    """int64 (N,): of the n most probable tokens, n being the number of legal ones, those that are illegal, and the
    legal ones that are not among them. Equal logits count in the order of the alphabet.
    """
    order_NV = logits_NV.argsort(dim=1, descending=True, stable=True).cpu().numpy()
    hits_NV = np.take_along_axis(legal_NV, order_NV, axis=1)
    n_legal_N = legal_NV.sum(1)
    hits_N = (hits_NV & (np.arange(legal_NV.shape[1]) < n_legal_N[:, None])).sum(1)
    return 2 * (n_legal_N - hits_N)


@dataclass(frozen=True, eq=False)
class Edits:
    """N edits of a split's games."""

    testbed: Testbed
    where: Positions
    """The positions of the games at which boards are read."""
    row_N: np.ndarray
    """The position each edit is made at, by its number among those."""
    edits: Sequence[BoardEdit]
    before: Sequence[Any]
    """The positions as they are."""
    asking: Asking
    mover_N: np.ndarray
    """bool: of all positions of `where`, whether the player who began is to move."""

    def __len__(self) -> int:
        return len(self.edits)

    @cached_property
    def game_N(self) -> np.ndarray:
        """The game of each edit."""
        return self.where.game_N[self.row_N]

    @cached_property
    def kind_N(self) -> np.ndarray:
        """The kind of each edit, by its number in KINDS or, where two squares are set, in OF_TWO."""
        return np.array([(KINDS if edit.kind in KINDS else OF_TWO).index(edit.kind) for edit in self.edits])

    @cached_property
    def square_SN(self) -> np.ndarray:
        """The squares of each edit: one, or two."""
        return np.array([[one.square for one in edit.changes] for edit in self.edits]).T

    @cached_property
    def content_2SN(self) -> np.ndarray:
        """What stands on these squares, and what is to stand there, by numbers."""
        number = self.testbed.corpus.game.contents.index
        changes = [[[number(one.old), number(one.new)] for one in edit.changes] for edit in self.edits]
        return np.array(changes).transpose(2, 1, 0)

    def ask(self, intervention: Intervention | None, *, n_samples: int = 0, seed: int = 0) -> Answers:
        """The model's answers under an intervention; None leaves the model as it is."""
        hooks_of = unchanged if intervention is None else self._hooks_of(intervention)
        return self.asking(self.game_N, self.where.token_N[self.row_N], hooks_of, n_samples=n_samples, seed=seed)

    def outcomes(self, answers: Answers, *, edited: bool = True) -> Outcomes:
        """Judge answers by the rules on the edited boards, or on the boards as they are."""
        positions = [edit.position for edit in self.edits] if edited else self.before
        game = self.testbed.corpus.game
        legal = [game.legal_moves(position) for position in positions]
        return judged(self.testbed, answers, positions, legal)

    def settings(self, rows: np.ndarray) -> list[tuple[Setting, Setting]]:
        """What some of the edits set, square by square, each also as the other player sees it.

        A further square counts as an edit of its own: a random direction is drawn for each.
        """
        other = seen_by_the_other(self.testbed.corpus.game.contents)

        def setting(square: int, contents_2N: np.ndarray) -> Setting:
            parts = (rows + square * len(self), self.square_SN[square, rows], *contents_2N)
            return Setting(*(torch.from_numpy(part).to(self.asking.tokens_BL.device) for part in parts))

        contents_2SN = self.content_2SN[:, :, rows]
        numbers = range(len(self.square_SN))
        return [(setting(s, contents_2SN[:, s]), setting(s, other[contents_2SN[:, s]])) for s in numbers]

    def _hooks_of(self, intervention: Intervention) -> HooksOf:
        def hooks_of(rows: np.ndarray) -> Hooked:
            settings, last_N1 = self.settings(rows), torch.ones(len(rows), 1, dtype=torch.int8)
            own = hooks_that_set(intervention.changes, settings, last_N1)
            earlier = self._earlier(rows) if intervention.everywhere else None
            return Hooked(own, None if earlier is None else hooks_that_set(intervention.changes, settings, earlier))

        return hooks_of

    def _earlier(self, rows: np.ndarray) -> Tensor:
        """(N, L) int8: the tokens before each edit at which boards are read, -1 where the other player is to move."""
        marks_NL = np.zeros((len(rows), self.asking.tokens_BL.shape[1]), np.int8)
        for mark_L, row in zip(marks_NL, self.row_N[rows], strict=True):
            first = np.searchsorted(self.where.game_N, self.where.game_N[row])
            same_N = self.mover_N[first:row] == self.mover_N[row]
            mark_L[self.where.token_N[first:row]] = np.where(same_N, 1, -1)
        return torch.from_numpy(marks_NL)


def judged(testbed: Testbed, answers: Answers, positions: Sequence[Any], legal: Sequence[Sequence[int]]) -> Outcomes:
    """Judge answers by the rules at some positions, whose legal moves are given by their codes."""
    game = testbed.corpus.game
    if answers.logits_NV is None:
        right = [
            [game.judge(position, text) == "legal" for text in texts]
            for position, texts in zip(positions, answers.written, strict=True)
        ]
        greedy_N = np.array([first for first, *_ in right], bool)
        mass_N = np.array([np.mean(sampled) if sampled else 0.0 for _, *sampled in right])
        return Outcomes((~greedy_N).astype(np.int64), mass_N, greedy_N)
    legal_NV = legal_tokens(testbed, legal)
    chances_NV = exact(answers.logits_NV).softmax(-1).cpu().numpy()
    greedy_N = legal_NV[np.arange(len(legal)), chances_NV.argmax(1)]
    return Outcomes(top_errors(answers.logits_NV, legal_NV), (chances_NV * legal_NV).sum(1), greedy_N)


def legal_tokens(testbed: Testbed, legal: Sequence[Sequence[int]]) -> np.ndarray:
    """bool (N, V): legal moves, given by their codes, as tokens."""
    tokens = [testbed.corpus.game.move_tokens(MoveRecord.of([moves])) for moves in legal]
    legal_NV = np.zeros((len(legal), len(testbed.corpus.alphabet)), bool)
    legal_NV[np.repeat(np.arange(len(legal)), [len(moves) for moves in legal]), np.concatenate(tokens)] = True
    return legal_NV


def drawn(
    testbed: Testbed,
    split: str,
    n_games: int,
    seed: int,
    n_edits: int | None = None,
    kinds: tuple[str, ...] | None = None,
) -> Edits:
    """At most one edit of each kind in each of the first games of a split: ask `testbed.once(drawn, ...)`.

    n_edits: no further games are looked at once there are so many. kinds: by default those that are common enough on
    validation games.
    Raises UnscorableError where boards are read within moves, and where there are too few edits.
    """
    if testbed.read_at == "token":
        raise UnscorableError("boards are read at every token, where no move need begin; read them at plies")
    if kinds is None:
        kinds = testbed.once(common_kinds, seed)
    edits = _drawn(testbed, split, n_games, kinds, seed, n_edits)
    if len(edits) < MIN_EDITS:
        raise UnscorableError(
            f"only {len(edits)} edits that change the legal moves are found in {n_games} {split} games "
            f"where the model follows the rules ({_why_not(testbed)}); use more games, or a better model"
        )
    return edits


def board_labels(testbed: Testbed, n_games: int) -> np.ndarray:
    """bool (N, P): what stands where at the scored positions of the first train games: ask `testbed.once(...)`."""
    where, corpus = testbed.positions("train"), testbed.corpus
    where = where.rows(0, int(np.searchsorted(where.game_N, n_games)))
    boards = corpus.boards(where.games_B)
    labels = corpus.game.property(corpus.game.board_property).evaluate(boards[boards.rows(where.game_N, where.ply_N)])
    return labels.reshape(len(labels), -1)


def seen_contents(testbed: Testbed) -> np.ndarray:
    """bool (squares, contents): what stands on each square often enough in the scored train games."""
    counts_P = testbed.once(board_labels, testbed.n_games).sum(0)
    return counts_P.reshape(len(testbed.corpus.game.squares), -1) >= MIN_SEEN


def common_kinds(testbed: Testbed, seed: int) -> tuple[str, ...]:
    """The kinds of edits that a quarter of the first validation games have; all but the natural ones if none is."""
    pilot = {kind: _drawn(testbed, "validation", PILOT, (kind,), seed) for kind in KINDS}
    common = tuple(kind for kind, edits in pilot.items() if 4 * len(edits) >= min(PILOT, len(edits.where.games_B)))
    return common or KINDS[1:]


def follows_rules(testbed: Testbed) -> bool:
    """Whether a model of whole moves is right at a quarter of the positions of the first validation games."""
    where, corpus = testbed.positions("validation"), testbed.corpus
    where = where.rows(0, int(np.searchsorted(where.game_N, PILOT)))
    boards = corpus.boards(where.games_B)
    right_K = _right(Asking.of_games(testbed, where.games_B), where, boards[boards.rows(where.game_N, where.ply_N)])
    return 4 * len(right_K) >= len(where)


def _why_not(testbed: Testbed) -> str:
    """What the game says of setting a square, at its start."""
    game = testbed.corpus.game
    try:
        game.with_square(game.start(), 0, game.contents[0])
    except ValueError as error:
        return str(error)
    return "edits are made where moves are right on the board as it is"


def _drawn(
    testbed: Testbed, split: str, n_games: int, kinds: Sequence[str], seed: int, n_edits: int | None = None
) -> Edits:
    every, corpus = testbed.positions(split), testbed.corpus
    n = int(np.searchsorted(every.game_N, n_games))
    where = Positions(every.games_B[:n_games], every.game_N[:n], every.token_N[:n], every.ply_N[:n])
    asking, boards = Asking.of_games(testbed, where.games_B), corpus.boards(where.games_B)
    boards = boards[boards.rows(where.game_N, where.ply_N)]
    written = None if corpus.tokenizer.is_whole_move else _written(asking, where, split, seed)
    seen_SC, contents = testbed.once(seen_contents), corpus.game.contents
    row_K = _right(asking, where, boards) if written is None else np.array(sorted(written), np.int64)
    if written is None and not testbed.once(follows_rules):
        row_K = np.arange(len(where))
    rows, edits, before = list[int](), list[BoardEdit](), list[Any]()
    with progress(len(where.games_B), f"{split} edits", "games", leave=False) as bar:
        for number, moves in enumerate(corpus.record(where.games_B)):
            bar.update(1)
            if n_edits is not None and len(edits) >= n_edits:
                break
            own = row_K[slice(*np.searchsorted(where.game_N[row_K], [number, number + 1]))]
            row_of = {int(where.ply_N[row]): int(row) for row in own if where.ply_N[row] < len(moves)}

            def wanted(ply: int, edit: BoardEdit, row_of: dict[int, int] = row_of) -> bool:
                if not all(seen_SC[one.square, contents.index(one.new)] for one in edit.changes):
                    return False
                return written is None or corpus.game.judge(edit.position, written[row_of[ply]]) != "legal"

            positions, rng = list(corpus.game.positions(moves.tolist())), _generator(seed, split, number)
            found = drawn_edits(corpus.game, positions, moves.tolist(), list(row_of), kinds, rng, wanted)
            rows += [row_of[ply] for ply, _ in found]
            edits += [edit for _, edit in found]
            before += [positions[ply] for ply, _ in found]
    return Edits(testbed, where, np.array(rows, np.int64), edits, before, asking, boards.mover_N)


def _generator(seed: int, split: str, game: int) -> np.random.Generator:
    return np.random.default_rng(seed_for(seed, "edits", split, game))


def _right(asking: Asking, where: Positions, boards: Boards) -> np.ndarray:
    """The numbers of the positions at which the most probable moves are the legal ones."""
    legal_NV = asking.corpus.tokenizer.legal_tokens(asking.corpus.game, boards)
    logits_NV = asking.logits_BLV[where.game_N, where.token_N]
    return np.flatnonzero((top_errors(logits_NV, legal_NV) == 0) & legal_NV.any(1))


def _written(asking: Asking, where: Positions, split: str, seed: int) -> dict[int, str]:
    """The move that the model writes at some positions of each game, drawn at random, where it is legal."""
    game, corpus = asking.corpus.game, asking.corpus
    rows, positions = list[int](), list[Any]()
    for number, moves in enumerate(corpus.record(where.games_B)):
        own = np.arange(*np.searchsorted(where.game_N, [number, number + 1]))
        own = own[where.ply_N[own] < len(moves)]
        chosen = np.sort(_generator(seed, split, number).permutation(own)[:ASKED_PER_GAME])
        after = list(game.positions(moves.tolist()))
        rows += chosen.tolist()
        positions += [after[ply] for ply in where.ply_N[chosen]]
    row_K = np.array(rows, np.int64)
    answers = asking(where.game_N[row_K], where.token_N[row_K])
    texts = [first for first, *_ in answers.written]
    return {row: text for row, text, at in zip(rows, texts, positions, strict=True) if game.judge(at, text) == "legal"}
