"""Train SAEs on a testbed, and calibrate those that were trained elsewhere: its activations are handed to them."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from boardgame_sae.activations.stream import ActivationSource, FreshActivations
from boardgame_sae.config import ConfigError, from_mapping, to_mapping
from boardgame_sae.foreign_names import advice
from boardgame_sae.model.game_model import pick_device
from boardgame_sae.model.trackers.tracker import NONE, check_tracker
from boardgame_sae.saes.configs.sae import N_LATENTS
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures, config_class, sae_config
from boardgame_sae.saes.sae import SAE, SAEConfig
from boardgame_sae.saes.training.train import TrainSAEConfig, train_saes_run
from boardgame_sae.signatures import showing_fields
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.testbed import Testbed

TRAINING_FIELDS = frozenset(field.name for field in dataclasses.fields(TrainSAEConfig)) - {"seed"}
"""What sets a training rather than an SAE; both have a seed."""
KEYWORDS = frozenset({"testbed", "training", "out", "device", "tracker"})
"""What `train_sae` takes besides fields of configs."""
N_CALIBRATION = 65_536
"""Most activations that a threshold is set on."""


def train_on_testbed(
    testbed: Testbed,
    sae_configs: Sequence[SAEConfig],
    cfg: TrainSAEConfig | Sequence[TrainSAEConfig],
    *,
    outs: Sequence[str | Path | None] | None = None,
    device: str = "auto",
    tracker: str = NONE,
) -> list[Path]:
    """Train SAEs together on a testbed's activations and return their folders; finished ones are reused.

    cfg: how they are trained, or, for each, how it is (see `train_saes_run`). outs: their folders (default hashed
    ones). tracker: see `train_saes_run`. Raises ValueError when an SAE's width is not the testbed's, what is to be
    frozen cannot be or they cannot share a stream, ConfigError when fresh games cannot be played or for an unknown
    tracker, RunError when the disk is full.
    """
    check_tracker(tracker)
    pick_device(device)
    shared = cfg if isinstance(cfg, TrainSAEConfig) else cfg[0]
    source: ActivationSource = (
        FreshActivations(testbed.model, testbed.corpus, testbed.hook_name, reuse=shared.reuse)
        if shared.source == "fresh"
        else testbed.harvest(shared.n_harvested, shared.harvest_dtype)
    )
    how: dict[str, Any] = {"metadata": _metadata(testbed), "outs": outs, "device": device, "tracker": tracker}
    return train_saes_run(source, sae_configs, cfg, **how)


@showing_fields(*map(config_class, architectures()), TrainSAEConfig, without=("d_model",))
def train_sae(
    testbed: AnyTestbed,
    architecture: str | SAEConfig = "topk",
    training: TrainSAEConfig | None = None,
    *,
    n_latents: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    tracker: str = NONE,
    **fields: Any,
) -> SAE:
    """Train one SAE on a testbed's activations: `train_sae(testbed, "topk", n_latents=1024, k=32, lr=1e-3)`.

    testbed: itself, its folder, or the name of one that ships.
    architecture: its name, or a whole config: `TopKConfig(d_model=testbed.width, n_latents=1024, k=32)`, of
    `saes.architectures.topk`. n_latents: default 1,024, or the config's. training: how it is trained,
    `TrainSAEConfig(lr=1e-3)`. tracker: `trackio` or `wandb` get the metrics too.
    fields: those of either config that differ; `seed` sets both, d_model is the testbed's width.
    out: the run's folder (default one named by its hash); a finished run is reused, a killed one resumed. device: where
    it trains, `auto`, `cpu`, `cuda` or `mps`.
    Raises ConfigError for an unknown architecture, field or tracker, and when fresh games cannot be played; ValueError
    when its width is not the testbed's or what is to be frozen cannot be; RunError when the disk is full.
    """
    if not isinstance(architecture, str | SAEConfig):
        raise ConfigError(
            f"architecture: is an object of the type {type(architecture).__name__}; give a name or a config"
        )
    named = {"architecture": architecture, "n_latents": N_LATENTS}
    own = named if isinstance(architecture, str) else to_mapping(architecture)
    if n_latents is not None:
        fields["n_latents"] = n_latents
    sae_fields = {field.name for field in dataclasses.fields(config_class(own["architecture"]))}
    for name in fields:
        if name not in sae_fields | TRAINING_FIELDS:
            known = sorted(sae_fields | TRAINING_FIELDS | KEYWORDS)
            raise ConfigError(f"train_sae: unknown field '{name}'; {advice(name, known, 'the fields are')}")
    testbed = as_testbed(testbed)
    of_sae = {"d_model": testbed.width, **own, **{name: fields[name] for name in sae_fields & fields.keys()}}
    of_training = {name: value for name, value in fields.items() if name in {*TRAINING_FIELDS, "seed"}}
    cfg = from_mapping(TrainSAEConfig, {**to_mapping(training or TrainSAEConfig()), **of_training}, "train_sae")
    (folder,) = train_on_testbed(testbed, [sae_config(**of_sae)], cfg, outs=[out], device=device, tracker=tracker)
    return load_sae(folder)


def check_reads(sae: SAE, testbed: Testbed, name: str = "this SAE") -> None:
    """Raise ValueError unless an SAE reads the activations of a testbed, by their width and hook point."""
    hook_name = sae.metadata.get("hook_name")
    if sae.cfg.d_model != testbed.width:
        raise ValueError(
            f"{name} takes activations of width {sae.cfg.d_model}, those at {testbed.hook_name} have width "
            f"{testbed.width}; give the testbed of the model and hook point it was trained on"
        )
    if hook_name not in (None, testbed.hook_name):
        raise ValueError(
            f"{name} says it reads {hook_name}, the testbed reads {testbed.hook_name}; give a testbed of its own hook "
            "point, as `boardgame-sae testbed --sae` makes"
        )


def calibrated_on(testbed: Testbed, sae: SAE) -> SAE:
    """An SAE as it is, or, where its threshold was never set, with one at which k latents are on per position.

    That is on average over N_CALIBRATION tokens of the testbed's train games; the metadata say so under `calibration`.
    The SAE that is given stays as it was. Raises ValueError for activations of another width than the SAE's.
    """
    if sae.calibrated:
        return sae
    everywhere, batches, n = testbed.everywhere, list[Tensor](), 0
    for span in everywhere.spans("train"):
        batches.append(everywhere.read("train", span.start, span.stop)[: N_CALIBRATION - n].to(sae.device, sae.dtype))
        n += len(batches[-1])
        if n == N_CALIBRATION:
            break
    sae = copy.deepcopy(sae)
    sae.calibrate(batches)
    told = {"testbed": testbed.hash, "split": "train", "n_activations": n, "k": sae.cfg.k}
    sae.metadata = {**sae.metadata, "calibration": told}
    return sae


def _metadata(testbed: Testbed) -> dict[str, Any]:
    """What an SAE keeps of where it was trained."""
    return {
        "hook_name": testbed.hook_name,
        "context_size": testbed.model.gpt.cfg.n_ctx,
        "game": testbed.corpus.game.spec,
        "model": testbed.model.hash,
        "testbed": testbed.hash,
        "random_weights": "random_weights" in testbed.model.card.get("training", {}),
    }
