"""Ceilings: linear probes of every label, as they are, and with as few outputs on as an SAE has latents on.

An SAE predicts less at a position than a probe can: with k latents on, hardly more than k classes. So beside the full
probe there is one of the same sparsity, which keeps only its k most probable outputs. And for what is asked of decoders
there are probes as an SAE: latents that are on where a probe predicts a label, and the decoder that fits them best.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, cat, nn, zeros_like

from boardgame_sae.metrics.baselines.registry import Baseline, Look, Made, register
from boardgame_sae.probes.probe import Probe
from boardgame_sae.testbeds.testbed import Testbed

INK = "#111111"
RIDGE = 1e-6
"""Added to the moments of latents that a decoder is fitted to, as a share of their mean: a latent that is never on
writes nothing."""


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


class ProbeSAE(nn.Module):
    """Linear probes as an SAE: a latent for each column of the labels, on where its probe predicts the label.

    Its activation is the margin, the label's logit less the next largest of its group. The decoder is fitted: a probe's
    weights are what reads a label, and not what writes it.
    """

    W_dec: Tensor
    """(P, width), rows of any norm."""
    b_dec: Tensor
    """(width,)."""

    def __init__(self, probes: Sequence[Probe | int], W_dec: Tensor, b_dec: Tensor) -> None:
        """probes: as for `ProbeOutputs`."""
        super().__init__()
        self.probes = probes
        self.register_buffer("W_dec", W_dec)
        self.register_buffer("b_dec", b_dec)

    def encode(self, x_ND: Tensor) -> Tensor:
        """Margins (N, P), zero where another class is more probable."""
        return cat([_margins(probe, x_ND) for probe in self.probes], dim=1)

    def decode(self, z_NP: Tensor) -> Tensor:
        """Activations (N, width)."""
        return z_NP @ self.W_dec + self.b_dec


def probe_sae(testbed: Testbed) -> Made:
    """The testbed's probes as an SAE, its decoder fitted by least squares on the scored train positions."""
    probes, spans = _probes(testbed), testbed.spans("train")
    n_latents = testbed.columns[-1].stop
    gram_QQ, moment_QD = np.zeros((n_latents + 1, n_latents + 1)), np.zeros((n_latents + 1, testbed.width))
    for span in spans:
        acts_ND = testbed.read("train", span.start, span.stop)
        z_NP = cat([_margins(probe, acts_ND) for probe in probes], dim=1)
        z_NQ = csr_array(nn.functional.pad(z_NP, (0, 1), value=1.0).double().numpy())
        gram_QQ += (z_NQ.T @ z_NQ).toarray()
        moment_QD += z_NQ.T @ acts_ND.double().numpy()
    gram_QQ[np.diag_indices(n_latents)] += RIDGE * max(gram_QQ.diagonal()[:-1].mean(), 1.0)
    W_QD = torch.from_numpy(np.linalg.solve(gram_QQ, moment_QD)).float()
    return Made("linear probe as an SAE", ProbeSAE(probes, W_QD[:-1], W_QD[-1]), testbed)


def _margins(probe: Probe | int, x_ND: Tensor) -> Tensor:
    if isinstance(probe, int):
        return x_ND.new_zeros(len(x_ND), probe)
    logits_NSC = probe.logits(x_ND)
    return probe.targets.columns((logits_NSC - logits_NSC.topk(2, dim=-1).values[..., 1:]).clamp(min=0))


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
register(
    Baseline(
        kind="probe_sae",
        title="linear probe as an SAE",
        label="linear probe as an SAE",
        role="ceiling",
        order=4,
        look=Look(INK, "P", "-."),
        of_testbed=probe_sae,
    )
)
