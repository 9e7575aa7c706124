"""Games without end: where a corpus's players can play on, further games of the same kind, block by block.

A block depends on the corpus's config, a seed and its number alone. Games that the corpus's own rule would hold out are
thrown away: the rule goes by a hash of the moves, so that a held-out game is not met again as a fresh one.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boardgame_sae.config import ConfigError, content_hash, from_mapping, seed_for
from boardgame_sae.games.record import MoveRecord
from boardgame_sae.players.openings import make_opening
from boardgame_sae.players.play import game_seeds, play_games
from boardgame_sae.players.registry import make_player
from boardgame_sae.transcripts.corpus import SPLITS, Corpus
from boardgame_sae.transcripts.corpus_writer import split_games
from boardgame_sae.transcripts.generate import GenerateConfig

IMPORTED = "imported"
"""What a corpus names as its player whose games come from elsewhere."""


def can_play_on(corpus: Corpus) -> bool:
    """Whether a corpus's players can play any number of further games with nothing but this program."""
    players = corpus.config.get("players", (IMPORTED,))
    return IMPORTED not in players and not any(make_player(text).is_engine for text in players)


@dataclass(frozen=True)
class FreshGames:
    """Blocks of games like those of a corpus.

    Raises ConfigError when the corpus was imported, or played by an engine.
    """

    corpus: Corpus
    games_per_block: int
    seed: int

    def __post_init__(self) -> None:
        if not can_play_on(self.corpus):
            raise ConfigError(
                f"{self.corpus.path}: no fresh games can be played like these (they were imported, or played by an "
                "engine); train on a harvest of the corpus, source 'harvest'"
            )

    @cached_property
    def cfg(self) -> GenerateConfig:
        """How the corpus was generated."""
        return from_mapping(GenerateConfig, self.corpus.config, str(self.corpus.path))

    @property
    def hash(self) -> str:
        """Hash of all that the games depend on; how many games the corpus itself holds is not of it."""
        return content_hash([{**self.corpus.config, "n_games": None}, self.games_per_block, self.seed])

    def block(self, *number: int) -> Corpus:
        """The training games of a block, as a corpus in memory; without those held out, so that sizes differ.

        number: one number or several, as a place in an outer and an inner order.
        """
        cfg, game = self.cfg, self.corpus.game
        first, second = (make_player(text) for text in (cfg.players * 2)[:2])
        opening = make_opening(cfg.opening) if cfg.opening else None
        seeds_B = game_seeds(seed_for(self.seed, "fresh", *number), 0, self.games_per_block)
        record = play_games(game, [first, second], seeds_B, opening=opening, max_plies=cfg.max_plies).record
        split_B = split_games(record, cfg.seed, cfg.validation_fraction, cfg.test_fraction)
        return in_memory(record[np.flatnonzero(split_B == SPLITS.index("train"))], self.corpus)


def in_memory(record: MoveRecord, like: Corpus) -> Corpus:
    """Some games as a corpus of the same kind as another, all of them to train on."""
    tokens, plies, token_offsets = like.tokenizer.encode(like.game, record)
    arrays = {
        "moves": record.moves_M,
        "move_offsets": record.offsets,
        "tokens": tokens,
        "plies": plies,
        "token_offsets": token_offsets,
        "split": np.full(len(record), SPLITS.index("train"), np.uint8),
    }
    return Corpus(like.path, like.attributes, arrays)
