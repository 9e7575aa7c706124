"""Squares of the board that a model holds are set otherwise, by hand: what it plays before and after.

edited = edit("othello-small", "d3c5f6f5e6e3", "e3", "mine")
edited.after["b6"], edited.errors  # its probability then; wrong and missing moves, before and after
print(edited)

Several squares at once move a piece, or swap two: `["e2", "e4"]`, `["empty", "my pawn"]`.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.games import Game, MoveRecord
from boardgame_sae.metrics.causal.asking import Asking, Hooked, HooksOf, chances, move_names, unchanged
from boardgame_sae.metrics.causal.boards import contents_of
from boardgame_sae.metrics.causal.edits import drawn, judged
from boardgame_sae.metrics.causal.inner_board import (
    Intervention,
    Setting,
    along_probe,
    hooks_that_set,
    seen_by_the_other,
)
from boardgame_sae.metrics.causal.latent_edits import LatentEdits, choose_latent_edits
from boardgame_sae.metrics.causal.probe_edits import ProbeEdit, board_probes, choose_probe_edits, intervention
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.notebook import pictures, table
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.testbed import Testbed

N_TRAIN, N_GAMES, N_EDITS, N_SAMPLES = 300, 200, 120, 50
"""Train games that probes are fitted on, validation games and edits of them that settings are chosen on, and moves that
are sampled where they are written."""


class Changed(NamedTuple):
    """One square that is set otherwise."""

    square: str
    old: str
    """What stands there, as the player to move sees it."""
    new: str


@dataclass(frozen=True, eq=False, repr=False)
class Edited:
    """What a model plays before and after squares of its inner board are set otherwise."""

    game: Game
    changed: tuple[Changed, ...]
    position: Any
    """The position as it is."""
    edited: Any
    """The edited position."""
    before: Mapping[str, float]
    """Probability of each move, as it is written; where moves are written character by character, the share of those
    sampled."""
    after: Mapping[str, float]
    legal: frozenset[str]
    """The legal moves of the position as it is."""
    legal_after: frozenset[str]
    """Those of the edited position."""
    errors: tuple[int, int]
    """Wrong and missing moves on the edited board, of the model as it is and of the edited one (`edits.Outcomes`)."""
    how: str
    """The intervention, in words."""

    def __str__(self) -> str:
        boards = zip(_drawn(self.game, self.position), _drawn(self.game, self.edited), strict=True)
        lines = [f"{self._what}, {self.how}", ""]
        lines += [f"{left}    {right}" for left, right in boards]
        lines += ["", f"{'move':8}{'before':>8}{'after':>8}  legal before, legal on the edited board"]
        for move, before, after, legal, legal_after in self._moves():
            lines.append(f"{move:8}{before:8.3f}{after:8.3f}  {legal:12}  {legal_after}")
        lines.append(f"errors on the edited board: {self.errors[0]} before, {self.errors[1]} after")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Edited({self._what}; errors {self.errors[0]} before, {self.errors[1]} after)"

    @property
    def _what(self) -> str:
        return "; ".join(f"{square}: {old} -> {new}" for square, old, new in self.changed)

    def _repr_html_(self) -> str:
        boards = [(self.game.picture(self.position), "the board"), (self.game.picture(self.edited), "as edited")]
        head = ("move", "before", "after", "legal", "legal as edited")
        return pictures(boards) + table(repr(self), self._moves(), head)

    def _moves(self) -> list[tuple[str, float, float, str, str]]:
        """Moves that matter, the most probable after the edit first: probabilities and legality before and after."""
        named = {*self.legal, *self.legal_after, *(move for move, p in self.after.items() if p >= 0.01)}
        ordered = sorted(named, key=lambda move: (-self.after.get(move, 0.0), move))
        said = {True: "yes", False: "no"}
        return [
            (move, self.before.get(move, 0.0), self.after.get(move, 0.0), said[move in self.legal],
             said[move in self.legal_after])
            for move in ordered
        ]  # fmt: skip


def edit(
    testbed: AnyTestbed,
    moves: str,
    square: str | Sequence[str],
    to: str | Sequence[str],
    *,
    sae: Any = None,
    hook_name: str | None = None,
    scale: float | None = None,
) -> Edited:
    """Set a square, or several at once, of a model's inner board after some moves.

    testbed: itself, its folder, or the name of a shipped one. moves: as the game writes them. to: `mine`, `yours`,
    `empty`, `my rook`: as the player to move sees it; one for each square.
    sae: edit through its latents (anything that `evaluate` takes) instead of a linear probe.
    hook_name: where; by default the layers that are best on validation games, for an SAE the testbed's own.
    scale: length of the change, along the probe's direction or that of the latents' decoder rows; by default the best
    on validation games.
    Raises IllegalMove, HookError, and ValueError for a square, content or position that cannot be edited.
    """
    testbed = as_testbed(testbed)
    if scale is not None and not math.isfinite(scale):
        raise ValueError(f"scale={scale} must be a finite number")
    if sae is not None and hook_name is not None:
        testbed = testbed.at(hook_name)
    game, codes = testbed.corpus.game, testbed.corpus.game.record([moves]).moves_M.tolist()
    position = game.position_after(codes)
    changed = _changes(game, contents_of(game, codes, [len(codes)])[0], square, to)
    edited = position
    for one in changed:
        edited = game.with_square(edited, game.squares.index(one.square), one.new)
    place = _place(testbed, codes, position)
    legal, legal_after = game.legal_moves(position), game.legal_moves(edited)
    if not legal_after:
        what = " and ".join(f"{one.square} {one.new}" for one in changed)
        raise ValueError(f"with {what} the player to move has no legal move: there is nothing to ask")
    chosen, how = _chosen(testbed, sae, hook_name, scale)
    hooks_of = _hooks_of(chosen, game, changed, place.asking.tokens_BL.device)
    answers = [
        place.asking(np.zeros(1, np.int64), np.array([place.token]), hooks, n_samples=N_SAMPLES)
        for hooks in (unchanged, hooks_of)
    ]
    errors = [int(judged(testbed, one, [edited], [legal_after]).error_N[0]) for one in answers]
    return Edited(
        game=game,
        changed=changed,
        position=position,
        edited=edited,
        before=chances(testbed, answers[0]),
        after=chances(testbed, answers[1]),
        legal=frozenset(move_names(testbed, position, legal)),
        legal_after=frozenset(move_names(testbed, edited, legal_after)),
        errors=(errors[0], errors[1]),
        how=how,
    )


def _changes(
    game: Game, contents: Sequence[str], square: str | Sequence[str], to: str | Sequence[str]
) -> tuple[Changed, ...]:
    """What is set, checked. contents: of every square. Raises ValueError."""
    squares, wanted = ([part] if isinstance(part, str) else list(part) for part in (square, to))
    if not squares or len(squares) != len(wanted):
        raise ValueError(f"{len(squares)} squares and {len(wanted)} contents; give one content for each square")
    if len(set(squares)) < len(squares):
        raise ValueError(f"a square is given twice ({', '.join(squares)}); give each once")
    changed = []
    for name, words in zip(squares, wanted, strict=True):
        old = contents[_square(game, name)]
        new = game.checked_content(" ".join(words.replace("_", " ").replace("-", " ").split()))
        if old == new:
            raise ValueError(f"{name} is {new} already; give another content: {', '.join(game.contents)}")
        changed.append(Changed(name, old, new))
    return tuple(changed)


def _hooks_of(chosen: Intervention, game: Game, changed: Sequence[Changed], device: torch.device) -> HooksOf:
    """Hooks that set squares one after another, at the last token."""
    other, last_N1 = torch.from_numpy(seen_by_the_other(game.contents)).to(device), torch.ones(1, 1, dtype=torch.int8)
    settings = []
    for square, *contents in changed:
        numbers = (0, game.squares.index(square), *map(game.contents.index, contents))
        of_edit, of_square, old, new = (torch.tensor([number], device=device) for number in numbers)
        settings.append((Setting(of_edit, of_square, old, new), Setting(of_edit, of_square, other[old], other[new])))
    return lambda _: Hooked(hooks_that_set(chosen.changes, settings, last_N1))


def _square(game: Game, name: str) -> int:
    if name not in game.squares:
        near = difflib.get_close_matches(name.lower(), game.squares, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"they are {game.squares[0]} to {game.squares[-1]}"
        raise ValueError(f"{game.name}: no square {name!r}; {hint}")
    return game.squares.index(name)


class _Place(NamedTuple):
    """Where a model is asked for its next move."""

    asking: Asking
    """The game up to there."""
    token: int
    """Its last token."""


def _place(testbed: Testbed, codes: list[int], position: Any) -> _Place:
    """Where the model is asked for its next move after some moves. Raises ValueError where that cannot be done."""
    game, tokenizer = testbed.corpus.game, testbed.corpus.tokenizer
    legal = game.legal_moves(position)
    if not legal:
        raise ValueError("the game is over after these moves: there is no next move to change")
    tokens = tokenizer.encode(game, MoveRecord.of([[*codes, legal[0]]]))
    here_L = tokens.plies == len(codes)
    places = tokenizer.places(game)
    if testbed.read_at in places:
        here_L &= tokens.ids == testbed.corpus.alphabet.index(places[testbed.read_at])
    elif not codes:
        here_L[:] = False
    if not here_L.any():
        raise ValueError(
            f"the model reads no board where {len(codes)} plies were played: boards are read at each "
            f"`{testbed.read_at}` (at the dots of chess White is to move; models of whole moves read one first); "
            "give a ply more or less"
        )
    token, n_ctx = int(np.flatnonzero(here_L)[0]), testbed.model.gpt.cfg.n_ctx
    if token >= n_ctx:
        raise ValueError(f"these moves are {token + 1} tokens, more than the {n_ctx} that the model reads; give fewer")
    return _Place(Asking(testbed, tokens.ids[None, : token + 1]), token)


def _chosen(testbed: Testbed, sae: Any, hook_name: str | None, scale: float | None) -> tuple[Intervention, str]:
    """The intervention that was asked for, or that is best on validation games; and what it is, in words."""
    if sae is not None:
        return _through_latents(testbed, sae, scale)
    if hook_name is not None and scale is not None:
        of = testbed.once(board_probes, N_TRAIN, (hook_name,))
        return Intervention({hook_name: along_probe(of.probes[hook_name], scale)}), _words((hook_name,), scale)
    at = testbed if hook_name is None else testbed.at(hook_name)
    choice = at.once(choose_probe_edits, N_TRAIN, N_GAMES, 0, N_EDITS)
    if hook_name is None and scale is None:
        errors = dict(choice.on_validation)
        best = min((one for one in choice.best.values() if not one.everywhere), key=errors.__getitem__)
    else:
        best = choice.best["fixed" if hook_name is None else "here"]
    if scale is not None:
        name = best.hook_names[0]
        return Intervention({name: along_probe(choice.of.probes[name], scale)}), _words((name,), scale)
    return intervention(choice.of, best), _described(best, choice.of.norms[best.hook_names[0]])


def _words(names: tuple[str, ...], scale: float) -> str:
    return f"by {scale:g} along the probe's direction at {', '.join(names)}"


def _described(best: ProbeEdit, norm: float) -> str:
    if best.way == "least":
        return f"by {best.size:g} times the least change that the probe notices at {best.hook_names[0]}"
    where = best.hook_names[0] if len(best.hook_names) == 1 else f"{best.hook_names[0]} to {best.hook_names[-1]}"
    return f"by {best.size * norm:.3g} (there) along the probe's direction at {where}, the best on validation games"


def _through_latents(testbed: Testbed, sae: Any, scale: float | None) -> tuple[Intervention, str]:
    subject = Subject("sae", "sae", sae, testbed)
    if subject.source.W_dec is None:
        raise ValueError(
            "this SAE has no decoder rows (`W_dec`) at the hook point it reads, so that nothing can be added"
        )
    norm = float(testbed.activations("train").norm(dim=1).mean())
    latents, edits = LatentEdits(subject, N_TRAIN, norm), testbed.once(drawn, "validation", N_GAMES, 0, N_EDITS)
    choice = choose_latent_edits(latents, edits)
    best = min((one for one in choice.best.values() if not one.everywhere), key=choice.on_validation.__getitem__)
    if scale is not None:
        best = choice.best["directions"]._replace(size=scale / norm)
    does = {"set": f"set, times {best.size:g}", "directions": f"added, {best.size * norm:.3g} long"}[best.way]
    return latents.intervention(
        best
    ), f"by up to {best.n_latents} latents of each content {does} at {testbed.hook_name}"


def _drawn(game: Game, position: Any) -> list[str]:
    """The board in characters, the row that is drawn on top first."""
    cells, n_columns = game.cells(position), game.shape[1]
    rows = [" ".join(cells[start : start + n_columns]) for start in range(0, len(cells), n_columns)]
    return rows if game.first_row_on_top else rows[::-1]
