"""Our Muon takes torch's steps, but for torch's bfloat16."""

import copy

import pytest
import torch

from boardgame_sae.model.muon import Muon, orthogonalise

SHAPES = [(16, 16), (64, 16), (16, 64), (16, 16), (3, 7), (64, 16)]
COEFFICIENTS = (3.4445, -4.775, 2.0315)


def weights_and_gradients(n_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator) for shape in SHAPES]
    gradients = [[torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(n_steps)]
    return weights, gradients


def step(optimizer, weights, gradients):
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    optimizer.step()


def stepped(kind, n_steps, **settings):
    """Weights after some steps of an optimiser that starts from the same weights and sees the same gradients."""
    weights, gradients = weights_and_gradients(n_steps)
    optimizer = kind(weights, **settings)
    for gradient in gradients:
        step(optimizer, weights, gradient)
    return weights, optimizer


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.02},
        {"lr": 0.3, "weight_decay": 0.5},
        {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.0},
        {"lr": 0.02, "nesterov": False},
        {"lr": 0.02, "ns_steps": 3},
        {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw"},
    ],
)
@pytest.mark.parametrize("n_steps", [1, 4])
def test_steps_are_torchs_within_its_bfloat16(settings, n_steps):
    start, _ = weights_and_gradients(0)
    ours, _ = stepped(Muon, n_steps, **settings)
    theirs, _ = stepped(torch.optim.Muon, n_steps, **settings)
    for a, b, begun in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < 0.03 * (b - begun).norm()


def test_the_learning_rate_scales_with_the_root_of_rows_over_columns():
    gradient = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    for rows in (16, 64):
        weight = torch.zeros(rows, 16)
        weight.grad = gradient.repeat(rows // 16, 1)
        Muon([weight], lr=1.0, weight_decay=0.0).step()
        assert 0.6 < weight.norm() / (16 * rows / 16) ** 0.5 < 1.3


def test_a_state_can_be_handed_to_torchs_muon_and_back():
    weights, gradients = weights_and_gradients(6)
    whole, _ = stepped(Muon, 6, lr=0.02)
    optimizer = Muon(weights, lr=0.02)
    for number, gradient in enumerate(gradients):
        step(optimizer, weights, gradient)
        if number in (1, 3):
            kind = torch.optim.Muon if number == 1 else Muon
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = kind(weights, lr=99.0)
            optimizer.load_state_dict(state)
            assert optimizer.param_groups[0]["lr"] == 0.02
    for a, b, begun in zip(weights, whole, weights_and_gradients(0)[0], strict=True):
        assert (a - b).norm() < 0.03 * (b - begun).norm()


def test_a_resumed_optimiser_takes_the_very_same_steps():
    whole, _ = stepped(Muon, 5, lr=0.02)
    weights, gradients = weights_and_gradients(5)
    optimizer = Muon(weights, lr=0.02)
    for gradient in gradients:
        step(optimizer, weights, gradient)
        state = copy.deepcopy(optimizer.state_dict())
        optimizer = Muon(weights, lr=0.02)
        optimizer.load_state_dict(state)
    assert all(map(torch.equal, weights, whole))


def test_weights_without_a_gradient_stay_and_a_closure_gives_its_loss():
    still, moving = torch.ones(3, 3), torch.ones(3, 3, requires_grad=True)
    optimizer = Muon([still, moving], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = moving.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 9
    assert torch.equal(still, torch.ones(3, 3)) and not torch.equal(moving, torch.ones(3, 3))


def test_a_zero_gradient_only_decays():
    weight = torch.ones(4, 4)
    weight.grad = torch.zeros(4, 4)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight, torch.full((4, 4), 1 - 0.1 * 0.5))


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 40), (32, 32), (64, 64)])
def test_orthogonalise_brings_every_singular_value_near_one_and_keeps_the_directions(shape):
    generator = torch.Generator().manual_seed(0)
    n = shape[0]
    left = torch.linalg.qr(torch.randn(3, n, n, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(3, shape[1], shape[1], generator=generator))[0][:, :n]
    for spread in (1.0, 10.0, 50.0):
        values = torch.logspace(0, -torch.tensor(spread).log10(), n).expand(3, n)
        found = orthogonalise(left @ torch.diag_embed(values) @ right, COEFFICIENTS, 5, 1e-7)
        turned = left.mT @ found @ right.mT
        diagonal = turned.diagonal(dim1=1, dim2=2)
        assert diagonal.min() > 0.6 and diagonal.max() < 1.3
        assert (turned - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_orthogonalise_is_the_published_iteration():
    a, b, c = COEFFICIENTS
    matrices = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(1))
    x = matrices.double()
    x = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalise(matrices, COEFFICIENTS, 5, 1e-7).double(), x, rtol=1e-4, atol=1e-4)
