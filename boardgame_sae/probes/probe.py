"""A linear probe: what it says of activations, and the directions that it reads."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from boardgame_sae.foreign_names import advice
from boardgame_sae.probes.data import Targets


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """The linear probe of one hook point for one property; a square here is one group of its labels."""

    weight_DSC: Tensor
    """Weights from raw activations to logits: (width, squares, classes)."""
    bias_SC: Tensor
    """(squares, classes)."""
    targets: Targets
    """How its classes relate to the property's labels."""
    labels: tuple[str, ...] = ()
    """What each label says, `d3 mine`, where it is known: the order of the rows of `directions`."""

    def __repr__(self) -> str:
        width, n_squares, n_classes = self.weight_DSC.shape
        return f"Probe({n_squares} squares, {n_classes} classes each, on activations of width {width})"

    def logits(self, acts_ND: Tensor) -> Tensor:
        """(N, squares, classes)."""
        return torch.einsum("nd,dsc->nsc", acts_ND, self.weight_DSC.to(acts_ND)) + self.bias_SC.to(acts_ND)

    def probabilities(self, acts_ND: Tensor) -> Tensor:
        """(N, squares, classes), summing to 1 over classes."""
        return self.logits(acts_ND).softmax(-1)

    @cached_property
    def hash(self) -> str:
        """Hash of its weights."""
        numbers = (part.cpu().contiguous().numpy().tobytes() for part in (self.weight_DSC, self.bias_SC))
        return hashlib.sha256(b"".join(numbers)).hexdigest()[:8]

    def directions(self) -> Tensor:
        """(P, width), a row per label in the order of `Targets.columns`: the direction in which its logit increases.

        It is relative to the mean of its group, as a softmax fixes weights only up to a shift shared by all classes.
        """
        return self.targets.columns(self.weight_DSC - self.weight_DSC.mean(-1, keepdim=True)).T

    def direction(self, label: str) -> Tensor:
        """(width,): the direction of one label, `d3 mine`. Raises ValueError, with the closest, for another name."""
        if label not in self.labels:
            raise ValueError(f"the probe has no label '{label}'; {advice(label, self.labels)}")
        return self.directions()[self.labels.index(label)]
