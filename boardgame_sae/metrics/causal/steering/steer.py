"""A model is steered by hand: what it plays with and without a vector.

steered = steer("chess-small", "1.e4 e5", coefficient=0.5, hook_name="blocks.5.hook_resid_post", n_games=20)
steered.after["Nf3"], steered.games["legal"]  # its probability then; without and with the vector, and the difference
print(steered)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.config import ConfigError
from boardgame_sae.games import MoveRecord
from boardgame_sae.intervals import Estimate
from boardgame_sae.metrics.causal.asking import Asking, Hooked, chances, move_names
from boardgame_sae.metrics.causal.steering.contrast import Contrast, find_contrast, read_sides
from boardgame_sae.metrics.causal.steering.playing import play_against
from boardgame_sae.metrics.causal.steering.strength import losses
from boardgame_sae.metrics.causal.steering.trial import Rules, Trial
from boardgame_sae.metrics.causal.steering.vectors import adding, contrastive, latents_vector, probe_vector
from boardgame_sae.metrics.causal.steering.writing import GREEDY, prompt_of
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.model.gpt import Hook
from boardgame_sae.players.registry import make_player
from boardgame_sae.players.search import Searchable
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.testbed import Testbed

N_TRAIN, N_SAMPLES, DEPTH, N_LATENTS = 600, 50, 2, 10
"""Train games that vectors are fitted on, next moves that are sampled where they are written, plies that the built-in
search looks ahead which judges, and latents of an SAE that are used."""
LATE = 2 / 3
"""What is known of players shows late: sides begin after this share of the longest game's plies."""
Kind = Literal["contrastive", "probe"]


@dataclass(frozen=True, eq=False)
class Steered:
    """What a model plays without and with a vector."""

    how: str
    """The vector, in words."""
    before: Mapping[str, float]
    """Probability of each next move, as it is written; where moves are written character by character, the share of
    those sampled."""
    after: Mapping[str, float]
    lost: Mapping[str, float | None]
    """Of each legal move the centipawns that it loses, by the built-in search where the game has one."""
    texts: tuple[str, str]
    """The game as it goes on against the opponent, without the vector and with it."""
    games: Mapping[str, tuple[Estimate, Estimate, Estimate]]
    """Measures of many games (`strength.PER`): without the vector, with it, and the difference; none if none were
    asked for."""

    def __str__(self) -> str:
        judged = any(value is not None for value in self.lost.values())
        lines = [self.how, "", f"{'move':8}{'before':>8}{'after':>8}  legal" + ("  centipawns lost" if judged else "")]
        played = {move for chances_ in (self.before, self.after) for move, chance in chances_.items() if chance >= 0.01}
        for move in sorted(played, key=lambda move: (-self.after.get(move, 0.0), move)):
            numbers = f"{move:8}{self.before.get(move, 0.0):8.3f}{self.after.get(move, 0.0):8.3f}"
            loses = self.lost.get(move)
            lines.append(
                f"{numbers}  {'yes' if move in self.lost else 'no':5}"
                + (f"  {loses:15.0f}" if loses is not None else "")
            )
        lines += ["", *(f"{name} {text}" for name, text in zip(("without:", "with:   "), self.texts, strict=True))]
        if self.games:
            lines += ["", f"{'':24}{'without':>9}{'with':>9}  difference [95% interval]"]
        for measure, (without, with_, difference) in self.games.items():
            low, high = difference.interval
            spread = f"{difference.value:.3f} [{low:.3f}, {high:.3f}]"
            lines.append(f"{MEASURES[measure]:24}{without.value:9.3f}{with_.value:9.3f}  {spread}")
        return "\n".join(line.rstrip() for line in lines)


MEASURES = {"lost": "centipawns lost per move", "legal": "legal at the first try", "points": "points per game"}
"""What is shown of many games."""


def steer(
    testbed: AnyTestbed,
    moves: str = "",
    *,
    coefficient: float = 1.0,
    hook_name: str | None = None,
    toward: str = "skill",
    vector: Kind = "contrastive",
    sae: Any = None,
    player: str | None = None,
    n_games: int = 0,
    opening: str = "random:plies=2",
    temperature: float = 1.0,
    seed: int = 0,
) -> Steered:
    """Add a vector to a model's activations at every token, and let it play.

    testbed: itself, its folder, or the name of a shipped one. moves: those so far, as the game writes them.
    coefficient: 1 takes the mean of the low side to that of the high; a negative one goes the other way.
    hook_name: where it is added; by default where the testbed reads. toward: what the high side has: a property that
    ranks positions, or a label (`find_contrast`). vector: how the direction is found. sae: instead, what this SAE's
    latents write that tell the sides apart best (anything that `evaluate` takes).
    player: the opponent, as of `generate`; by default the game's built-in player, or a random one. n_games: games from
    `opening` in which strength and legality are measured too. temperature: of the model's moves in games, 0 for its
    most probable ones. seed: of what is sampled and played.
    Raises IllegalMove, HookError, ConfigError for an unknown player or opening, and ValueError for what is no contrast
    and where the model cannot move.
    """
    if not math.isfinite(coefficient) or temperature < 0 or n_games < 0:
        raise ValueError(
            f"coefficient={coefficient} must be a finite number, temperature={temperature} and n_games={n_games} not "
            "negative"
        )
    testbed = as_testbed(testbed)
    testbed = testbed if hook_name is None else testbed.at(hook_name)
    model, game = testbed.model, testbed.corpus.game
    codes = game.record([moves]).moves_M.tolist()
    position, search = game.position_after(codes), game if isinstance(game, Searchable) else None
    if game.is_over(position):
        raise ValueError("the game is over after these moves: there is no next move to steer")
    if n_games and search is None:
        raise ConfigError(f"{game.name} has no built-in player that could judge games; leave n_games out")
    longest = int(testbed.corpus.record(testbed.corpus.games("train")[:N_TRAIN]).lengths.max())
    rules = Rules(
        player or ("search:depth=1,temperature=2" if search else "random"), opening, longest, temperature, DEPTH
    )
    opponent, trial = make_player(rules.player), Trial(model, rules, n_games, seed)
    vector_D, words = _vector(testbed, find_contrast(testbed.corpus, toward), vector, sae, longest)
    added = {testbed.hook_name: coefficient * vector_D}
    legal = move_names(testbed, position, game.legal_moves(position))
    by_code = losses(search, position, DEPTH) if search else {}

    def on_from_here(hooks: Mapping[str, Hook]) -> tuple[dict[str, float], str]:
        """The chances of the next moves, and the game as it goes on."""
        settings = {"max_plies": longest, "temperature": temperature, "hooks": hooks}
        played = play_against(model, opponent, MoveRecord.of([codes]), [seed], **settings)
        ending = f" ({len(GREEDY)} tries, none legal)" if played.forfeited_B[0] else ""
        return _next_moves(testbed, codes, position, hooks, seed), game.texts(played.record)[0] + ending

    without, with_ = on_from_here({}), on_from_here(adding(added))
    return Steered(
        how=f"{words}, times {coefficient:g} at {testbed.hook_name}",
        before=without[0],
        after=with_[0],
        lost={name: by_code.get(code) for name, code in legal.items()},
        texts=(without[1], with_[1]),
        games=_measured(trial, added) if n_games else {},
    )


def _vector(testbed: Testbed, contrast: Contrast, kind: Kind, sae: Any, longest: int) -> tuple[Tensor, str]:
    """The vector, and what it is, in words."""
    min_ply = int(LATE * longest) if contrast.prop.needs else 0
    sides = read_sides(testbed, contrast, [testbed.hook_name], "train", N_TRAIN, min_ply).at(testbed.hook_name)
    if sae is None:
        vector_D = {"contrastive": contrastive, "probe": probe_vector}[kind](*sides)
    else:
        vector_D = latents_vector(Subject("sae", "sae", sae, testbed).source, *sides, N_LATENTS)
    share = float(vector_D.norm() / torch.cat(sides).norm(dim=1).mean())
    return vector_D, f"{contrast.words}, {kind if sae is None else 'latents'} ({share:.0%} as long as activations)"


def _next_moves(
    testbed: Testbed, codes: Sequence[int], position: Any, hooks: Mapping[str, Hook], seed: int
) -> dict[str, float]:
    """The chances of each next move."""
    prompt = np.array([prompt_of(testbed.model, codes, position)])
    n_ctx = testbed.model.gpt.cfg.n_ctx
    if prompt.shape[1] > n_ctx:
        raise ValueError(
            f"these moves are {prompt.shape[1]} tokens, more than the {n_ctx} that the model reads; give fewer"
        )
    asking, last = Asking(testbed, prompt), np.array([prompt.shape[1] - 1])
    answers = asking(np.zeros(1, np.int64), last, lambda _: Hooked(hooks, hooks), n_samples=N_SAMPLES, seed=seed)
    return chances(testbed, answers)


def _measured(trial: Trial, added: Mapping[str, Tensor]) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
    """What is shown of many games."""
    pairs = {"lost": trial.moves, "legal": trial.moves, "points": trial.ends}
    both = {measured: (measured(), measured(added)) for measured in dict.fromkeys(pairs.values())}
    rows = {}
    for measure, measured in pairs.items():
        without, with_ = both[measured]
        rows[measure] = without.estimate(measure), with_.estimate(measure), with_.less(without, measure)
    return rows
