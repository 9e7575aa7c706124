"""What splicing an SAE into a GPT costs on test games, and the share of it that fine-tuning wins back."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.intervals import bootstrap_interval
from boardgame_sae.model.float64 import exact
from boardgame_sae.saes.finetuning.ways.way import Splice
from boardgame_sae.testbeds.replaced import Batch, Losses, clean_batch, losses_with
from boardgame_sae.testbeds.testbed import GAMES_AT_ONCE, Testbed


class Spliced(NamedTuple):
    """A GPT on test games with an SAE spliced in."""

    losses: Losses
    l0: float
    """Mean number of latents on, at the tokens that are read."""
    explained_variance: float
    """Of the activations there, by what the GPT goes on with."""


class Gap(NamedTuple):
    """The losses of the GPT alone, and with the SAE before and after fine-tuning, on the same games."""

    clean: Losses
    before: Spliced
    after: Spliced

    @property
    def sums_BX(self) -> np.ndarray:
        """(games, 3) summed cross-entropy of each game: clean, before, after."""
        return np.stack([self.clean.loss_B, self.before.losses.loss_B, self.after.losses.loss_B], 1)

    def to_mapping(self) -> dict[str, Any]:
        """Everything as plain data; no share and no interval where there is no gap to close."""
        closed = float(gap_closed(self.sums_BX.sum(0)[None])[0])
        interval = bootstrap_interval(gap_closed, self.sums_BX)
        sides = {"before": self.before, "after": self.after}
        return {
            "gap_closed": closed if np.isfinite(closed) else None,
            "gap_closed_interval": list(interval) if np.isfinite(interval).all() else None,
            "cross_entropy": {
                "clean": self.clean.cross_entropy, **{name: one.losses.cross_entropy for name, one in sides.items()}
            },
            "divergence": {name: one.losses.divergence for name, one in sides.items()},
            "l0": {name: one.l0 for name, one in sides.items()},
            "explained_variance": {name: one.explained_variance for name, one in sides.items()},
            "n_games": len(self.clean.loss_B),
            "n_tokens": int(self.clean.read_B.sum()),
        }  # fmt: skip


def gap_closed(sums_RX: np.ndarray) -> np.ndarray:
    """(R,) share of the gap that is closed, of sums (R, 3) of cross-entropy clean, before, after; nan without a gap.

    Below 0 where fine-tuning did harm, above 1 where the GPT does better than alone.
    """
    clean_R, before_R, after_R = np.asarray(sums_RX, np.float64).T
    gap_R = before_R - clean_R
    return np.divide(before_R - after_R, gap_R, out=np.full_like(gap_R, np.nan), where=gap_R > 0)


def gap_text(result: Mapping[str, Any]) -> str:
    """What `Gap.to_mapping` gives, in two lines."""
    loss, l0, variance = (result[name] for name in ("cross_entropy", "l0", "explained_variance"))
    closed, interval = result["gap_closed"], result["gap_closed_interval"]
    share = "there was no gap to close" if closed is None else f"{closed:.1%} of the gap is closed"
    between = f" [{interval[0]:.1%}, {interval[1]:.1%}]" if interval else ""
    return (
        f"cross-entropy on test games: {loss['clean']:.4f} of the GPT alone, with the SAE {loss['before']:.4f} before "
        f"and {loss['after']:.4f} after: {share}{between}\n"
        f"L0 {l0['before']:.2f} before, {l0['after']:.2f} after; explained variance {variance['before']:.4f} before, "
        f"{variance['after']:.4f} after"
    )


def batches_of_test_games(testbed: Testbed, n_tokens: int) -> Iterator[Batch]:
    """The minimum of test games that reach `n_tokens` tokens, where there are as many, some at a time."""
    games_B, n_ctx = testbed.corpus.games("test"), testbed.model.gpt.cfg.n_ctx
    ends_B = np.cumsum(testbed.corpus.n_read(games_B, n_ctx))
    games_B = games_B[: int(np.searchsorted(ends_B, n_tokens)) + 1]
    for start in range(0, len(games_B), GAMES_AT_ONCE):
        rows = testbed.corpus.rows(games_B[start : start + GAMES_AT_ONCE], n_ctx)
        yield clean_batch(testbed.model.gpt, testbed.hook_name, rows)


@torch.no_grad()
def measured(splice: Splice, testbed: Testbed, n_tokens: int) -> Spliced:
    """A splice on a testbed's test games."""
    losses, n, on, error, square, sum_D = list[Losses](), 0, 0, 0.0, 0.0, torch.zeros((), dtype=torch.float64)
    for batch in batches_of_test_games(testbed, n_tokens):
        x_ND = batch.acts_BLD[batch.read_BL]
        made = splice.reconstruct(x_ND / splice.scale)
        x_hat_ND = made.x_hat_ND * splice.scale
        losses.append(losses_with(splice.gpt, splice.hook_name, batch, batch.with_rows(x_hat_ND)))
        n, on = n + len(x_ND), on + int((made.z > 0).sum())
        error += float(exact(x_ND - x_hat_ND).pow(2).sum())
        square += float(exact(x_ND).pow(2).sum())
        sum_D = sum_D + exact(x_ND).sum(0).cpu()
    spread = square - float(sum_D.pow(2).sum()) / n
    return Spliced(Losses.concatenate(losses), on / n, 1 - error / spread if spread > 0 else 0.0)


@torch.no_grad()
def clean_losses(testbed: Testbed, n_tokens: int) -> Losses:
    """The GPT alone on the same games."""
    return Losses.concatenate(
        [
            losses_with(testbed.model.gpt, testbed.hook_name, batch, batch.acts_BLD)
            for batch in batches_of_test_games(testbed, n_tokens)
        ]
    )
