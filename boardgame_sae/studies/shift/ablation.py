"""Which of an SAE's latents are about the spurious concept of a task, and what the probe says without them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.counting.f1 import f1
from boardgame_sae.metrics.counts import count_latents
from boardgame_sae.metrics.saebench.ablation.effects import alignment, logits_without
from boardgame_sae.metrics.saebench.ablation.scr import attributed
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.data.probes import rows_of
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.studies.shift.tasks import Outcome, Task, outcome, trained_again
from boardgame_sae.transcripts.corpus import SPLITS


def spurious_margins(latents_NF: csr_array, intended_N: np.ndarray, spurious_N: np.ndarray) -> np.ndarray:
    """(F,): the best F1 of each latent for the spurious concept or its opposite, less that for the intended one.

    latents_NF: at positions where each of the four combinations of the concepts is as frequent, so that the F1 of a
    latent that knows nothing is the same for both.
    """
    labels_NP = np.stack([spurious_N, ~spurious_N, intended_N, ~intended_N], axis=1)
    counts = count_latents(latents_NF, labels_NP)
    on_TFP, n_on_TF1 = counts.on_TFP.numpy(), counts.n_on_TF.numpy()[..., None]
    best_FP = f1(on_TFP, n_on_TF1, counts.positives_P.numpy()).max(0)
    return best_FP[:, :2].max(1) - best_FP[:, 2:].max(1)


class Seen(NamedTuple):
    """A split's balanced examples of a task, as the biased probe and an SAE see them."""

    latents_NF: csr_array
    biased_N: np.ndarray
    """The probe's logits."""
    truths: tuple[np.ndarray, np.ndarray]
    """bool (N,): of the intended and of the spurious concept."""

    @classmethod
    def of(cls, subject: Subject, task: Task, split: str) -> "Seen":
        """Read the examples."""
        row_N = task.rows(split)
        logits_N = task.bias.biased.logits(rows_of(subject.testbed, split, row_N))
        return cls(latent_rows(subject, split, row_N), logits_N, task.truths(split))


class Ablation(NamedTuple):
    """A task, and what an SAE's latents are to it."""

    subject: Subject
    task: Task
    seen: Mapping[str, Seen]
    """By split."""
    alignment_F: np.ndarray
    """What one unit of each latent adds to the biased probe's logit."""
    mean_F: np.ndarray
    """The mean of each where the concepts coincide, on train games."""
    margin_F: np.ndarray
    """See `spurious_margins`; on train games."""
    attributed: np.ndarray
    """Latents in the order of attribution."""

    @classmethod
    def of(cls, subject: Subject, task: Task) -> "Ablation":
        """Judge the latents on train games."""
        seen = {split: Seen.of(subject, task, split) for split in SPLITS}
        coinciding_NF = latent_rows(subject, "train", task.bias.pair.biased["train"].row_N)
        return cls(
            subject,
            task,
            seen,
            alignment(subject, task.bias.biased),
            np.asarray(coinciding_NF.mean(0), np.float64).ravel(),
            spurious_margins(seen["train"].latents_NF, *seen["train"].truths),
            attributed(subject, task.bias, task.spurious),
        )

    def judged(self, margin: float) -> np.ndarray:
        """The latents that are more about the spurious concept than about the intended one, by at least a margin."""
        return np.flatnonzero(self.margin_F >= margin)

    def without(self, latents: np.ndarray, split: str, *, to_zero: bool = False) -> Outcome:
        """What the biased probe says after some latents are set to their mean, or to zero."""
        seen = self.seen[split]
        logits_N = logits_without(seen.biased_N, seen.latents_NF, self.alignment_F, latents)
        kept = 0.0 if to_zero else float(self.mean_F[latents] @ self.alignment_F[latents])
        return outcome(logits_N + kept, *seen.truths, len(latents))

    def trained_again(self, latents: np.ndarray) -> Outcome:
        """What a probe says that is trained on the same examples as the biased one, without what some latents write."""
        W_dec = self.subject.source.W_dec
        assert W_dec is not None
        rows_KD = W_dec[latents].detach().cpu().numpy()

        def rest(split: str, row_N: np.ndarray) -> np.ndarray:
            acts_ND = rows_of(self.subject.testbed, split, row_N)
            return acts_ND - latent_rows(self.subject, split, row_N)[:, latents] @ rows_KD

        return trained_again(self.task, rest, len(latents))

    def random(self, n: int, n_draws: int, seed: int) -> Outcome:
        """The mean of ablating n random latents, of those that are ever on."""
        on = np.unique(self.seen["train"].latents_NF.indices)
        rng = np.random.default_rng(seed_for(seed, *(concept.name for concept in self.task.bias.pair.concepts)))
        draws = [self.without(rng.choice(on, min(n, len(on)), replace=False), "test") for _ in range(n_draws)]
        return Outcome(*np.mean(draws, axis=0).tolist())
