"""One GPT that plays several games with the same moves, each game as a testbed, and what can be known of which it is.

Every game is as likely as the others, and no token says which is played: the GPT has to infer it from the moves. How
well that can be done at all is known here. With players who pick any legal move with equal chance, the probability of
some moves under a game is the product of one over the number of legal moves at each, or 0 once one is illegal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boardgame_sae.config import Count, Seed, Share, config, from_mapping, to_mapping
from boardgame_sae.games import Game
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import TrainGPTConfig, train_gpt_run
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

BOARD = "board"
"""The property that is probed."""


@config
class WorldConfig:
    """The games, and the GPT that learns them all."""

    games: tuple[str, ...] = ("othello6", "othello6_parallel", "othello6_straight")
    """Games with the same moves; no two need differ in all positions."""
    n_games: Count = 100_000
    """Games that are played of each."""
    held_out: Share = 0.02
    """Share of them for validation, and as many for test."""
    seed: Seed = 0
    """Seed of the games."""
    gpt: TrainGPTConfig = TrainGPTConfig(n_layers=3, d_model=96, n_steps=2500, batch_size=96, targets="expected")
    """The GPT; a step reads equally many games of each."""

    def __post_init__(self) -> None:
        if len(set(self.games)) < max(2, len(self.games)):
            raise ValueError("games: give two or more, each once")


@dataclass(frozen=True, eq=False)
class World:
    """A GPT of several games."""

    names: tuple[str, ...]
    corpora: tuple[Corpus, ...]
    model: GameModel

    def testbeds(self, model: GameModel, hook_name: str, n_games: int) -> list[Testbed]:
        """Each game as a testbed of a GPT, this one or another with the same tokens.

        Raises ValueError for a GPT with other tokens, HookError for a bad hook point.
        """
        return [Testbed(model, corpus, hook_name, properties=(BOARD,), n_games=n_games) for corpus in self.corpora]


def make_world(cfg: WorldConfig, device: str = "auto") -> World:
    """Play the games and train the GPT; finished runs are reused, a killed one is resumed.

    Raises ConfigError for an unknown game, ValueError for games with different moves.
    """
    corpora = tuple(Corpus.open(generate_run(_games(cfg, game))) for game in cfg.games)
    folder = train_gpt_run(corpora[0], cfg.gpt, name="variants", device=device, beside=corpora[1:])
    return World(cfg.games, corpora, GameModel.load(folder, device))


def _games(cfg: WorldConfig, game: str) -> GenerateConfig:
    held_out = {"validation_fraction": cfg.held_out, "test_fraction": cfg.held_out}
    fields = {**to_mapping(GenerateConfig()), **held_out, "game": game, "n_games": cfg.n_games, "seed": cfg.seed}
    return from_mapping(GenerateConfig, fields, f"games of {game}")


def posterior(games: Sequence[Game], moves: Sequence[int]) -> np.ndarray:
    """(L, V) the probability of each of V games after each of L plies of random play, all equally likely before it.

    moves: codes of moves that at least one of the games allows.
    """
    log_LV = np.zeros((len(moves), len(games)))
    for v, game in enumerate(games):
        position = game.start()
        for ply, move in enumerate(moves):
            legal = game.legal_moves(position)
            if move not in legal:
                log_LV[ply:, v] = -math.inf
                break
            log_LV[ply:, v] -= math.log(len(legal))
            position = game.play(position, move)
    chance_LV = np.exp(log_LV - log_LV.max(1, keepdims=True))
    return chance_LV / chance_LV.sum(1, keepdims=True)


def observer(world: World, testbed: Testbed, split: str) -> np.ndarray:
    """(N,) how often one who knows all the rules names the right game at a testbed's positions; ties count in part."""
    where, games = testbed.positions(split), [corpus.game for corpus in world.corpora]
    own = games.index(testbed.corpus.game)
    right = []
    for moves in testbed.corpus.record(where.games_B):
        chance_LV = posterior(games, moves.tolist())
        most_LV = np.isclose(chance_LV, chance_LV.max(1, keepdims=True))
        right.append(most_LV[:, own] / most_LV.sum(1))
    return np.array([right[game][ply - 1] for game, ply in zip(where.game_N, where.ply_N, strict=True)])
