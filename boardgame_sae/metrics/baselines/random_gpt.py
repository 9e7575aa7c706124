"""A floor: the same SAE trained on a GPT with random weights, which knows nothing but the moves it is given."""

from pathlib import Path

from boardgame_sae.config import from_mapping, to_mapping
from boardgame_sae.metrics.baselines.registry import Baseline, Look, register
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed


def random_gpt_twin(sae_folder: Path, testbed: Testbed, device: str = "auto") -> Path:
    """Train an SAE's twin, same config and training, on the random-weights GPT; reused when done.

    An SAE from elsewhere, whose training is unknown, gets a twin with its own config, trained with our defaults.
    Raises RunError when the SAE cannot be read.
    """
    sae, twin_testbed = load_sae(sae_folder, uncalibrated=True), testbed.random_twin()
    cfg = from_mapping(TrainSAEConfig, sae.metadata.get("training", {}), f"{sae_folder}")
    twin_cfg = sae_config(**(sae.trained_as if "training" in sae.metadata else to_mapping(sae.cfg)))
    (folder,) = train_on_testbed(twin_testbed, [twin_cfg], cfg, device=device)
    return folder


def of_random_weights(sae: SAE) -> bool:
    """Whether an SAE was trained on a random-weights GPT."""
    return bool(sae.metadata.get("random_weights"))


register(
    Baseline(
        kind="random_gpt_sae",
        title="SAE of a random-weights GPT",
        label="random-GPT SAE",
        role="floor",
        order=1,
        look=Look("#b5b5b5", "o", size=6),
        of_sae=random_gpt_twin,
        recognises=of_random_weights,
        variant=Testbed.random_twin,
    )
)
