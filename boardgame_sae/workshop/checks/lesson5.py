"""Checkers of lesson 5."""

from typing import Any

import torch
from torch import Tensor

from boardgame_sae.workshop.checking import Checker, Mistake
from boardgame_sae.workshop.solutions import lesson5 as solutions

SHARES = [0.0, 0.25, 0.5, 0.75]


def _uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _pairs() -> list[tuple[Tensor, Tensor]]:
    true_N = _uniform(0, 200) < 0.2
    never = torch.zeros(200, dtype=torch.bool)
    return [((_uniform(1, 200) < 0.3) | (true_N & (_uniform(2, 200) < 0.5)), true_N), (never, true_N), (true_N, never)]


def _activations() -> list[tuple[Any, ...]]:
    true_N = _uniform(3, 200) < 0.3
    z_N = torch.relu(_uniform(4, 200) - 0.5 + 0.4 * true_N).mul(20).round() / 5  # many stand right at a threshold
    nothing_N = torch.zeros(200)
    return [(z_N, true_N, 4.0, SHARES), (z_N, true_N, 3.2, SHARES), (nothing_N, nothing_N > 0, 4.0, SHARES)]


def _properties() -> list[tuple[Tensor]]:
    return [(_uniform(5, 300) < share,) for share in (0.1, 0.6)]


def _scores() -> list[tuple[Tensor, Tensor]]:
    return [(_uniform(6, 7, 5), _uniform(7, 7, 5)), (_uniform(8, 5, 5), _uniform(9, 5, 5))]


def _latents() -> list[tuple[Any, ...]]:
    true_NP = _uniform(10, 120, 6) < torch.linspace(0.1, 0.9, 6)
    on_NF = _uniform(11, 120, 9) < 0.2
    on_NF[:, :3] = true_NP[:, 1:4] & (_uniform(12, 120, 3) < 0.6)
    on_NF[:, 3] = True
    on_NF[:, 4] = true_NP[:, 5] & (torch.arange(120) < 5)
    on_NF[:, 5] = False
    on_NF[:, 6] = False
    on_NF[torch.nonzero(true_NP[:, 4])[:9, 0], 6] = on_NF[torch.nonzero(~true_NP[:, 4])[:1, 0], 6] = True
    n_both = int((on_NF[:, 0] & true_NP[:, 1]).sum())
    just_NF = on_NF.clone()
    just_NF[torch.nonzero(~true_NP[:, 1])[: n_both // 3, 0], 0] = True  # with three right of four, a precision of 0.75
    just_NF[torch.nonzero(on_NF[:, 0])[: n_both % 3, 0], 0] = False
    just_precise, just_often = (just_NF, true_NP, 0.75, 3), (just_NF, true_NP, 0.7, 3 * (n_both // 3))
    return [(on_NF, true_NP, 0.9, 10), (on_NF, true_NP, 0.8, 3), just_precise, just_often]


def _to_rebuild() -> list[tuple[Tensor, Tensor]]:
    on_NF, true_NP, precision, count = _latents()[0]
    return [(on_NF, solutions.classifiers(on_NF, true_NP, precision, count))]


def _strict(on_NF: Tensor, true_NP: Tensor, min_precision: float, min_count: int) -> Tensor:
    """Those of a precision above min_precision."""
    both_FP, n_on_F = on_NF.double().T @ true_NP.double(), on_NF.double().sum(0)
    return (both_FP > min_precision * n_on_F[:, None]) & (both_FP >= min_count)


precision_recall = Checker(
    solutions.precision_recall,
    _pairs,
    [
        Mistake(
            "precision and recall are swapped: precision divides by where the latent is on, recall by where it is true",
            lambda on_N, true_N: solutions.precision_recall(on_N, true_N)[::-1],
        ),
        Mistake(
            "you divide by all positions: precision divides by those where it is on, recall by those where it is true",
            lambda on_N, true_N: ((on_N & true_N).float().mean().item(),) * 2,
        ),
        Mistake(
            "the first is accuracy, which also counts where both say no: a latent that is never on does well by it",
            lambda on_N, true_N: (
                (on_N == true_N).float().mean().item(), solutions.precision_recall(on_N, true_N)[1]
            ),
        ),
        Mistake(
            "0 / 0 is not a number: a latent that is never on has precision 0 here; divide by max(1, ...)",
            lambda on_N, true_N: tuple(
                (((on_N & true_N).sum() / part.sum()).item()) for part in (on_N, true_N)
            ),
        ),
        Mistake(
            "0 / 0 is not a number: the recall of a property that is never true is 0 here; divide by max(1, ...)",
            lambda on_N, true_N: (
                solutions.precision_recall(on_N, true_N)[0], ((on_N & true_N).sum() / true_N.sum()).item()
            ),
        ),
        Mistake(
            "that is accuracy, which also counts where both say no: a latent that is never on does well by it",
            lambda on_N, true_N: ((on_N == true_N).float().mean().item(),) * 2,
        ),
    ],
)  # fmt: skip

f1_by_threshold = Checker(
    solutions.f1_by_threshold,
    _activations,
    [
        Mistake(
            "`>=` where `>` is meant: at share 0 a latent that is off would count as on",
            lambda z_N, true_N, largest, shares: [
                2
                * ((z_N >= share * largest) & true_N).sum().item()
                / max(1, ((z_N >= share * largest).sum() + true_N.sum()).item())
                for share in shares
            ],
        ),
        Mistake(
            "thresholds are shares of `largest`: multiply",
            lambda z_N, true_N, largest, shares: solutions.f1_by_threshold(z_N, true_N, 1.0, shares),
        ),
        Mistake(
            "you take the largest activation of these positions: use `largest`, which comes from train games, or the "
            "threshold would depend on the games it is judged on",
            lambda z_N, true_N, largest, shares: solutions.f1_by_threshold(z_N, true_N, z_N.max().item(), shares),
        ),
        Mistake(
            "the factor 2 is forgotten: F1 is 2 both / (on + true)",
            lambda *given: [value / 2 for value in solutions.f1_by_threshold(*given)],
        ),
        Mistake(
            "0 / 0 is not a number: F1 is 0 where a latent is never on and the property never true; divide by "
            "max(1, ...)",
            lambda z_N, true_N, largest, shares: [
                (2 * ((z_N > share * largest) & true_N).sum() / ((z_N > share * largest).sum() + true_N.sum())).item()
                for share in shares
            ],
        ),
    ],
)

always_on_f1 = Checker(
    solutions.always_on_f1,
    _properties,
    [
        Mistake(
            "that is its precision, the share of positions where the property is true; recall is 1, and F1 is their "
            "harmonic mean",
            lambda true_N: true_N.float().mean().item(),
        ),
        Mistake(
            "that is the plain mean of precision and recall; F1 is the harmonic mean, 2 P R / (P + R)",
            lambda true_N: (1 + true_N.float().mean().item()) / 2,
        ),
        Mistake(
            "that is the F1 of a latent that is never on",
            lambda true_N: 0.0,
        ),
        Mistake(
            "that is its recall: its precision is the share of positions where the property is true, and F1 joins both",
            lambda true_N: 1.0,
        ),
    ],
)

held_out_coverage = Checker(
    solutions.held_out_coverage,
    _scores,
    [
        Mistake(
            "you choose the latent on test: that rewards luck; choose with train_f1_FP, read off test_f1_FP",
            lambda train_f1_FP, test_f1_FP: test_f1_FP.max(0).values.mean().item(),
        ),
        Mistake(
            "that is coverage on train: choose the latent there, but report its F1 on test",
            lambda train_f1_FP, test_f1_FP: train_f1_FP.max(0).values.mean().item(),
        ),
        Mistake(
            "wrong axis: you look for the best property of each latent; look for the best latent of each property",
            lambda train_f1_FP, test_f1_FP: test_f1_FP.gather(1, train_f1_FP.argmax(1, keepdim=True)).mean().item(),
        ),
        Mistake(
            "one latent for all properties: each property has a best one of its own, `argmax(0)`",
            lambda train_f1_FP, test_f1_FP: test_f1_FP[train_f1_FP.mean(1).argmax()].mean().item(),
        ),
        Mistake(
            "wrong split: you choose on test and report train; choose with train_f1_FP, read off test_f1_FP",
            lambda train_f1_FP, test_f1_FP: solutions.held_out_coverage(test_f1_FP, train_f1_FP),
        ),
        Mistake(
            "one number for each property: coverage is their mean",
            lambda train_f1_FP, test_f1_FP: test_f1_FP.gather(0, train_f1_FP.argmax(0, keepdim=True))[0],
        ),
    ],
)

classifiers = Checker(
    solutions.classifiers,
    _latents,
    [
        Mistake(
            "that is recall: precision divides by the positions where the latent is on, not by those where it is true",
            lambda on_NF, true_NP, min_precision, min_count: (
                (both_FP := on_NF.double().T @ true_NP.double()) >= min_precision * true_NP.double().sum(0)
            ) & (both_FP >= min_count),
        ),
        Mistake(
            "min_count is forgotten: a latent that was on twice, and twice right, is precise by luck",
            lambda on_NF, true_NP, min_precision, min_count: solutions.classifiers(on_NF, true_NP, min_precision, 1),
        ),
        Mistake(
            "wrong shape: the axes are swapped; a row is a latent, a column a property",
            lambda *given: solutions.classifiers(*given).T,
        ),
        Mistake(
            "min_count counts where both are true, not where the latent is on",
            lambda on_NF, true_NP, min_precision, min_count: solutions.classifiers(on_NF, true_NP, min_precision, 1)
            & (on_NF.sum(0) >= min_count)[:, None],
        ),
        Mistake("a precision of just min_precision is enough: at least means `>=`", _strict),
        Mistake(
            "just min_count positions are enough: at least means `>=`",
            lambda on_NF, true_NP, min_precision, min_count: solutions.classifiers(
                on_NF, true_NP, min_precision, min_count + 1
            ),
        ),
    ],
)  # fmt: skip

rebuild = Checker(
    solutions.rebuild,
    _to_rebuild,
    [
        Mistake(
            "you ask that all classifiers of a property are on: any one is enough",
            lambda on_NF, classifiers_FP: ~((~on_NF).float() @ classifiers_FP.float() > 0) & classifiers_FP.any(0),
        ),
        Mistake(
            "these are counts of classifiers that are on: a property is predicted or not, so give bool, `> 0`",
            lambda on_NF, classifiers_FP: on_NF.float() @ classifiers_FP.float(),
        ),
        Mistake(
            "the wrong way round: you predict where no classifier is on",
            lambda on_NF, classifiers_FP: ~solutions.rebuild(on_NF, classifiers_FP),
        ),
        Mistake(
            "you ask for two classifiers that are on: any one is enough",
            lambda on_NF, classifiers_FP: (on_NF.float() @ classifiers_FP.float()) > 1,
        ),
    ],
)
