"""Writing a corpus file: games as tokens, the split of each, what is known of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from boardgame_sae.config import canonical_json, seed_for, to_mapping
from boardgame_sae.games import Game, MoveRecord, load_game
from boardgame_sae.games.random_bits import GOLDEN, mix_words
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.transcripts.corpus import FORMAT, VERSION
from boardgame_sae.transcripts.tokenization import find_tokenizer, tokenizer_of


def split_games(record: MoveRecord, seed: int, validation: float, test: float) -> np.ndarray:
    """Assign each game to a split by a hash of its moves, so that equal games never sit on both sides. uint8 (B,)."""
    ply_M = np.arange(len(record.moves_M)) - np.repeat(record.offsets[:-1], record.lengths) + 1
    mixed_M = mix_words(record.moves_M.astype(np.uint64) + ply_M.astype(np.uint64) * GOLDEN)
    sums_B = np.add.reduceat(np.append(mixed_M, np.uint64(0)), record.offsets[:-1])
    sums_B[record.lengths == 0] = 0
    uniform_B = mix_words(sums_B + np.uint64(seed_for(seed, "split"))) / 2.0**64
    return np.where(uniform_B < test, 2, np.where(uniform_B < test + validation, 1, 0)).astype(np.uint8)


def check_corpus_config(cfg: Any) -> None:
    """Check what the configs of all corpora have: validation_fraction, test_fraction, tokenization (None: default).

    Raises ValueError when nothing is left to train on, ConfigError for an unknown tokenization.
    """
    if cfg.validation_fraction + cfg.test_fraction >= 1:
        raise ValueError("validation_fraction and test_fraction must leave games to train on: sum to less than 1")
    if cfg.tokenization is not None:
        find_tokenizer(cfg.tokenization)


def write_corpus(
    path: Path, record: MoveRecord, cfg: Any, run_hash: str, columns: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write a corpus file from its games and the config they were generated (or imported) with.

    columns: what else is known of each game, arrays (n_games,) by names that the game declares.
    One that the game's own outcomes have too wins over them: people resign, and the board does not show it.
    Raises ValueError for a column that the game does not declare so, or without one entry per game.
    """
    game = load_game(cfg.game)
    tokenizer = tokenizer_of(game, cfg.tokenization)
    tokens = tokenizer.encode(game, record)
    columns = {**game.outcomes(record), **(columns or {})}
    for name, values in columns.items():
        _check_column(game, name, values, len(record))
    with new_hdf5(path) as file:
        file.attrs.update(
            format=FORMAT,
            version=VERSION,
            game=game.spec,
            tokenization=tokenizer.name,
            alphabet=json.dumps(tokenizer.alphabet(game)),
            config=canonical_json(to_mapping(cfg)),
            hash=run_hash,
        )
        file["moves"], file["move_offsets"] = record.moves_M, record.offsets
        file["tokens"], file["plies"], file["token_offsets"] = tokens
        file["split"] = split_games(record, cfg.seed, cfg.validation_fraction, cfg.test_fraction)
        undated = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        undated.set_obj_track_times(False)  # else the same corpus has other bytes a second later
        h5py.h5g.create(file.id, b"games", gcpl=undated)
        for name, values in {"length": record.lengths.astype(np.uint16), **columns}.items():
            file[f"games/{name}"] = values


def _check_column(game: Game, name: str, values: np.ndarray, n_games: int) -> None:
    """Raises ValueError unless the game declares a column of that name and kind, and it has one entry per game."""
    column = game.columns.get(name)
    if column is None or column.per_position:
        raise ValueError(f"{game.name} declares no column '{name}' of its games; its `columns` must name it")
    if np.shape(values) != (n_games,) or not column.holds(values.dtype):
        raise ValueError(
            f"column '{name}' is {values.dtype} of shape {np.shape(values)}; {n_games} games need an entry each, "
            f"{column.dtype}"
        )
