"""Checkers of lesson 4."""

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.solutions import lesson4 as solutions

N, D, N_LATENTS = 20, 6, 15


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _to_encode() -> list[tuple[Tensor, ...]]:
    return [(_random(0, N, D) + 1, _random(1, D, N_LATENTS), _random(2, N_LATENTS), _random(3, D))]


def _to_sparsify() -> list[tuple[Tensor, int]]:
    return [(F.relu(_random(4, N, N_LATENTS)), 3), (F.relu(_random(5, N_LATENTS, N_LATENTS)) * 2, 5)]


def _to_decode() -> list[tuple[Tensor, ...]]:
    return [(solutions.keep_largest(*_to_sparsify()[0]), _random(6, N_LATENTS, D), _random(7, D))]


def _decoders() -> list[tuple[Tensor]]:
    return [(_random(8, N_LATENTS, D) / 4,), (_random(9, D, D) * 3,)]


def _reconstructions() -> list[tuple[Tensor, Tensor]]:
    x_ND = _random(10, N, D) * torch.arange(1.0, D + 1) + 4
    return [(x_ND, x_ND + 0.4 * _random(11, N, D)), (x_ND, 0.8 * x_ND)]


def _latents() -> list[tuple[Tensor]]:
    z_NF = solutions.keep_largest(F.relu(_random(12, N, N_LATENTS)), 4)
    z_NF[:, [2, 9]] = 0.0
    return [(z_NF,), (z_NF[:5],)]


def _of_the_batch(z_NF: Tensor, k: int) -> Tensor:
    return solutions.keep_largest(z_NF.view(1, -1), k * len(z_NF)).view_as(z_NF)


def _two_sided(z_NF: Tensor, k: int) -> Tensor:
    """The k largest of each latent."""
    return solutions.keep_largest(z_NF.T, min(k, z_NF.shape[0])).T


encode = Checker(
    solutions.encode,
    _to_encode,
    [
        Mistake(
            "b_dec is forgotten: subtract it from x first, so that latents need not stand for the mean",
            lambda x_ND, W_enc_DF, b_enc_F, b_dec_D: F.relu(x_ND @ W_enc_DF + b_enc_F),
        ),
        Mistake(
            "the ReLU is forgotten: a latent is never below zero",
            lambda x_ND, W_enc_DF, b_enc_F, b_dec_D: (x_ND - b_dec_D) @ W_enc_DF + b_enc_F,
        ),
        Mistake(
            "b_enc is forgotten",
            lambda x_ND, W_enc_DF, b_enc_F, b_dec_D: F.relu((x_ND - b_dec_D) @ W_enc_DF),
        ),
        Mistake(
            "b_dec is added: it is what the decoder adds, so the encoder takes it away",
            lambda x_ND, W_enc_DF, b_enc_F, b_dec_D: F.relu((x_ND + b_dec_D) @ W_enc_DF + b_enc_F),
        ),
        Mistake(
            "b_enc is added after the ReLU: it stands inside, so that a latent below it is off",
            lambda x_ND, W_enc_DF, b_enc_F, b_dec_D: F.relu((x_ND - b_dec_D) @ W_enc_DF) + b_enc_F,
        ),
    ],
    trained_through=True,
)

keep_largest = Checker(
    solutions.keep_largest,
    _to_sparsify,
    [
        Mistake(
            "wrong axis: you keep the k positions at which a latent is largest; keep the k latents of each position",
            _two_sided,
        ),
        Mistake(
            "wrong shape: these are the values alone, (N, k); put them back in their places, the rest zero",
            lambda z_NF, k: z_NF.topk(k, dim=-1).values,
        ),
        Mistake(
            "these are ones: keep how much a latent is on, not only that it is",
            lambda z_NF, k: (solutions.keep_largest(z_NF, k) > 0).float(),
        ),
        Mistake(
            "you keep one too few: is the k-th largest itself compared with `>`?",
            lambda z_NF, k: solutions.keep_largest(z_NF, k - 1),
        ),
        Mistake(
            "you keep the largest of the whole batch, k per position on average: that is BatchTopK; here each position "
            "keeps its own k",
            _of_the_batch,
        ),
        Mistake(
            "you keep the others: the k largest stay, the others become zero",
            lambda z_NF, k: z_NF - solutions.keep_largest(z_NF, k),
        ),
    ],
    trained_through=True,
)

decode = Checker(
    solutions.decode,
    _to_decode,
    [
        Mistake("b_dec is forgotten", lambda z_NF, W_dec_FD, b_dec_D: z_NF @ W_dec_FD),
        Mistake(
            "b_dec is taken away: the encoder does that, the decoder adds it",
            lambda z_NF, W_dec_FD, b_dec_D: z_NF @ W_dec_FD - b_dec_D,
        ),
        Mistake(
            "you use only whether a latent is on, not how much",
            lambda z_NF, W_dec_FD, b_dec_D: (z_NF > 0).float() @ W_dec_FD + b_dec_D,
        ),
        Mistake(
            "b_dec is added to every row of W_dec: add it once, to the sum",
            lambda z_NF, W_dec_FD, b_dec_D: z_NF @ (W_dec_FD + b_dec_D),
        ),
    ],
    trained_through=True,
)

squared_error = Checker(
    solutions.squared_error,
    _reconstructions,
    [
        Mistake(
            "you average over the width too: the squared length adds up the components; average over positions only",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).pow(2).mean(),
        ),
        Mistake(
            "you add up over positions: then the loss grows with the batch; take the mean over them",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).pow(2).sum(),
        ),
        Mistake(
            "that is the length, not its square: no root",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).norm(dim=-1).mean(),
        ),
        Mistake(
            "the square is forgotten: errors of either sign cancel",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).sum(-1).mean(),
        ),
        Mistake(
            "that is the sum of absolute values: square them instead",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).abs().sum(-1).mean(),
        ),
        Mistake(
            "wrong axis: you add up over positions and average over the width; the other way round",
            lambda x_ND, x_hat_ND: (x_ND - x_hat_ND).pow(2).sum(0).mean(),
        ),
    ],
    trained_through=True,
)

unit_rows = Checker(
    solutions.unit_rows,
    _decoders,
    [
        Mistake(
            "wrong axis: you scaled the columns; a latent is a row, so take `norm(dim=-1, keepdim=True)`",
            lambda W_dec_FD: W_dec_FD / W_dec_FD.norm(dim=0, keepdim=True),
        ),
        Mistake(
            "you divided by the norm of the whole matrix: each row by its own, `norm(dim=-1, keepdim=True)`",
            lambda W_dec_FD: W_dec_FD / W_dec_FD.norm(),
        ),
        Mistake(
            "you divided by the squared length: that is `norm`, not `norm ** 2`",
            lambda W_dec_FD: W_dec_FD / W_dec_FD.pow(2).sum(-1, keepdim=True),
        ),
        Mistake(
            "rows shorter than 1 stay shorter: divide every row by its length",
            lambda W_dec_FD: W_dec_FD / W_dec_FD.norm(dim=-1, keepdim=True).clamp(min=1),
        ),
        Mistake(
            "you divided by the sum of absolute values: the length is the root of the sum of squares, `norm`",
            lambda W_dec_FD: W_dec_FD / W_dec_FD.abs().sum(-1, keepdim=True),
        ),
    ],
)

explained_variance = Checker(
    solutions.explained_variance,
    _reconstructions,
    [
        Mistake(
            "the mean is not taken away: compare with giving the mean activation, not with giving zero",
            lambda x_ND, x_hat_ND: (1 - (x_ND - x_hat_ND).pow(2).sum() / x_ND.pow(2).sum()).item(),
        ),
        Mistake(
            "that is the share that is *not* explained: it is one minus this",
            lambda x_ND, x_hat_ND: 1 - solutions.explained_variance(x_ND, x_hat_ND),
        ),
        Mistake(
            "one mean for all components: the mean activation has its own value in each, `x_ND.mean(0)`",
            lambda x_ND, x_hat_ND: (1 - (x_ND - x_hat_ND).pow(2).sum() / (x_ND - x_ND.mean()).pow(2).sum()).item(),
        ),
        Mistake(
            "you average the ratio over components, so that one without variance counts as much as any; "
            "add up error and variance first, then divide",
            lambda x_ND, x_hat_ND: (
                1 - (x_ND - x_hat_ND).pow(2).sum(0) / (x_ND - x_ND.mean(0)).pow(2).sum(0)
            ).mean().item(),
        ),
        Mistake(
            "`var` divides by N - 1, the mean of the squared errors by N: pass `correction=0`, or add both up yourself",
            lambda x_ND, x_hat_ND: (1 - (x_ND - x_hat_ND).pow(2).sum(-1).mean() / x_ND.var(0).sum()).item(),
        ),
        Mistake(
            "that is the variance of the reconstruction as a share of that of the activations, which says nothing of "
            "how close they are",
            lambda x_ND, x_hat_ND: (x_hat_ND.var(0).sum() / x_ND.var(0).sum()).item(),
        ),
    ],
)  # fmt: skip

sparsity = Checker(
    solutions.sparsity,
    _latents,
    [
        Mistake(
            "the two are swapped: first L0, then the share of dead latents",
            lambda z_NF: solutions.sparsity(z_NF)[::-1],
        ),
        Mistake(
            "you average how much latents are on (L1): L0 counts how many are, however little",
            lambda z_NF: (z_NF.sum(-1).mean().item(), solutions.sparsity(z_NF)[1]),
        ),
        Mistake(
            "dead is a latent that is on at *no* position; you count all zeros",
            lambda z_NF: (solutions.sparsity(z_NF)[0], (z_NF == 0).float().mean().item()),
        ),
        Mistake(
            "that is the number of dead latents: give their share",
            lambda z_NF: (solutions.sparsity(z_NF)[0], float((z_NF == 0).all(0).sum())),
        ),
        Mistake(
            "the second is the share of latents that are alive: the dead are the others",
            lambda z_NF: (solutions.sparsity(z_NF)[0], 1 - solutions.sparsity(z_NF)[1]),
        ),
        Mistake(
            "the first is the share of latents that are on: L0 is their number",
            lambda z_NF: (solutions.sparsity(z_NF)[0] / z_NF.shape[1], solutions.sparsity(z_NF)[1]),
        ),
        Mistake(
            "wrong axis: you count at how many positions a latent is on; count latents, `sum(-1)`",
            lambda z_NF: ((z_NF > 0).sum(0).float().mean().item(), solutions.sparsity(z_NF)[1]),
        ),
    ],
)
