"""A part of a corpus, small enough to ship: its held-out games, in one compressed file.

No game of it was in the GPT's training. Its own splits serve what is done with the trained GPT: `train` for SAEs,
probes and the choice of latents, `validation` and `test` as ever.
"""

from pathlib import Path

import h5py
import numpy as np

from boardgame_sae.config import content_hash
from boardgame_sae.files import writing
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.transcripts.corpus import SPLITS, Corpus, CorpusError

CHUNK = 2**16
"""Entries of an array that are compressed together."""


def held_out_games(corpus: Corpus, n_games: int) -> dict[str, np.ndarray]:
    """Validation and test games of a corpus. Raises CorpusError unless there are n_games of each, and some beyond."""
    held_out = {split: corpus.games(split) for split in ("validation", "test")}
    short = [split for split, games_B in held_out.items() if len(games_B) < n_games]
    if short or sum(map(len, held_out.values())) == 2 * n_games:
        raise CorpusError(
            f"{corpus.path}: {n_games} {short[0] if short else 'further held-out'} games asked for, it has "
            f"{len(held_out[short[0]]) if short else 0}; generate it with larger fractions held out"
        )
    return held_out


def write_excerpt(corpus: Corpus, path: Path, n_games: int) -> None:
    """Write the held-out games of a corpus as a corpus file of its own.

    Of its test and of its validation games the first n_games stay what they are; all others become train games.
    What an engine thinks of positions (`annotate`) does not come along.
    Raises CorpusError when the corpus has too few held-out games.
    """
    held_out = held_out_games(corpus, n_games)
    split_of = np.full(len(corpus), SPLITS.index("train"), np.uint8)
    for split, games_B in held_out.items():
        split_of[games_B[:n_games]] = SPLITS.index(split)
    games_B = np.sort(np.concatenate(list(held_out.values())))
    arrays = {"split": split_of[games_B]}
    for name, offsets in (("moves", "move_offsets"), ("tokens", "token_offsets"), ("plies", "token_offsets")):
        ends = corpus.arrays[offsets]
        lengths_B = ends[games_B + 1] - ends[games_B]
        arrays[offsets] = np.concatenate([[0], np.cumsum(lengths_B)]).astype(ends.dtype)
        places_M = np.arange(lengths_B.sum()) + np.repeat(ends[games_B] - arrays[offsets][:-1], lengths_B)
        arrays[name] = corpus.arrays[name][places_M]
    for name, values in corpus.arrays.items():
        if name.startswith("games/"):
            arrays[name] = values[games_B]
    made_of = content_hash({"held_out_of": corpus.hash, "n_games": n_games})
    with writing(path) as temporary, new_hdf5(temporary) as file:
        file.attrs.update({**corpus.attributes, "hash": made_of, "held_out_of": corpus.hash})
        undated = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        undated.set_obj_track_times(False)  # else the same games have other bytes a second later
        h5py.h5g.create(file.id, b"games", gcpl=undated)
        for name, values in arrays.items():
            chunks = (min(CHUNK, max(1, len(values))),)
            file.create_dataset(name, data=values, chunks=chunks, compression="gzip", shuffle=True, track_times=False)
