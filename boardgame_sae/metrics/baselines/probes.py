"""Ceilings: linear probes of every label, as they are, and with as few outputs on as an SAE has latents on.

An SAE predicts less at a position than a probe can: with k latents on, hardly more than k classes. So beside the full
probe there is one of the same sparsity, which keeps only its k most probable outputs.
"""

from collections.abc import Sequence

from torch import Tensor, cat, nn, zeros_like

from boardgame_sae.metrics.baselines.registry import Baseline, Look, Made, register
from boardgame_sae.probes.fit import Probe
from boardgame_sae.testbeds.testbed import Testbed

INK = "#111111"


class ProbeOutputs(nn.Module):
    """Linear probes as latents: one for each column of the testbed's labels, its activation the label's probability."""

    reads_labels = True
    """Latent i is a readout of label i, so boards are read off the latents without choosing classifiers."""

    def __init__(self, probes: Sequence[Probe | int]) -> None:
        """probes: one per property, or the number of its columns where no probe reads them; those stay zero."""
        super().__init__()
        self.probes = probes

    def encode(self, x_ND: Tensor) -> Tensor:
        """Probabilities (N, P)."""
        return cat([_probabilities(probe, x_ND) for probe in self.probes], dim=1)


class SparseProbeOutputs(ProbeOutputs):
    """Linear probes as sparse as an SAE: at each position only the k most probable labels of each property are on.

    Every property has k outputs of its own, so no SAE of L0 k has more latents on to predict a property from.
    """

    def __init__(self, probes: Sequence[Probe | int], k: int) -> None:
        """probes: as for `ProbeOutputs`. Raises ValueError unless k is at least 1."""
        super().__init__(probes)
        if k < 1:
            raise ValueError(f"a probe needs at least one output on, not k = {k}")
        self.k = k

    def encode(self, x_ND: Tensor) -> Tensor:
        """Probabilities (N, P), all but each property's k largest set to zero."""
        kept = []
        for probe in self.probes:
            probabilities_NP = _probabilities(probe, x_ND)
            k = min(self.k, probabilities_NP.shape[1])
            largest = probabilities_NP.topk(k, dim=1)
            kept.append(zeros_like(probabilities_NP).scatter(1, largest.indices, largest.values))
        return cat(kept, dim=1)


def _probabilities(probe: Probe | int, x_ND: Tensor) -> Tensor:
    if isinstance(probe, int):
        return x_ND.new_zeros(len(x_ND), probe)
    return probe.targets.columns(probe.probabilities(x_ND))


def _probes(testbed: Testbed) -> list[Probe | int]:
    return [testbed.probes.get(columns.name, columns.stop - columns.start) for columns in testbed.columns]


def linear_probe(testbed: Testbed) -> Made:
    """The testbed's probes; properties without one are not read."""
    return Made("linear probe", ProbeOutputs(_probes(testbed)), testbed)


def sparse_probe(testbed: Testbed, k: int) -> Made:
    """The testbed's probes with k outputs of each property on: the ceiling for SAEs of L0 k."""
    return Made(f"linear probe, {k} on", SparseProbeOutputs(_probes(testbed), k), testbed, {"k": k})


register(
    Baseline(
        kind="sparse_probe",
        title="linear probe of the same sparsity",
        label="linear probe as sparse as the best SAE",
        role="ceiling",
        order=2,
        look=Look(INK, "D", size=4),
        of_sparsity=sparse_probe,
    )
)
register(
    Baseline(
        kind="probe",
        title="linear probe",
        label="linear probe",
        role="ceiling",
        order=3,
        look=Look(INK, "*", size=8),
        has_l0=False,
        of_testbed=linear_probe,
    )
)
