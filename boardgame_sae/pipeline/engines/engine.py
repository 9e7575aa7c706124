"""What does the work of a study: processes of this machine, or a Ray cluster."""

from typing import Literal

from boardgame_sae.config import ConfigError, Natural, NonNegative, Positive, config


@config
class Engine:
    """Where a study's groups are worked on: SAEs that train on one stream of activations, and their scores."""

    engine: Literal["local", "ray"] = "local"
    """local: in as many processes of this machine as --workers says. ray: on a Ray cluster, as many at a time as its
    machines have room for; every machine must see the same files under the same paths."""
    address: str | None = None
    """Address of a Ray cluster, such as 10.0.0.1:6379 or auto (default: that of RAY_ADDRESS or of a cluster that runs
    on this machine, or else this machine alone)."""
    cpus_per_group: Positive | None = None
    """CPUs for each group, and threads, with which rounding differs (default: as many as this process has threads)."""
    gpus_per_group: NonNegative = 0.0
    """GPUs for each group on Ray; 0.25: four groups share one."""
    saes_per_group: Natural = 0
    """SAEs that train together at most, so that more workers have something to do. 0: all that can share a stream."""
    retries: Natural = 2
    """How often a group is tried again, from where it had come, when its process or its machine dies."""

    def check(self) -> None:
        """Raise ConfigError for settings that only the other engine has."""
        if self.engine == "local":
            for flag, given in (("address", self.address is not None), ("gpus-per-group", self.gpus_per_group)):
                if given:
                    raise ConfigError(
                        f"--{flag} is for --engine ray; the local engine works on this machine's --device"
                    )
