"""The tasks: probes that learned two concepts as one, and what is asked of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from boardgame_sae.files import RunError
from boardgame_sae.metrics.saebench.ablation.scr import LEAST_BIAS, Bias, SCRConfig, biased_probes
from boardgame_sae.metrics.saebench.data.linear import STRENGTHS, fit_chosen
from boardgame_sae.testbeds.testbed import Testbed


class Task(NamedTuple):
    """A probe of two concepts that coincide, and which of them is meant."""

    bias: Bias
    intended: int
    """0 or 1: its place in the pair."""

    @property
    def spurious(self) -> int:
        """The other place."""
        return 1 - self.intended

    def truths(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """bool (N,): the intended and the spurious concept at the split's balanced examples."""
        balanced = self.bias.pair.balanced
        return balanced[self.intended][split].true_N, balanced[self.spurious][split].true_N

    def rows(self, split: str) -> np.ndarray:
        """Where these examples are among the split's positions."""
        return self.bias.pair.balanced[0][split].row_N


def tasks(testbed: Testbed, cfg: SCRConfig) -> list[Task]:
    """Both directions of every pair, but for those where the bias costs hardly any accuracy on validation.

    Raises UnscorableError as `biased_probes` does, RunError when no direction is left.
    """
    every = [Task(bias, intended) for bias in testbed.once(biased_probes, cfg) for intended in range(2)]
    left = [task for task in every if task.bias.costs[task.intended] >= LEAST_BIAS]
    if not left:
        raise RunError(f"the bias costs none of the {len(every)} probes any accuracy; use a testbed with more games")
    return left


class Outcome(NamedTuple):
    """What a probe says of balanced examples."""

    intended: float
    """Accuracy on the intended concept."""
    spurious: float
    """Agreement with the spurious one: 0.5 where the probe does not know it."""
    worst: float
    """Accuracy on the intended concept in that combination of the two where it is lowest."""
    n_ablated: float = 0.0


def outcome(logits_N: np.ndarray, intended_N: np.ndarray, spurious_N: np.ndarray, n_ablated: float = 0.0) -> Outcome:
    """Judge a probe's logits by both truths, bool (N,). All four combinations of the truths must occur."""
    says_N = logits_N > 0
    right_N = says_N == intended_N
    groups = [right_N[(intended_N == a) & (spurious_N == b)].mean() for a in (False, True) for b in (False, True)]
    return Outcome(float(right_N.mean()), float((says_N == spurious_N).mean()), float(min(groups)), n_ablated)


def trained_again(task: Task, read: Callable[[str, np.ndarray], np.ndarray], n_ablated: float = 0.0) -> Outcome:
    """What a probe says that is trained where the concepts coincide, on changed activations.

    read: the activations (N, D) of some of a split's positions.
    """
    examples = task.bias.pair.biased
    (x_ND, true_N), (x_validation_ND, true_validation_N) = (
        (read(split, examples[split].row_N), examples[split].true_N) for split in ("train", "validation")
    )
    fitted = fit_chosen(x_ND, true_N, x_validation_ND, true_validation_N, STRENGTHS)
    return outcome(fitted.logits(read("test", task.rows("test"))), *task.truths("test"), n_ablated)
