"""A floor: the same SAE trained on a GPT with random weights, which knows nothing but the moves it is given."""

from pathlib import Path

from boardgame_sae.metrics.baselines.registry import Baseline, Look, register
from boardgame_sae.metrics.baselines.twins import train_twin
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.testbed import Testbed


def random_gpt_twin(sae_folder: Path, testbed: Testbed, device: str = "auto") -> Path:
    """Train an SAE's twin on the random-weights GPT; see `train_twin`."""
    return train_twin(sae_folder, testbed.random_twin(), device)


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
