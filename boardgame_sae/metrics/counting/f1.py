"""F1, its chance level, and how far above chance it lies: the only place where these formulas are written."""

from typing import Any

import numpy as np
from numba import njit


def f1(true_positives: Any, predicted_positives: Any, positives: Any) -> Any:
    """F1 of counts of any shape, 2 TP / (predicted positives + positives); 0 where both are 0."""
    return 2 * true_positives / np.maximum(predicted_positives + positives, 1)


def always_on_f1(prevalence: Any) -> Any:
    """F1 of a latent that is always on, 2p / (1 + p), of properties that are true at a share p of the positions."""
    return 2.0 * prevalence / (1.0 + prevalence)


def above_chance(f1_value: Any, always_on: Any) -> Any:
    """(F1 - F1_always) / (1 - F1_always): 0 as good as always on, 1 perfect; nan where the property is never false."""
    room = 1.0 - np.asarray(always_on, np.float64)
    return np.where(room > 0, (f1_value - always_on) / np.where(room > 0, room, 1.0), np.nan)


@njit(cache=True, inline="always")
def f1_of_counts(true_positives: Any, predicted_positives: Any, positives: Any) -> Any:
    """`f1` of three counts, for compiled loops; the last two must not both be 0."""
    return 2.0 * true_positives / (predicted_positives + positives)
