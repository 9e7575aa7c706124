"""Open a saved SAE, whichever library saved it."""

from pathlib import Path

from boardgame_sae.integrity import verified
from boardgame_sae.saes.exchange.formats import open_sae
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.shipped import find_sae


def load_sae(folder: str | Path) -> SAE:
    """Open a saved SAE of ours, of SAELens or of dictionary_learning (also its `.pt` file), recognised by content.

    folder: where it is, or the name of one that ships, `othello-small/topk-16`.
    Raises RunError when there is none, when it cannot be read, or when a file of a finished run has changed;
    ConfigError for an unknown architecture.
    """
    found = find_sae(folder)
    verified(found)
    return open_sae(found)
