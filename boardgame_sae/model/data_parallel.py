"""Training on several devices: one process for each, which reads its share of every batch; all take the same step.

The gradient is the mean over the whole batch, as on one device, but sums are rounded in another order.
"""

import socket
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from boardgame_sae.config import ConfigError
from boardgame_sae.model.game_model import pick_device


@dataclass(frozen=True)
class Place:
    """One of the processes that train together on this machine."""

    device: str
    """The kind of device, in `pick_device`'s words."""
    rank: int = 0
    n_devices: int = 1
    port: int = 0
    """Where the processes meet, if there are several."""


def places(device: str, n_devices: int) -> list[Place]:
    """The processes of a training. Raises ConfigError for more devices than there are; CPU processes may be any."""
    if n_devices == 1:
        return [Place(device)]
    kind = pick_device(device).type
    known = {"cpu": n_devices, "cuda": torch.cuda.device_count()}.get(kind, 1)
    if n_devices > known:
        raise ConfigError(f"{n_devices} devices asked for, but this machine has {known} of kind {kind}")
    with socket.socket() as meeting:
        meeting.bind(("127.0.0.1", 0))
        port = meeting.getsockname()[1]
    return [Place(kind, rank, n_devices, port) for rank in range(n_devices)]


def check_shares(batch_size: int, n_corpora: int, n_devices: int) -> None:
    """Raise ConfigError unless every device gets as many rows of every corpus in each step."""
    if (batch_size // n_corpora) % n_devices:
        of = "" if n_corpora == 1 else f", {batch_size // n_corpora} of each corpus,"
        raise ConfigError(
            f"batch_size {batch_size}{of} does not divide among {n_devices} devices; give a multiple, or fewer devices"
        )


class Process:
    """This process's place in a training: its device, and what it does together with the others, if there are any."""

    def __init__(self, place: Place) -> None:
        """Where there are several, returns once all have met; `leave` parts from them."""
        self.rank, self.n = place.rank, place.n_devices
        self.device = pick_device(place.device)
        if self.n == 1:
            return
        if self.device.type == "cuda":
            self.device = torch.device("cuda", self.rank)
            torch.cuda.set_device(self.device)
        where = {"init_method": f"tcp://127.0.0.1:{place.port}", "rank": self.rank, "world_size": self.n}
        distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo", **where)

    @property
    def leads(self) -> bool:
        """Whether this is the one that measures and writes."""
        return self.rank == 0

    def together(self, module: nn.Module) -> nn.Module:
        """A module on the device whose gradients will be the means over all processes."""
        return module if self.n == 1 else DistributedDataParallel(module)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over all processes, without its gradient."""
        total = value.detach().clone()
        if self.n == 1:
            return total
        distributed.all_reduce(total)
        return total / self.n

    def meet(self) -> None:
        """Wait for the others."""
        if self.n > 1:
            distributed.barrier()

    @staticmethod
    def leave() -> None:
        """Part from the others, who else would wait for this one."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def share_of_mean(process: Process, mean: Tensor, n_own: Tensor) -> Tensor:
    """A mean over this process's own items so scaled that its mean over all processes is that over all items.

    n_own: how many items are its own.
    """
    return mean if process.n == 1 else mean * (n_own / process.mean(n_own.float()))
