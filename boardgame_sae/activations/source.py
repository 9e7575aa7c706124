"""What SAEs train on: activations in shuffled batches, from disk or played on the spot."""

from pathlib import Path
from typing import Protocol

from torch import Tensor


class Stream(Protocol):
    """Shuffled batches; a batch depends on the seed and its number alone, so a resume just asks for it."""

    @property
    def batches_per_pass(self) -> int | None:
        """Batches until the same activations come again; None where they never do."""
        ...

    def batch(self, step: int) -> Tensor:
        """Batch number `step`, from 0: float32 (batch_size, width)."""
        ...


class ActivationSource(Protocol):
    """Where activations of one hook point come from."""

    @property
    def path(self) -> Path:
        """What messages name."""
        ...

    @property
    def width(self) -> int:
        """Numbers per activation."""
        ...

    @property
    def hash(self) -> str:
        """Hash of all that the activations depend on."""
        ...

    @property
    def mean_norm(self) -> float:
        """Root of the mean squared norm of an activation."""
        ...

    def stream(self, batch_size: int, seed: int) -> Stream:
        """Shuffled batches. Raises ValueError for a batch larger than what there is."""
        ...
