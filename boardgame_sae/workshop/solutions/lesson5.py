"""Lesson 5: score it."""

import torch
from torch import Tensor


def precision_recall(on_N: Tensor, true_N: Tensor) -> tuple[float, float]:
    """(precision, recall) of a latent as a classifier: on_N says where it is on, true_N where the property is true.

    Precision: of the positions where it is on, the share where the property is true. Recall: of the positions where the
    property is true, the share where it is on. 0 where the share is of nothing.
    """
    both = (on_N & true_N).sum().item()
    return both / max(1, on_N.sum().item()), both / max(1, true_N.sum().item())


def f1_by_threshold(z_N: Tensor, true_N: Tensor, largest: float, shares: list[float]) -> list[float]:
    """F1 at each threshold: a latent counts as on where it is above share * largest (strictly).

    largest: its largest activation on *train* games, which these need not be. F1 is 2 both / (on + true); 0
    where the latent is never on and the property never true.
    """
    found = []
    for share in shares:
        on_N = z_N > share * largest
        found.append((2 * (on_N & true_N).sum() / max(1, on_N.sum() + true_N.sum())).item())
    return found


def always_on_f1(true_N: Tensor) -> float:
    """F1 of a latent that is on at every position: what a score should be compared with."""
    share = true_N.float().mean().item()
    return 2 * share / (1 + share)


def held_out_coverage(train_f1_FP: Tensor, test_f1_FP: Tensor) -> float:
    """Coverage: for each property the latent of best F1 on train games; the mean over properties of its F1 on test."""
    best_P = train_f1_FP.argmax(0)
    return test_f1_FP[best_P, torch.arange(len(best_P))].mean().item()


def classifiers(on_NF: Tensor, true_NP: Tensor, min_precision: float, min_count: int) -> Tensor:
    """bool (F, P): whether a latent is a classifier of a property, on train games.

    It is one where its precision is at least min_precision, and both are true at least min_count times.
    """
    both_FP = on_NF.double().T @ true_NP.double()
    n_on_F = on_NF.double().sum(0)
    return (both_FP >= min_precision * n_on_F[:, None]) & (both_FP >= min_count)


def rebuild(on_NF: Tensor, classifiers_FP: Tensor) -> Tensor:
    """bool (N, P): the boards rebuilt: a property is predicted where any latent that is on is a classifier of it."""
    return (on_NF.float() @ classifiers_FP.float()) > 0
