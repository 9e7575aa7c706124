"""Lesson 4: train your first SAE."""

import torch
import torch.nn.functional as F
from torch import Tensor


def encode(x_ND: Tensor, W_enc_DF: Tensor, b_enc_F: Tensor, b_dec_D: Tensor) -> Tensor:
    """(N, F): how strongly each latent is on: ReLU((x - b_dec) W_enc + b_enc)."""
    return F.relu((x_ND - b_dec_D) @ W_enc_DF + b_enc_F)


def keep_largest(z_NF: Tensor, k: int) -> Tensor:
    """(N, F): the k largest latents of each position, in their places; zero elsewhere."""
    top = z_NF.topk(k, dim=-1)
    return torch.zeros_like(z_NF).scatter(-1, top.indices, top.values)


def decode(z_NF: Tensor, W_dec_FD: Tensor, b_dec_D: Tensor) -> Tensor:
    """(N, D): the activations that latents stand for: each latent adds its row of W_dec, times its value."""
    return z_NF @ W_dec_FD + b_dec_D


def squared_error(x_ND: Tensor, x_hat_ND: Tensor) -> Tensor:
    """The loss, a tensor without axes: the squared length of x - x_hat, on average over positions."""
    return (x_ND - x_hat_ND).pow(2).sum(-1).mean()


def unit_rows(W_dec_FD: Tensor) -> Tensor:
    """(F, D): the decoder with every row scaled to length 1."""
    return W_dec_FD / W_dec_FD.norm(dim=-1, keepdim=True)


def explained_variance(x_ND: Tensor, x_hat_ND: Tensor) -> float:
    """1 minus the squared error as a share of the error of always giving the mean activation."""
    total = (x_ND - x_ND.mean(0)).pow(2).sum()
    return (1 - (x_ND - x_hat_ND).pow(2).sum() / total).item()


def sparsity(z_NF: Tensor) -> tuple[float, float]:
    """(L0, dead): how many latents are on per position on average, and the share of latents that are never on."""
    on_NF = z_NF > 0
    return on_NF.sum(-1).float().mean().item(), (~on_NF.any(0)).float().mean().item()
