"""An SAE made of a student's own functions, trained with Adam."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Parts:
    """The functions of lesson 4."""

    encode: Function
    keep_largest: Function
    decode: Function
    squared_error: Function
    unit_rows: Function


class OwnSAE:
    """A TopK SAE; `evaluate` and `latent` take it as they take any object with `encode`, `decode` and `W_dec`."""

    def __init__(self, parts: Parts, x_ND: Tensor, n_latents: int, k: int, seed: int = 0) -> None:
        """Initial weights: unit decoder rows at random, the encoder their transpose, b_dec the mean activation."""
        generator = torch.Generator().manual_seed(seed)
        self.parts, self.k = parts, k
        rows_FD = torch.randn(n_latents, x_ND.shape[1], generator=generator)
        self.W_dec = rows_FD / rows_FD.norm(dim=-1, keepdim=True)
        self.W_enc, self.b_enc, self.b_dec = self.W_dec.T.clone(), torch.zeros(n_latents), x_ND.mean(0)

    def encode(self, x_ND: Tensor) -> Tensor:
        """(N, n_latents): the k largest latents of each position."""
        return self.parts.keep_largest(self.parts.encode(x_ND, self.W_enc, self.b_enc, self.b_dec), self.k)

    def decode(self, z_NF: Tensor) -> Tensor:
        """(N, width)."""
        return self.parts.decode(z_NF, self.W_dec, self.b_dec)

    def train(
        self, x_ND: Tensor, n_steps: int, *, batch_size: int = 512, lr: float = 2e-3, seed: int = 0
    ) -> list[float]:
        """Minimise the squared error on random batches; returns the loss at each step."""
        generator = torch.Generator().manual_seed(seed)
        weights = (self.W_enc, self.b_enc, self.W_dec, self.b_dec)
        for weight in weights:
            weight.requires_grad_()
        optimizer, losses = torch.optim.Adam(weights, lr=lr), []
        for _ in range(n_steps):
            batch_ND = x_ND[torch.randint(len(x_ND), (batch_size,), generator=generator)]
            loss = self.parts.squared_error(batch_ND, self.decode(self.encode(batch_ND)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                self.W_dec.copy_(self.parts.unit_rows(self.W_dec))
            losses.append(loss.item())
        for weight in weights:
            weight.requires_grad_(False)
        return losses
