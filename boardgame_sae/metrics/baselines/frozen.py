"""Floors: the same SAE trained on the same activations, but with one part left as it was drawn.

What it scores is what comes of the activations, the latents' number and their sparsity, with nothing learned by that
part. On language models such SAEs come close to trained ones: automated interpretability .87 against .90, sparse
probing .69 against .72, causal editing .73 against .72. Source: arXiv 2602.14111.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from boardgame_sae.metrics.baselines.registry import Baseline, Look, register
from boardgame_sae.metrics.baselines.twins import train_twin
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.freeze import Frozen
from boardgame_sae.testbeds.testbed import Testbed


def frozen_twin(frozen: Frozen) -> Callable[[Path, Testbed, str], Path]:
    """How to train an SAE's twin with a part frozen; see `train_twin`."""

    def train(sae_folder: Path, testbed: Testbed, device: str = "auto") -> Path:
        return train_twin(sae_folder, testbed, device, frozen=frozen)

    return train


def of_frozen(frozen: Frozen) -> Callable[[SAE], bool]:
    """Whether an SAE was trained with a part frozen."""

    def recognises(sae: SAE) -> bool:
        training = sae.metadata.get("training")
        return isinstance(training, Mapping) and training.get("frozen") == frozen

    return recognises


def same_testbed(testbed: Testbed) -> Testbed:
    """The testbed itself: frozen twins read what the SAE reads."""
    return testbed


def _register(kind: str, frozen: Frozen, title: str, order: int, look: Look) -> None:
    register(
        Baseline(
            kind=kind,
            title=f"SAE with a {title}",
            label=f"{title} SAE",
            role="floor",
            order=order,
            look=look,
            of_sae=frozen_twin(frozen),
            recognises=of_frozen(frozen),
            variant=same_testbed,
            by_default=False,
        )
    )


_register("frozen_decoder", "decoder", "frozen decoder", 7, Look("#a6761d", "v", size=6))
_register("soft_frozen_decoder", "soft_decoder", "soft-frozen decoder", 8, Look("#d8b365", "v", size=6))
_register("frozen_encoder", "encoder", "frozen encoder", 9, Look("#5ab4ac", "^", size=6))
