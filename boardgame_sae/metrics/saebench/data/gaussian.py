"""Bits that say vectors to a given precision, as a Gaussian code of their principal components.

The precision is a variance that may stay unsaid. It is shared out so that the code is the shortest (reverse
water-filling): of each component a variance of at most `level` stays unsaid, and one that varies less is not said at
all. A component of variance v > level costs log2(v / level) / 2 bits on average; a vector at which it is r costs
log2(e) (r^2 / v - 1) / 2 more, so that bits of other data than the code was made for are those that it really takes.

Source: Cover and Thomas, Elements of Information Theory, section 10.3.3.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """A Gaussian code."""

    mean_D: Tensor
    components_DK: Tensor
    """Directions that are said."""
    variance_K: Tensor
    """The variance of each."""
    level: float
    """What stays unsaid of the variance of each."""

    def bits(self, x_ND: Tensor) -> np.ndarray:
        """(N,): the bits that each of some vectors takes."""
        square_NK = ((x_ND - self.mean_D) @ self.components_DK) ** 2 / self.variance_K
        on_average = float((self.variance_K / self.level).log2().sum()) / 2
        return (on_average + (square_NK - 1).sum(1) / (2 * np.log(2))).numpy()


def gaussian(x_ND: Tensor, precision: float) -> Gaussian:
    """The code for vectors like some given ones, of which a variance `precision` may stay unsaid.

    x_ND: float64. Nothing is said where their variance is no larger.
    """
    mean_D = x_ND.mean(0)
    centred_ND = x_ND - mean_D
    variance_D, directions_DD = torch.linalg.eigh(centred_ND.T @ centred_ND / len(x_ND))
    variance_D = variance_D.clamp(min=0)
    level = water_level(variance_D, precision)
    said_D = variance_D > level
    return Gaussian(mean_D, directions_DD[:, said_D], variance_D[said_D], level)


def water_level(variance_D: Tensor, precision: float) -> float:
    """The level at which the sum of min(variance, level) is the precision; infinite where that is never reached."""
    ascending_D = variance_D.sort().values
    below_D = ascending_D.cumsum(0) - ascending_D
    level_D = (precision - below_D) / torch.arange(len(ascending_D), 0, -1, dtype=ascending_D.dtype)
    first = (level_D <= ascending_D).nonzero()
    return float(level_D[first[0, 0]]) if len(first) else float("inf")
