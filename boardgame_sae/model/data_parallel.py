"""Training on several devices: one process for each, which reads its share of every batch; all take the same step.

The gradient is the mean over the whole batch, as on one device, but sums are rounded in another order.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def fabric_at(place: Place, precision: Any) -> Any:
    """Lightning Fabric for one process; where there are several, it returns once all have met."""
    from lightning_fabric import Fabric  # imported late: it takes seconds
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    kind = pick_device(place.device).type
    accelerator = {"mps": "mps", "cuda": "cuda"}.get(kind, "cpu")
    if place.n_devices == 1:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    else:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": place.port, "NODE_RANK": 0, "LOCAL_RANK": place.rank}
        os.environ.update({name: str(value) for name, value in meeting.items()})
        plugins = [LightningEnvironment()]  # whatever else the machine's environment says, such as that of SLURM
        how = {"strategy": "ddp", "devices": place.n_devices, "plugins": plugins}
        fabric = Fabric(accelerator=accelerator, precision=precision, **how)
    fabric.launch()
    return fabric


def share_of_mean(fabric: Any, mean: Tensor, n_own: Tensor) -> Tensor:
    """A mean over this process's own items so scaled that its mean over all processes is that over all items.

    n_own: how many items are its own.
    """
    if fabric.world_size == 1:
        return mean
    return mean * (n_own / fabric.all_reduce(n_own.float(), reduce_op="mean"))
