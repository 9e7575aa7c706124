"""A quiver of arrows: of several methods the one that is best on validation, with and without the SAEs' among them.

That SAE probes are better here and worse there is no use to anyone who cannot tell beforehand. So the question is put
to the choice: is what validation picks out of baselines and SAE probes better on test than what it picks out of the
baselines alone? The same is asked with untrained SAEs in place of the trained ones: what more methods to choose among
do by themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.studies.probing_regimes.methods import Reading, baselines, read, sae_probes

Inputs = Mapping[str, Any]
"""Rows by split: activations, dense, or latents, sparse."""


class Quiver(NamedTuple):
    """What was read of one property in one setting of a regime."""

    baselines: dict[str, Reading]
    """By method."""
    saes: dict[str, Reading]
    """Of the probe on each SAE's latents, by SAE."""
    untrained: list[Reading]
    """Of the probe on each untrained SAE's latents."""

    @property
    def alone(self) -> float:
        """Test area of the best of the baselines."""
        return best(list(self.baselines.values()))

    @property
    def gain(self) -> float:
        """What the test area gains where SAE probes may be chosen too."""
        return best([*self.baselines.values(), *self.saes.values()]) - self.alone

    @property
    def control_gain(self) -> float:
        """The same with untrained SAEs."""
        return best([*self.baselines.values(), *self.untrained]) - self.alone

    @property
    def chosen(self) -> float:
        """How much of the choice falls on SAE probes: 1, 0, or a share where methods tie."""
        on_validation = np.array([one.on_validation for one in (*self.baselines.values(), *self.saes.values())])
        top = on_validation == on_validation.max()
        return float(top[len(self.baselines) :].sum() / top.sum())


def best(readings: Sequence[Reading]) -> float:
    """Test area of the reading that is best on validation; the mean of those that tie, so that no order favours any."""
    top = max(one.on_validation for one in readings)
    return float(np.mean([one.on_test for one in readings if one.on_validation == top]))


def quiver(
    acts: Inputs, saes: Mapping[str, Inputs], untrained: Sequence[Inputs], truths: Mapping[str, np.ndarray]
) -> Quiver:
    """Read a property by every method.

    acts: activations. saes, untrained: latents of each SAE. truths: bool (N,) as the examples are labelled, both values
    present in each split.
    """
    n, width = acts["train"].shape
    return Quiver(
        {name: read(estimators, acts, truths) for name, estimators in baselines(n, width).items()},
        {name: read(sae_probes(), latents, truths) for name, latents in saes.items()},
        [read(sae_probes(), latents, truths) for latents in untrained],
    )
