"""Training the twin of a saved SAE: the same config and training, all but for one thing."""

from pathlib import Path
from typing import Any

from boardgame_sae.config import from_mapping, to_mapping
from boardgame_sae.metrics.baselines.registry import NoTwinError
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training.freeze import check_freezable
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.fresh import can_play_on


def train_twin(sae_folder: Path, testbed: Testbed, device: str = "auto", **changed: Any) -> Path:
    """Train a saved SAE's twin on a testbed and return its folder; reused when done.

    changed: fields of TrainSAEConfig that differ from the SAE's. An SAE from elsewhere, whose training is unknown, gets
    a twin with its own config, trained with our defaults.
    Raises NoTwinError where what is to be frozen cannot be and where the SAE was trained on fresh games but none can be
    played like the testbed's, RunError when the SAE cannot be read.
    """
    sae = load_sae(sae_folder, uncalibrated=True)
    cfg = from_mapping(TrainSAEConfig, {**sae.metadata.get("training", {}), **changed}, f"{sae_folder}")
    if cfg.source == "fresh" and not can_play_on(testbed.corpus):
        raise NoTwinError("its training reads fresh games, and none can be played like those of this corpus")
    twin_cfg = sae_config(**(sae.trained_as if "training" in sae.metadata else to_mapping(sae.cfg)))
    try:
        check_freezable(twin_cfg, cfg.frozen)
    except ValueError as error:
        raise NoTwinError(str(error)) from None
    (folder,) = train_on_testbed(testbed, [twin_cfg], cfg, device=device)
    return folder
