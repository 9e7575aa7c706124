"""An SAE of ours beside one of a peer's: the same weights in both, the same data into both, their numbers compared."""

import torch

from boardgame_sae.saes.registry import make_sae

D, F, N, K = 12, 40, 64, 4
STEPS = 10
"""Length of the training that schedules are laid out over."""


def batch(seed=0, n=N):
    """Activations (n, D), float64, off the origin; each batch has a size of its own, so that clipping shows."""
    generator = torch.Generator().manual_seed(seed)
    return (1 + seed % 3) * torch.randn(n, D, generator=generator, dtype=torch.float64) + 0.5


def unsettled(architecture, *, unit=True, steps=STEPS, way="auto", **fields):
    """A float64 SAE with every parameter away from its start; unit: decoder rows of norm 1."""
    sae = make_sae(architecture, d_model=D, n_latents=F, **fields).double()
    sae.way = way
    sae.begin_training(steps, batch())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in sae.named_parameters():
            noise = 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight += noise.abs() if name == "threshold" else noise
        if unit:
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    return sae


def part(module, path, *, gradient=False):
    """A weight of theirs, or its gradient, laid out as ours; a path that ends in .T is transposed there."""
    weight = module.get_parameter(path.removesuffix(".T"))
    value = weight.detach() if not gradient else torch.zeros_like(weight) if weight.grad is None else weight.grad
    return value.T if path.endswith(".T") else value


@torch.no_grad()
def give_weights(ours, theirs, layout):
    """Copy our weights into theirs; layout: our name to their path, for every parameter of both."""
    assert {name for name, _ in ours.named_parameters()} == set(layout)
    assert {name for name, _ in theirs.named_parameters()} == {path.removesuffix(".T") for path in layout.values()}
    for name, path in layout.items():
        part(theirs, path).copy_(ours.get_parameter(name))


def gradients(sae):
    """Our gradients by name; zero where none came."""
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in sae.named_parameters()
    }


def assert_near(found, wanted, tolerance, what=""):
    """Nowhere further apart than a share `tolerance` of the largest wanted value."""
    found, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (found, wanted))
    assert found.shape == wanted.shape, what
    apart, size = float((found - wanted).abs().max()), float(wanted.abs().max())
    assert apart <= tolerance * max(size, 1e-12), f"{what}: {apart} apart, of {size}"


def assert_same_gradients(ours, theirs, layout, tolerance, *, but=()):
    """Every parameter's gradient is the same, and there is one somewhere; but: names to leave out."""
    own = gradients(ours)
    assert any(gradient.abs().max() > 1e-3 for gradient in own.values())
    for name, path in layout.items():
        if name not in but:
            assert_near(part(theirs, path, gradient=True), own[name], tolerance, f"gradient of {name}")


def assert_same_weights(ours, theirs, layout, tolerance, *, but=()):
    """Every parameter is the same; but: names to leave out."""
    for name, path in layout.items():
        if name not in but:
            assert_near(part(theirs, path), ours.get_parameter(name).detach(), tolerance, name)
