"""A new SAE library, in one file: numpy arrays in `sae.npz`, of ReLU and TopK SAEs."""

from pathlib import Path

import numpy as np
import torch

from boardgame_sae.saes.exchange import shared
from boardgame_sae.saes.exchange.library import Library, Sign, register
from boardgame_sae.saes.sae import SAE

FILE = "sae.npz"


def write(sae: SAE, folder: Path) -> None:
    """Write an SAE."""
    simple, form = shared.exportable(sae, ("relu", "topk"), "Arrays")
    arrays = {name: weight.numpy() for name, weight in shared.with_b_dec(simple, subtracted=True).items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / FILE, k=simple.cfg.k if form == "topk" else 0, card=str(shared.card(sae)), **arrays)


def read(folder: Path) -> SAE:
    """Read an SAE."""
    held = dict(np.load(folder / FILE))
    k, card = int(held.pop("k")), eval(str(held.pop("card")))
    weights = {name: torch.from_numpy(array) for name, array in held.items()}
    d_model, n_latents = weights["W_enc"].shape
    fields = {"d_model": d_model, "n_latents": n_latents, **({"k": k} if k else {})}
    return shared.remember(shared.rebuild(folder / FILE, "topk" if k else "relu", weights, **fields), {}, card, {})


def sign(path: Path) -> Sign:
    """What speaks for a folder being one of these."""
    return Sign.CONFIG if (path / FILE).is_file() else Sign.NONE


register(Library("arrays", "Arrays", FILE, sign, read, write, ("relu", "topk")))
