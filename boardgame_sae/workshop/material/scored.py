"""An SAE's latents beside the truth, in memory: what lesson 5 scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counts import Counts, count_latents
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.testbed import Testbed

SHARES = tuple(share / 10 for share in range(10))


class Read(NamedTuple):
    """One split."""

    z_NF: Tensor
    """Latents at each position."""
    true_NP: Tensor
    """bool: which properties are true there."""

    @property
    def largest_F(self) -> Tensor:
        """The largest activation of each latent here."""
        return self.z_NF.max(0).values


@torch.no_grad()
def read(sae: SAE, testbed: Testbed, split: str) -> Read:
    """The latents of an SAE, and the truth, at the scored positions of a split."""
    return Read(sae.encode(testbed.activations(split)).float(), torch.from_numpy(testbed.labels(split)))


def shuffled(part: Read, n: int, seed: int = 0) -> Read:
    """n positions with the boards of others: latents keep their statistics and know nothing."""
    order = torch.randperm(len(part.z_NF), generator=torch.Generator().manual_seed(seed))
    return Read(part.z_NF[order[:n]], part.true_NP[order[-n:]])


def f1_at_best_threshold(train: Read, test: Read) -> tuple[Tensor, Tensor]:
    """(F, P) of train and of test: F1 of each latent for each property, at the threshold that is best on train."""
    train_TFP, test_TFP = (_f1(_counts(part, train.largest_F)) for part in (train, test))
    best_1FP = train_TFP.argmax(0, keepdim=True)
    return train_TFP.gather(0, best_1FP)[0], test_TFP.gather(0, best_1FP)[0]


def best_property(part: Read, latent: int) -> int:
    """The property that a latent tells best, by the correlation of its activation with the truth."""
    z_N, true_NP = part.z_NF[:, latent] - part.z_NF[:, latent].mean(), part.true_NP.float()
    spread_P = true_NP.std(0).clamp(min=1e-6)
    return int(((z_N @ (true_NP - true_NP.mean(0))) / spread_P).argmax())


def _counts(part: Read, largest_F: Tensor) -> Counts:
    return count_latents(part.z_NF, part.true_NP, max_activation_F=largest_F, thresholds=SHARES)


def _f1(counts: Counts) -> Tensor:
    on_TFP, n_on_TF = counts.on_TFP.numpy(), counts.n_on_TF.numpy()
    return torch.from_numpy(f1(on_TFP, n_on_TF[..., None], counts.positives_P.numpy()))
