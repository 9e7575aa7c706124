"""Answers that students give: wrong ones are told what is wrong, right ones pass whatever way they are written."""

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from lessons import all_checkers

from boardgame_sae.workshop.checks import lesson1, lesson2, lesson3, lesson4, lesson5, lesson6
from boardgame_sae.workshop.solutions import lesson1 as solved1
from boardgame_sae.workshop.solutions import lesson2 as solved2
from boardgame_sae.workshop.solutions import lesson3 as solved3
from boardgame_sae.workshop.solutions import lesson4 as solved4
from boardgame_sae.workshop.solutions import lesson5 as solved5
from boardgame_sae.workshop.solutions import lesson6 as solved6


def in_place(function, place=0):
    """An answer that works on what it was given."""

    def answer(*given):
        given[place].copy_(given[place] * 1.5) if given[place].is_floating_point() else given[place].logical_not_()
        return function(*given)

    return answer


def keep_by_threshold(z_NF, k):
    return z_NF * (z_NF >= z_NF.sort(-1, descending=True).values[:, k - 1 : k])


def keep_in_a_loop(z_NF, k):
    rows = []
    for z_F in z_NF:
        kept_F = torch.zeros_like(z_F)
        kept_F[z_F.topk(k).indices] = 1.0
        rows.append(z_F * kept_F)
    return torch.stack(rows)


def keep_of_the_batch(z_NF, k):
    top = z_NF.flatten().topk(k * len(z_NF))
    return torch.zeros_like(z_NF).flatten().scatter(0, top.indices, top.values).view_as(z_NF)


def last_of_equals(errors_KB, scales):
    best, lowest = None, float("inf")
    for errors_B, scale in zip(errors_KB, scales, strict=True):
        if errors_B.float().mean() <= lowest:
            best, lowest = scale, errors_B.float().mean()
    return best


def always_one_fewer(logits_LV, legal_RV):
    return logits_LV[:-1], legal_RV[1:-1]


def in_a_loop(logits_LV, legal_RV):
    rows = [i for i in range(len(logits_LV)) if legal_RV[i + 1].any()]
    return torch.stack([logits_LV[i] for i in rows]), torch.stack([legal_RV[i + 1] for i in rows])


def ranks_by_sorting(logits_BV, legal_BV):
    counts = []
    for logits_V, legal_V in zip(logits_BV, legal_BV, strict=True):
        played = set(logits_V.topk(int(legal_V.sum())).indices.tolist())
        ought = set(legal_V.nonzero().flatten().tolist())
        counts.append(len(played ^ ought))
    return torch.tensor(counts)


def f1(on_N, true_N):
    return 2 * int((on_N & true_N).sum()) / max(1, int(on_N.sum()) + int(true_N.sum()))


def transposed(boards_NS):
    return boards_NS.view(-1, 6, 6).transpose(1, 2).reshape(-1, 36)


WRONG = [
    (lesson1.legal_moves_by_ply, lambda game, text: game.legal_moves(game.replay(text)[-1]), "right are"),
    (lesson1.legal_moves_by_ply, lambda game, text: sum(solved1.legal_moves_by_ply(game, text)), "list"),
    (
        lesson1.legal_moves_by_ply,
        lambda game, text: [1.5 * n for n in solved1.legal_moves_by_ply(game, text)],
        "entry 0",
    ),
    (lesson1.black_to_move, lambda game, text: [i % 2 == 1 for i in range(len(game.replay(text)) - 1)], "parity"),
    (lesson1.black_to_move, lambda game, text: [float(b) for b in solved1.black_to_move(game, text)], "True or False"),
    (lesson1.black_to_move, lambda game, text: solved1.black_to_move(game, text)[1:], "the first is missing"),
    (lesson1.aligned, always_one_fewer, "does not read every game"),
    (
        lesson1.aligned,
        lambda logits, legal: (solved1.aligned(logits, legal)[1], solved1.aligned(logits, legal)[0]),
        "swapped",
    ),
    (
        lesson1.aligned,
        lambda logits, legal: (solved1.aligned(logits, legal)[0], solved1.aligned(logits, legal)[1].float()),
        "right is bool",
    ),
    (lesson1.legal_probability, lambda z, legal: (z.softmax(-1) * ~legal).sum(-1), "illegal"),
    (lesson1.legal_probability, lambda z, legal: (z.sigmoid() * legal).sum(-1), "sigmoid"),
    (lesson1.legal_probability, lambda z, legal: (z.softmax(-1) * legal).sum(0), "axis"),
    (lesson1.legal_probability, in_place(solved1.legal_probability), "in place"),
    (
        lesson1.top_move_legal_rate,
        lambda z, legal: legal[torch.arange(len(z)), z.argmin(-1)].float().mean().item(),
        "least probable",
    ),
    (lesson1.top_move_legal_rate, lambda z, legal: legal[torch.arange(len(z)), z.argmax(-1)], "one number"),
    (lesson1.loss_floor, lambda n: -n.double().log().mean().item(), "sign"),
    (lesson1.loss_floor, lambda n: n.double().log().sum().item(), "mean"),
    (lesson1.loss_floor, lambda n: n.double().log(), "one number"),
    (lesson2.colour_classes, lambda game, text: transposed(solved2.colour_classes(game, text)), "transposed"),
    (lesson2.colour_classes, lambda game, text: solved2.colour_classes(game, text).float(), "right is int64"),
    (lesson2.colour_classes, lambda game, text: solved2.colour_classes(game, text)[:-1], "off by one"),
    (lesson2.colour_classes, lambda game, text: solved2.colour_classes(game, text).view(-1, 6, 6), "shape"),
    (lesson2.fit_probe, lambda X, y, ridge: solved2.fit_probe(X - X.mean(0), y, ridge), "mean"),
    (lesson2.fit_probe, lambda X, y, ridge: solved2.fit_probe(X, y, ridge).transpose(1, 2), "axes are swapped"),
    (lesson2.probe_accuracy, lambda W, X, y: solved2.probe_accuracy(-W, X, y), "largest"),
    (lesson2.probe_accuracy, lambda W, X, y: solved2.probe_accuracy(W, X.flip(0), y), "right is"),
    (
        lesson2.majority_accuracy,
        lambda train, test: (train.mode(1).values[: len(test), None] == test).float().mean().item(),
        "axis",
    ),
    (lesson2.to_mover, lambda y, black: torch.where(black[:, None], y, 3 - y), "empty"),
    (lesson2.to_mover, lambda y, black: solved2.to_mover(y, black).double(), "right is int64"),
    (lesson2.to_mover, lambda y, black: solved2.to_mover(y, black.roll(1)), "off by one ply"),
    (lesson2.to_mover, lambda y, black: solved2.to_mover(y.T, black).T, "wrong axis"),
    (
        lesson2.accuracy_by_ply,
        lambda right, ply: torch.stack([right[ply == i].float().sum() for i in range(1, 6)]),
        "add up",
    ),
    (lesson2.accuracy_by_ply, lambda right, ply: right.float().mean().expand(5), "all plies together"),
    (lesson3.flip_direction, lambda W, s, old, new: F.normalize(W[:, s, new] - W[:, s].mean(-1), dim=0), "difference"),
    (
        lesson3.flip_direction,
        lambda W, s, old, new: F.normalize(W[:, new, s % 3] - W[:, old, s % 3], dim=0),
        "values are wrong",
    ),
    (lesson3.push, lambda x, d, scale: solved3.push(x, F.normalize(d, dim=-1), scale), "as it is"),
    (lesson3.push, lambda x, d, scale: solved3.push(x, -d, scale), "sign"),
    (lesson3.push, lambda x, d, scale: solved3.push(torch.cat([x[:, 1:], x[:, :1]], 1), d, scale), "values are wrong"),
    (lesson3.push, lambda x, d, scale: solved3.push(x, d, scale)[:, -1], "axis is missing"),
    (
        lesson3.legal_as_edited,
        lambda game, text, square, content: solved3.legal_as_edited(game, text, square, "mine"),
        "content",
    ),
    (
        lesson3.legal_as_edited,
        lambda game, text, square, content: len(solved3.legal_as_edited(game, text, square, content)),
        "list",
    ),
    (lesson3.errors, lambda z, legal: solved3.errors(z, legal).sum(), "axis is missing"),
    (
        lesson3.errors,
        lambda z, legal: (z.argsort(-1, descending=True) < legal.sum(-1, keepdim=True)).ne(legal).sum(-1),
        "twice",
    ),
    (lesson3.errors, lambda z, legal: solved3.errors(z, legal).float(), "right is int64"),
    (lesson3.random_like, lambda d, seed: solved3.random_like(d[:1], seed).expand_as(d), "same"),
    (
        lesson3.random_like,
        lambda d, seed: solved3.random_like(d, seed) * d.norm() / solved3.random_like(d, seed).norm() * 0.5,
        "right but",
    ),
    (lesson3.best_scale, last_of_equals, "smaller"),
    (lesson3.best_scale, lambda errors, scales: scales[int(errors.median(1).values.argmin())], "median"),
    (lesson3.best_scale, lambda errors, scales: scales[int(errors[:, 0].argmin())], "first game"),
    (lesson4.encode, lambda x, W, b, b_dec: solved4.encode(x, W, b, b_dec).detach(), "gradient"),
    (lesson4.encode, lambda x, W, b, b_dec: ((x - b_dec) @ W).relu() + b, "inside"),
    (lesson4.encode, lambda x, W, b, b_dec: ((x - b_dec) @ W + b).abs(), "values are wrong"),
    (lesson4.encode, lambda x, W, b, b_dec: solved4.encode(x, W, b, b_dec) > 0, "right is float32"),
    (lesson4.keep_largest, keep_of_the_batch, "batch"),
    (lesson4.keep_largest, lambda z, k: solved4.keep_largest(z, k).detach(), "gradient"),
    (lesson4.keep_largest, lambda z, k: torch.tensor(solved4.keep_largest(z, k).tolist()), "gradient"),
    (lesson4.keep_largest, lambda z, k: z - solved4.keep_largest(z, k), "the others"),
    (lesson4.decode, lambda z, W, b: z @ (W + b), "once"),
    (lesson4.decode, lambda z, W, b: (z @ W + b).T, "axes are swapped"),
    (lesson4.squared_error, lambda x, y: (x - y).pow(2).sum(-1).mean().detach(), "gradient"),
    (lesson4.squared_error, lambda x, y: (x - y).pow(2).sum(-1).mean().item(), "tensor"),
    (lesson4.squared_error, lambda x, y: (x - y).abs().sum(-1).mean(), "absolute"),
    (lesson4.squared_error, lambda x, y: (x - y).pow(2).sum(0).mean(), "axis"),
    (lesson4.unit_rows, lambda W: W / W.norm(dim=-1, keepdim=True).clamp(min=1), "shorter"),
    (lesson4.unit_rows, lambda W: W / W.abs().sum(-1, keepdim=True), "absolute"),
    (lesson4.unit_rows, in_place(solved4.unit_rows), "in place"),
    (lesson4.explained_variance, lambda x, y: (1 - (x - y).pow(2).sum(-1).mean() / x.var(0).sum()).item(), "N - 1"),
    (lesson4.explained_variance, lambda x, y: (y.var(0).sum() / x.var(0).sum()).item(), "variance of"),
    (lesson4.sparsity, lambda z: (solved4.sparsity(z)[0], 1 - solved4.sparsity(z)[1]), "alive"),
    (lesson4.sparsity, lambda z: (solved4.sparsity(z)[0] / z.shape[1], solved4.sparsity(z)[1]), "share"),
    (lesson4.sparsity, lambda z: ((z > 0).sum(0).float().mean().item(), solved4.sparsity(z)[1]), "axis"),
    (
        lesson5.precision_recall,
        lambda on, true: ((on & true).sum().item() / max(1, on.sum().item()), ((on & true).sum() / true.sum()).item()),
        "0 / 0",
    ),
    (lesson5.precision_recall, lambda on, true: ((on == true).float().mean().item(),) * 2, "accuracy"),
    (lesson5.f1_by_threshold, lambda z, true, top, shares: [f1(z > s * top, true) for s in shares][::-1], "entry 0"),
    (lesson5.f1_by_threshold, lambda z, true, top, shares: max(solved5.f1_by_threshold(z, true, top, shares)), "list"),
    (
        lesson5.f1_by_threshold,
        lambda z, true, top, shares: [f1(z > s, true) if s else f1(z > 0, true) for s in shares],
        "multiply",
    ),
    (lesson5.always_on_f1, lambda true: 1.0, "precision"),
    (lesson5.always_on_f1, lambda true: 1 - solved5.always_on_f1(true), "right is"),
    (lesson5.held_out_coverage, lambda train, test: solved5.held_out_coverage(test, train), "wrong split"),
    (lesson5.held_out_coverage, lambda train, test: test.mean().item(), "right is"),
    (lesson5.held_out_coverage, lambda train, test: test[train.argmax(0), torch.arange(train.shape[1])], "one number"),
    (
        lesson5.classifiers,
        lambda on, true, p, n: (
            (both := on.double().T @ true.double()).gt(p * on.double().sum(0)[:, None]) & (both >= n)
        ),
        "at least",
    ),
    (
        lesson5.classifiers,
        lambda on, true, p, n: (both := on.double().T @ true.double()).ge(p * on.double().sum(0)[:, None]) & (both > n),
        "at least",
    ),
    (lesson5.classifiers, lambda on, true, p, n: solved5.classifiers(on, true, p, n).float(), "right is bool"),
    (lesson5.rebuild, lambda on, c: (on.float() @ c.float()) > 1, "one is enough"),
    (lesson5.rebuild, lambda on, c: solved5.rebuild(on, c).float(), "right is bool"),
    (lesson5.rebuild, lambda on, c: on.all(0) @ c, "raises"),
    (
        lesson6.interval,
        lambda x, draws: (x.mean() - 1.96 * x.std() / len(x) ** 0.5, x.mean() + 1.96 * x.std() / len(x) ** 0.5),
        "normal",
    ),
    (lesson6.interval, lambda x, draws: solved6.interval(x, draws)[::-1], "swapped"),
    (lesson6.interval, lambda x, draws: tuple(np.percentile(np.median(x[draws], 1), [2.5, 97.5])), "median"),
    (lesson6.paired_interval, lambda a, b, draws: solved6.interval(np.abs(a - b), draws), "absolute"),
    (lesson6.paired_interval, lambda a, b, draws: (a - b).mean(), "right is a tuple"),
    (
        lesson6.paired_interval,
        lambda a, b, draws: (
            solved6.interval(a, draws)[0] - solved6.interval(b, draws)[1],
            solved6.interval(a, draws)[1] - solved6.interval(b, draws)[0],
        ),
        "ends",
    ),
    (
        lesson6.pareto,
        lambda l0, v: ~((l0[None] <= l0[:, None]) & (v[None] >= v[:, None]) & ~np.eye(len(l0), dtype=bool)).any(1),
        "equal",
    ),
    (lesson6.pareto, lambda l0, v: solved6.pareto(l0, v).astype(float), "right is bool"),
    (lesson6.pareto, lambda l0, v: solved6.pareto(l0, -v), "lower score"),
    (lesson6.at_l0, lambda l0, v, t: float(np.interp(t, l0[(o := l0.argsort())], v[o], right=np.nan)), "beyond"),
    (lesson6.at_l0, lambda l0, v, t: float(np.interp(t, l0[(o := l0.argsort())], v[o], left=0, right=0)), "nan"),
    (lesson6.share_of_the_way, lambda v, lo, hi: min(1.0, (v - lo) / (hi - lo)), "above"),
    (lesson6.share_of_the_way, lambda v, lo, hi: (v - lo) / (lo - hi), "sign"),
    (lesson6.share_of_the_way, lambda v, lo, hi: 100 * (v - lo) / (hi - lo), "percentage"),
    (lesson6.rank_correlation, lambda a, b: -solved6.rank_correlation(a, b), "sign"),
    (lesson6.rank_correlation, lambda a, b: float(scipy.stats.kendalltau(a, b).statistic), "right is"),
]

RIGHT = [
    (lesson1.legal_moves_by_ply, lambda game, text: tuple(len(game.legal_moves(p)) for p in game.replay(text))),
    (lesson1.legal_moves_by_ply, lambda game, text: np.array(solved1.legal_moves_by_ply(game, text))),
    (lesson1.legal_moves_by_ply, lambda game, text: torch.tensor(solved1.legal_moves_by_ply(game, text))),
    (lesson1.black_to_move, lambda game, text: np.array(solved1.black_to_move(game, text))),
    (lesson1.black_to_move, lambda game, text: list(np.array(solved1.black_to_move(game, text)))),
    (lesson1.black_to_move, lambda game, text: list(torch.tensor(solved1.black_to_move(game, text)))),
    (lesson1.black_to_move, lambda game, text: [game.mover(p) for p in game.replay(text)[:-1]]),
    (lesson1.aligned, in_a_loop),
    (lesson1.aligned, lambda logits, legal: list(solved1.aligned(logits, legal))),
    (lesson1.legal_probability, lambda z, legal: z.softmax(-1).masked_fill(~legal, 0).sum(-1)),
    (lesson1.legal_probability, lambda z, legal: (z.exp() * legal).sum(-1) / z.exp().sum(-1)),
    (lesson1.top_move_legal_rate, lambda z, legal: legal.gather(1, z.argmax(-1, keepdim=True)).double().mean()),
    (lesson1.loss_floor, lambda n: -(1 / n).log().mean()),
    (lesson1.loss_floor, lambda n: float(np.mean(np.log(n.numpy())))),
    (lesson2.fit_probe, lambda X, y, ridge: solved2.fit_probe(X.double(), y, ridge).double()),
    (lesson2.probe_accuracy, lambda W, X, y: np.float64(solved2.probe_accuracy(W, X, y))),
    (lesson2.majority_accuracy, lambda train, test: (F.one_hot(train, 3).sum(0).argmax(-1) == test).float().mean()),
    (lesson2.to_mover, lambda y, black: torch.where(black[:, None] | (y == 0), y, 3 - y)),
    (lesson2.to_mover, lambda y, black: (y * (2 - black.long()[:, None])) % 3),
    (
        lesson2.accuracy_by_ply,
        lambda right, ply: torch.tensor([right[ply == i].double().mean() for i in range(1, int(ply.max()) + 1)]),
    ),
    (lesson3.flip_direction, lambda W, s, old, new: F.normalize(W[:, s, new] - W[:, s, old], dim=0)),
    (lesson3.push, lambda x, d, scale: torch.cat([x[:, :-1], x[:, -1:] + scale * d[:, None]], 1)),
    (lesson3.legal_as_edited, lambda *given: sorted(solved3.legal_as_edited(*given))),
    (lesson3.legal_as_edited, lambda *given: set(solved3.legal_as_edited(*given))),
    (lesson3.legal_as_edited, lambda *given: tuple(reversed(solved3.legal_as_edited(*given)))),
    (lesson3.errors, ranks_by_sorting),
    (
        lesson3.random_like,
        lambda d, seed: (
            F.normalize(torch.randn(d.shape, generator=torch.Generator().manual_seed(seed)), dim=-1)
            * d.norm(dim=-1, keepdim=True)
        ),
    ),
    (lesson3.best_scale, lambda errors, scales: scales[errors.sum(1).argmin()]),
    (lesson4.encode, lambda x, W, b, b_dec: torch.clamp(x @ W - b_dec @ W + b, min=0)),
    (lesson4.keep_largest, keep_by_threshold),
    (lesson4.keep_largest, keep_in_a_loop),
    (lesson4.decode, lambda z, W, b: b + torch.einsum("nf,fd->nd", z, W)),
    (lesson4.squared_error, lambda x, y: F.mse_loss(y, x) * x.shape[-1]),
    (lesson4.squared_error, lambda x, y: (x - y).norm(dim=-1).pow(2).mean()),
    (lesson4.unit_rows, lambda W: F.normalize(W, dim=-1)),
    (lesson4.explained_variance, lambda x, y: 1 - (x - y).pow(2).sum(-1).mean() / x.var(0, correction=0).sum()),
    (lesson4.sparsity, lambda z: [float((z != 0).sum() / len(z)), 1 - (z > 0).any(0).float().mean()]),
    (
        lesson5.precision_recall,
        lambda on, true: [(on & true).sum() / on.sum().clamp(min=1), (on & true).sum() / true.sum().clamp(min=1)],
    ),
    (lesson5.f1_by_threshold, lambda *given: torch.tensor(solved5.f1_by_threshold(*given))),
    (lesson5.always_on_f1, lambda true: 2 * true.sum() / (len(true) + true.sum())),
    (lesson5.held_out_coverage, lambda train, test: test.gather(0, train.argmax(0, keepdim=True)).mean()),
    (
        lesson5.classifiers,
        lambda on, true, p, n: (
            (both := on.float().T @ true.float()).div(on.sum(0)[:, None].clamp(min=1)).ge(p) & (both >= n)
        ),
    ),
    (lesson5.rebuild, lambda on, c: (on[:, :, None] & c[None]).any(1)),
    (lesson6.interval, lambda x, draws: np.quantile(x[draws].mean(1), [0.025, 0.975])),
    (
        lesson6.paired_interval,
        lambda a, b, draws: list(np.percentile(a[draws].mean(1) - b[draws].mean(1), [2.5, 97.5])),
    ),
    (
        lesson6.pareto,
        lambda l0, v: np.array(
            [
                not any(l0[j] <= l0[i] and v[j] >= v[i] and (l0[j], v[j]) != (l0[i], v[i]) for j in range(len(v)))
                for i in range(len(v))
            ]
        ),
    ),
    (lesson6.share_of_the_way, lambda v, lo, hi: 1 - (hi - v) / (hi - lo)),
    (lesson6.rank_correlation, lambda a, b: scipy.stats.spearmanr(a, b).statistic),
    (lesson6.rank_correlation, lambda a, b: np.corrcoef(scipy.stats.rankdata(a), scipy.stats.rankdata(b))[0, 1]),
]


def ids(answers):
    return [f"{checker.name}-{place}" for place, (checker, *_) in enumerate(answers)]


@pytest.mark.parametrize(("checker", "answer", "says"), WRONG, ids=ids(WRONG))
def test_a_wrong_answer_is_told_what_is_wrong(checker, answer, says):
    verdict = checker(answer)
    assert not verdict.passed and says in verdict.message


@pytest.mark.parametrize(("checker", "answer"), RIGHT, ids=ids(RIGHT))
def test_a_right_answer_passes_however_it_is_written(checker, answer):
    assert checker(answer).message == "right"


ODD = {
    "nothing": lambda: None,
    "text": lambda: "d3",
    "bytes": lambda: b"d3",
    "dict": lambda: {"d3": 1},
    "complex": lambda: 1j,
    "huge": lambda: 10**400,
    "empty": lambda: [],
    "ragged": lambda: [[1], [2, 3]],
    "arrays": lambda: [np.zeros(2), np.zeros(3)],
    "tensors": lambda: [torch.zeros(2), torch.zeros(2)],
    "set": lambda: {1, "d3"},
    "generator": lambda: (i for i in range(3)),
    "function": lambda: len,
    "nan": lambda: float("nan"),
    "objects": lambda: np.array([None, "d3"], dtype=object),
    "texts": lambda: np.array(["d3", "e4"]),
    "complex array": lambda: np.array([1j, 2]),
    "scalar array": lambda: np.array(3),
    "masked": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.zeros(3, device="meta"),
    "meta scalar": lambda: torch.zeros((), device="meta"),
    "with gradient": lambda: torch.ones(3, requires_grad=True),
    "conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "uint8": lambda: torch.ones(3, 4, dtype=torch.uint8),
}


@pytest.mark.parametrize(("number", "checker"), all_checkers(), ids=lambda value: getattr(value, "name", value))
def test_whatever_an_answer_gives_the_checker_says_something(number, checker):
    for odd in ODD.values():
        verdict = checker(lambda *_, odd=odd: odd())
        assert not verdict.passed and verdict.message and str(verdict)


def test_what_a_library_has_not_implemented_is_not_an_empty_exercise():
    def answer(on_NF, classifiers_FP):
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")

    assert "raises NotImplementedError" in lesson5.rebuild(answer).message
