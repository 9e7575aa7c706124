"""Positions at which a latent is asked about: its strongest, some of its others, and as many at which it is off.

Published, inactive windows are drawn unread: on boards the latent is active in 42% of them. Here they are inactive, and
there are as many of them as of active ones, so that always saying no scores a half and not 10 of 14.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from boardgame_sae.metrics.counting.latent_columns import Latents
from boardgame_sae.testbeds.columns import Span


class Windows(NamedTuple):
    """Positions of a split at which a latent is asked about."""

    row_N: np.ndarray
    """Their numbers among the split's scored positions, ascending."""
    active_N: np.ndarray
    """bool (N,): whether the latent is on there, which it is at half of them."""


class Column(NamedTuple):
    """Where one latent is on in a split, and how strongly."""

    row_Z: np.ndarray
    value_Z: np.ndarray


def column_of(spans: Sequence[Span], parts: Sequence[Latents], latent: int) -> Column:
    """A latent's entries in all spans of a split."""
    rows, values = [], []
    for span, part in zip(spans, parts, strict=True):
        own = slice(part.indptr_F1[latent], part.indptr_F1[latent + 1])
        rows.append(part.rows_Z[own].astype(np.int64) + span.start)
        values.append(part.values_Z[own])
    return Column(np.concatenate(rows), np.concatenate(values))


def windows(column: Column, n_positions: int, n_each: int, share_top: float, rng: np.random.Generator) -> Windows:
    """At most n_each active positions, and as many inactive ones.

    share_top: of the active ones, the share that are the strongest; the others are drawn with probabilities that are
    proportional to the square of the activation, as published. Empty for a latent that is never on, or never off.
    """
    n = min(n_each, len(column.row_Z), n_positions - len(column.row_Z))
    order = np.argsort(-column.value_Z, kind="stable")
    n_top = round(share_top * n)
    rest = order[n_top:]
    weight_Z = np.square(column.value_Z[rest], dtype=np.float64)
    sampled = rng.choice(rest, n - n_top, replace=False, p=weight_Z / weight_Z.sum()) if n > n_top else rest[:0]
    active = column.row_Z[np.concatenate([order[:n_top], sampled])]
    off_N = np.ones(n_positions, bool)
    off_N[column.row_Z] = False
    inactive = rng.choice(np.flatnonzero(off_N), n, replace=False)
    row_N = np.concatenate([active, inactive])
    ascending = np.argsort(row_N)
    return Windows(row_N[ascending], np.arange(2 * n)[ascending] < n)
