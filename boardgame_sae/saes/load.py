"""Open a saved SAE, whichever library saved it."""

from pathlib import Path

from boardgame_sae.runs.integrity import verified
from boardgame_sae.saes.exchange.library import locate, open_sae
from boardgame_sae.saes.sae import OPENERS, SAE
from boardgame_sae.testbeds.shipped import find_sae


def load_sae(folder: str | Path, *, uncalibrated: bool = False) -> SAE:
    """Open a saved SAE of ours or of any library that is known here, recognised by content.

    folder: where it is, or the only SAE below; or the name of one that ships, `othello-small/topk-16`, or of one on
    the Hugging Face hub, `hf:owner/name`.
    uncalibrated: also a batch-wise SAE whose threshold was never set; `sae.calibrate(batches)` sets it.
    Raises RunError when there is none, when it cannot be read, or when a file of a finished run has changed;
    ConfigError for an unknown architecture.
    """
    found = sae_folder(folder)
    verified(found)
    return open_sae(found, uncalibrated=uncalibrated)


def sae_folder(name: str | Path) -> Path:
    """The folder (or file) that `load_sae` reads. Raises RunError when there is no SAE."""
    return locate(find_sae(name))


OPENERS.add("load_sae", load_sae)
