"""What every SAE is scored beside: linear probes (the ceiling), raw neurons and residual channels (floors).

An SAE says less at a position than a probe may: where k latents are on, hardly more than k things are said. So beside
the probe stands a probe of the same sparsity, of whose outputs only the k most probable remain. The SAE of a
random-weights GPT, the other floor, is an SAE like any other: train it on `testbed.random_twin()`.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, cat, nn, zeros_like

from boardgame_sae.activations.hook_points import layer_of
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.probes.fit import Probe
from boardgame_sae.testbeds.testbed import Testbed


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


class SparseProbeEncoder(ProbeEncoder):
    """Linear probes as sparse as an SAE: of each property's labels only the k most probable are on at a position.

    Every property has all k for itself, so that no SAE of that L0 has more to tell a property by.
    """

    def __init__(self, probes: Sequence[Probe | int], k: int) -> None:
        """probes: as of `ProbeEncoder`. k: at least 1."""
        super().__init__(probes)
        if k < 1:
            raise ValueError(f"a probe needs at least one output on, not k = {k}")
        self.k = k

    def encode(self, x_ND: Tensor) -> Tensor:
        """Probabilities (N, P), all but each property's k largest set to zero."""
        found = []
        for probe in self.probes:
            says_NP = _readout(probe, x_ND)
            k = min(self.k, says_NP.shape[1])
            largest = says_NP.topk(k, dim=1)
            found.append(zeros_like(says_NP).scatter(1, largest.indices, largest.values))
        return cat(found, dim=1)


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


def baselines(testbed: Testbed, suite: str = "supervised") -> list[Scores]:
    """Scores of the testbed's probes, of the same layer's MLP neurons and of the hook point's channels.

    Properties without a probe are not read.
    """
    neurons = f"blocks.{layer_of(testbed.hook_name)}.mlp.hook_post"
    return [
        evaluate(ProbeEncoder(_probes(testbed)), testbed, suite, name="linear probe", kind="probe"),
        evaluate(Neurons(), testbed.at(neurons), suite, name="MLP neurons", kind="neurons"),
        evaluate(Channels(), testbed, suite, name="residual channels", kind="residual"),
    ]


def sparse_probe(testbed: Testbed, k: int, suite: str = "supervised") -> Scores:
    """Scores of the testbed's probes with k outputs of each property on: the ceiling for SAEs of L0 k."""
    encoder = SparseProbeEncoder(_probes(testbed), k)
    return evaluate(encoder, testbed, suite, name=f"linear probe, {k} on", kind="sparse_probe", facts={"k": k})


def _probes(testbed: Testbed) -> list[Probe | int]:
    return [testbed.probes.get(each.name, each.stop - each.start) for each in testbed.columns]
