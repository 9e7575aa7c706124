"""What every SAE is scored beside: linear probes (the ceiling), raw neurons and residual channels (floors).

The SAE of a random-weights GPT, the other floor, is an SAE like any other: train it on `testbed.random_twin()`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, cat, nn

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.activations.probes import Probe, load_probe
from boardgame_sae.activations.testbed import Testbed
from boardgame_sae.metrics.score import Scores, evaluate


class ProbeEncoder(nn.Module):
    """Linear probes seen as latents: one a column of the testbed's labels, its value the label's probability."""

    reads_labels = True
    """Latent i is a readout of label i, so that a board is rebuilt from it as it is."""

    def __init__(self, probes: Sequence[Probe | int]) -> None:
        """probes: of each property; a number instead stands for so many columns that no probe reads."""
        super().__init__()
        self.probes = probes

    def encode(self, x_ND: Tensor) -> Tensor:
        """Probabilities (N, P)."""
        return cat([_readout(probe, x_ND) for probe in self.probes], dim=1)


def _readout(probe: Probe | int, x_ND: Tensor) -> Tensor:
    if isinstance(probe, int):
        return x_ND.new_zeros(len(x_ND), probe)
    return probe.targets.columns(probe.probabilities(x_ND))


class Neurons(nn.Module):
    """The hook point's own numbers as latents; only positive ones can be on."""

    def encode(self, x_ND: Tensor) -> Tensor:
        """The activations (N, width), negative ones cut off."""
        return F.relu(x_ND)


class Channels(nn.Module):
    """Each number of the hook point as two latents, its positive and its negative part."""

    def encode(self, x_ND: Tensor) -> Tensor:
        """(N, 2 * width)."""
        return cat([F.relu(x_ND), F.relu(-x_ND)], dim=1)


def baselines(testbed: Testbed, probe_folders: Mapping[str, str | Path], suite: str = "supervised") -> list[Scores]:
    """Scores of the probes, of the same layer's MLP neurons and of the hook point's channels, on a testbed.

    probe_folders: a probe run for each of the testbed's properties; those that have none are not read.
    """
    neurons = f"blocks.{layer_of(testbed.hook_name)}.mlp.hook_post"
    probe = ProbeEncoder(
        [
            load_probe(probe_folders[each.name], testbed.hook_name)
            if each.name in probe_folders
            else each.stop - each.start
            for each in testbed.columns
        ]
    )
    return [
        evaluate(probe, testbed, suite, name="linear probe", kind="probe"),
        evaluate(Neurons(), testbed.at(neurons), suite, name="MLP neurons", kind="neurons"),
        evaluate(Channels(), testbed, suite, name="residual channels", kind="residual"),
    ]
