"""SAEs as a training leaves them, to be written for another library and read again."""

import dataclasses
import json

import torch
from safetensors.torch import load_file, save_file

from boardgame_sae.saes.exchange import libraries, to_dictionary_learning, to_sae_lens, writers
from boardgame_sae.saes.registry import config_class, make_sae

WRITERS = writers()
D, F = 5, 12


@torch.no_grad()
def trained_like(name, d_model=D, n_latents=F, seed=0, *, unit=True, calibrated=True, **fields):
    """An SAE with every parameter away from its start, thresholds too, calibrated."""
    sparse = {"k": max(1, n_latents // 3), "group_fractions": (0.5, 0.5)}
    own = {field.name for field in dataclasses.fields(config_class(name))}
    fields = {**{key: value for key, value in sparse.items() if key in own}, **fields}
    sae = make_sae(name, d_model=d_model, n_latents=n_latents, **fields)
    generator = torch.Generator().manual_seed(seed)
    for weight in sae.parameters():
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    if "threshold" in dict(sae.named_parameters()):
        sae.threshold.abs_()
    if unit:
        sae.constrain()
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    if calibrated:
        sae.calibrate([batch(d_model, 64, seed + 1)])
    return sae.eval()


def can_write(library, name):
    """Whether a library can hold what an architecture computes at inference."""
    return trained_like(name).inference().form in libraries()[library].forms


def batch(d_model=D, n=50, seed=0):
    return torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))


def assert_close(ours, expected, relative=1e-6):
    """Nowhere further apart than a share `relative` of the largest expected value."""
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= relative * expected.abs().max()


@torch.no_grad()
def assert_same(again, expected, x_ND):
    """Equal latents and reconstructions; in float64, so that only the weights count."""
    again, expected, x_ND = again.double(), expected.inference().double(), x_ND.double()
    z_NF = expected.encode(x_ND)
    assert (z_NF > 0).any()
    assert_close(again.encode(x_ND), z_NF)
    assert_close(again.decode(z_NF), expected.decode(z_NF))


def dictionary(folder, name="relu", drop=(), config=True, tensors=None, trainer=None, **fields):
    """A folder as dictionary_learning writes it, without anything of ours."""
    to_dictionary_learning(trained_like(name, **fields), folder)
    card = json.loads((folder / "config.json").read_text())
    del card["boardgame_sae"]
    card["trainer"].update(trainer or {})
    (folder / "config.json").write_text(json.dumps(card))
    if not config:
        (folder / "config.json").unlink()
    found = {**torch.load(folder / "ae.pt"), **(tensors or {})}
    torch.save({key: value for key, value in found.items() if key not in drop}, folder / "ae.pt")
    return folder


def sae_lens_folder(folder, name="relu", drop=(), weights=None, seed=0, **changes):
    """A folder as SAELens writes it, without anything of ours."""
    to_sae_lens(trained_like(name, unit=False, seed=seed), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    del cfg["metadata"]["boardgame_sae"]
    cfg["metadata"].update(changes.pop("metadata", {}))
    cfg.update(changes)
    (folder / "cfg.json").write_text(json.dumps({key: value for key, value in cfg.items() if key not in drop}))
    if weights:
        save_file({**load_file(folder / "sae_weights.safetensors"), **weights}, folder / "sae_weights.safetensors")
    return folder
