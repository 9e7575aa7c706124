"""The SAEs of a study, as its YAML lists them: a list as the value of a field makes one SAE for each of its entries.

    {architecture: [topk, batch_topk], n_latents: 1024, k: [16, 32], n_activations: [1000000, 10000000]}      8 SAEs

Fields of the training (TrainSAEConfig) stand among an SAE's own, and apply to it alone; the study's `training` is what
all others train by.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boardgame_sae.config import ConfigError, canonical_json, from_mapping, to_mapping
from boardgame_sae.model.trackers.tracker import NONE
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.sae import SAEConfig
from boardgame_sae.saes.training.freeze import check_freezable
from boardgame_sae.saes.training.on_testbed import TRAINING_FIELDS, train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig, stream_of
from boardgame_sae.testbeds.testbed import Testbed


class Planned(NamedTuple):
    """An SAE of a grid, and how it is trained."""

    sae: SAEConfig
    training: TrainSAEConfig


def expand(
    entries: Sequence[Mapping[str, Any]], d_model: int, training: TrainSAEConfig, source: str = "saes"
) -> list[Planned]:
    """Every SAE of a grid: the product of each entry's lists. Raises ConfigError naming source and entry."""
    planned = []
    for index, entry in enumerate(entries):
        if "architecture" not in entry:
            raise ConfigError(f"{source}.{index}: needs an architecture")
        empty = [name for name, values in entry.items() if values == []]
        if empty:
            raise ConfigError(f"{source}.{index}.{empty[0]}: an empty list makes no SAE; give a value or several")
        axes = [
            [(name, value) for value in (values if isinstance(values, list) else [values])]
            for name, values in entry.items()
        ]
        try:
            planned += [_planned(dict(chosen), d_model, training) for chosen in itertools.product(*axes)]
        except ValueError as error:
            raise ConfigError(f"{source}.{index}: {error}") from None
    return planned


def _planned(fields: dict[str, Any], d_model: int, training: TrainSAEConfig) -> Planned:
    own = {name: fields.pop(name) for name in list(fields) if name in TRAINING_FIELDS}
    sae = sae_config(**{"d_model": d_model, **fields})
    sae.check_trainable()
    if own:
        training = from_mapping(TrainSAEConfig, {**to_mapping(training), **own}, "its training")
    check_freezable(sae, training.frozen)
    return Planned(sae, training)


def train_grid(
    testbed: Testbed,
    entries: Sequence[Mapping[str, Any]],
    training: TrainSAEConfig,
    device: str,
    *,
    outs: Sequence[str | Path | None] | None = None,
    source: str = "saes",
    tracker: str = NONE,
) -> list[Path]:
    """Train every SAE of a grid on a testbed, those that can on one stream; finished ones are reused.

    outs: their folders (default hashed ones). tracker: see `train_saes_run`.
    Returns their folders in the order of `expand`. Raises as that does.
    """
    planned = expand(entries, testbed.width, training, source)
    return train_planned(testbed, planned, device, outs=outs, tracker=tracker)


def train_planned(
    testbed: Testbed,
    planned: Sequence[Planned],
    device: str,
    *,
    outs: Sequence[str | Path | None] | None = None,
    tracker: str = NONE,
) -> list[Path]:
    """Train SAEs on a testbed, those that can on one stream. Returns their folders. Raises as `train_on_testbed`."""
    folders: dict[int, Path] = {}
    for places in on_one_stream(planned):
        trained = train_on_testbed(
            testbed,
            [planned[place].sae for place in places],
            [planned[place].training for place in places],
            outs=None if outs is None else [outs[place] for place in places],
            device=device,
            tracker=tracker,
        )
        folders |= dict(zip(places, trained, strict=True))
    return [folders[place] for place in range(len(planned))]


def on_one_stream(planned: Sequence[Planned]) -> list[list[int]]:
    """The places of the SAEs that can train on one stream, stream by stream."""
    streams: dict[str, list[int]] = {}
    for place, one in enumerate(planned):
        streams.setdefault(canonical_json(stream_of(one.training)), []).append(place)
    return list(streams.values())
