"""RAVEL: can what stands on one square be swapped between two positions, and nothing else, by swapping latents?

SAEBench's score with positions as entities and squares as attributes. A mask of latents is learned per square
(`masks`); latents of a source position are put into a base position at its last token, and linear probes at the next
residual stream are asked (`reading`):

    cause           share of pairs in which the square is read as it is in the source
    isolation       share of the other squares in which both differ that are still read as they are in the base
    disentanglement their mean, higher is better

each the mean over squares. Pairs count where the probes read both positions right, so that swapping nothing has cause 0
and isolation 1, swapping all latents and the error cause 1 and isolation 0: .5 either way. `random_mask` swaps as many
latents drawn at random. The SAE's error term is kept, `without_error` drops it.

The model's moves are a second reading: of the probability on moves that are legal in one of the two positions only,
`moves` is by how much the share on the source's rises. A square is only part of what makes a move legal, so that 1 is
out of reach; where a token is not a whole move it is not measured, and 0.

Repaired: published entities are on both sides of the split, here a split is one of games; published steps depend on the
size of a batch, and the reconstruction error lowers isolation; the size of the mask is left to chance, here at most so
many latents of a mask are swapped as are best on validation games. `disentanglement_published` is the published form:
without error term, all latents whose m is above 0.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.config import Count, Positive, Seed, config, seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.ravel.masks import Schedule, Swaps, largest_of_mask, train_masks
from boardgame_sae.metrics.saebench.ravel.outcomes import disentanglement, measure, moves_differ
from boardgame_sae.metrics.saebench.ravel.pairs import Pairs, chosen_squares, draw_pairs
from boardgame_sae.metrics.saebench.ravel.reading import Readings, readings
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import SPLITS

MASK_SIZES = (1, 2, 5, 10, 20, 50, 100, 500, None)
"""Maximum numbers of latents to choose from; None is all that were learned."""


@config
class RavelConfig:
    """How many squares and pairs, and how masks are learned."""

    n_squares: Count = 6
    """Maximum number of squares whose state is swapped."""
    n_games: Count = 300
    """Maximum number of games per split."""
    n_train: Count = 2000
    """Maximum number of training pairs per square."""
    n_test: Count = 400
    """Maximum number of validation and of test pairs per square."""
    n_steps: Count = 100
    """Steps of training; all masks learn in each."""
    batch_size: Count = 64
    """Pairs of each square per step."""
    lr: Positive = 1e-3
    """Adam's learning rate, as published."""
    seed: Seed = 0
    """Which pairs are drawn, and in which order."""


VARIANTS = ("chosen", "without_error", "random", "published")
"""What is measured on test: the chosen masks, also without error term, random masks, and the published form."""
ASKED = ("cause_asked", "isolation_asked", "moves_asked", "moves_before")
RAVEL_SUMS = (*ASKED, "moves_after", *(f"{name}_{part}" for name in VARIANTS for part in ("cause", "isolation")))
"""Counted per game of the base and square; `moves` are sums of shares of probability."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Means over squares; sums (R, squares)."""

    def mean(right: str, asked: str) -> np.ndarray:
        return (sums[right] / np.maximum(sums[asked], 1)).mean(1)

    rates = {name: [mean(f"{name}_{part}", f"{part}_asked") for part in ("cause", "isolation")] for name in VARIANTS}
    both = {name: (cause + isolation) / 2 for name, (cause, isolation) in rates.items()}
    return {
        "value": both["chosen"],
        "cause": rates["chosen"][0],
        "isolation": rates["chosen"][1],
        "without_error": both["without_error"],
        "cause_without_error": rates["without_error"][0],
        "isolation_without_error": rates["without_error"][1],
        "moves": mean("moves_after", "moves_asked") - mean("moves_before", "moves_asked"),
        "random_mask": both["random"],
        "disentanglement_published": both["published"],
    }


RATES = Statistic(RAVEL_SUMS, _numbers, same=ASKED)


@score(
    "ravel",
    title="RAVEL disentanglement",
    meaning="Mean of how often swapping a square's latents moves its state along, and leaves other squares as they are",
    source="SAEBench (arXiv 2503.09532), RAVEL; Huang et al. 2024 (arXiv 2402.17700)",
    suites=("saebench",),
    order=14,
    needs=("W_dec",),
    config=RavelConfig,
    statistic=RATES,
    display=Display(
        parts={
            "cause": "cause",
            "isolation": "isolation",
            "without_error": "without error term",
            "cause_without_error": "cause, without error term",
            "isolation_without_error": "isolation, without error term",
            "moves": "probability moved to the source's moves",
            "random_mask": "random latents (chance)",
            "disentanglement_published": "published form",
            "mask_size": "latents swapped",
        },
        columns=("_cause", "_isolation"),
        chance=Chance("random_mask", shared=False),
        unit="mean of cause and isolation",
    ),
)
def ravel_score(subject: Subject, cfg: RavelConfig) -> ScoreValue:
    """RAVEL on board truth.

    Raises UnscorableError when no square's states can be swapped, or nothing follows the hook point.
    """
    plan = subject.testbed.once(swap_plan, cfg)
    swaps = {split: Swaps(subject, split, plan.of.of[split]) for split in SPLITS}
    schedule = Schedule(cfg.n_steps, cfg.batch_size, cfg.lr, cfg.seed)
    kept_AF, dropped_AF = (
        train_masks(plan.of, swaps["train"], plan.pairs["train"], schedule, error=error) for error in (True, False)
    )
    on_validation = [
        disentanglement(measure(plan.of, swaps["validation"], plan.pairs["validation"], largest_of_mask(kept_AF, n)))
        for n in MASK_SIZES
    ]
    n_latents = MASK_SIZES[int(np.argmax(on_validation))]
    masks_AF = largest_of_mask(kept_AF, n_latents)
    sizes = masks_AF.sum(1).long().tolist()
    variants = {
        "chosen": (masks_AF, True),
        "without_error": (masks_AF, False),
        "random": (random_masks(swaps["train"], sizes, cfg.seed), True),
        "published": (largest_of_mask(dropped_AF, None), False),
    }
    counts = _counted(subject.testbed, plan, swaps["test"], variants)
    parts = {"mask_size": float(np.mean(sizes))}
    value = RATES.score(GameSums.dense(counts, RATES.same), parts)
    chosen = {"n_latents": n_latents, "on_validation": [round(part, 6) for part in on_validation]}
    return value._replace(details=chosen | _details(value, counts, plan, masks_AF, cfg))


class Plan(NamedTuple):
    """What is swapped, the same for every subject of a testbed."""

    of: Readings
    squares: list[int]
    pairs: Mapping[str, Pairs]


def swap_plan(testbed: Testbed, cfg: RavelConfig) -> Plan:
    """Probes, squares and pairs. Raises UnscorableError as `ravel_score` does."""
    of = testbed.once(readings, cfg.n_games)
    squares = chosen_squares(of, cfg.n_squares)
    sizes = {"train": cfg.n_train, "validation": cfg.n_test, "test": cfg.n_test}
    return Plan(of, squares, {split: draw_pairs(of, split, squares, n, cfg.seed) for split, n in sizes.items()})


def random_masks(swaps: Swaps, sizes: list[int], seed: int) -> Tensor:
    """As many latents of each attribute, drawn from those that are ever on."""
    alive = np.unique(swaps.latents_NF.indices)
    masks_AF = torch.zeros(len(sizes), len(swaps.W_dec), device=swaps.W_dec.device)
    for number, size in enumerate(sizes):
        rng = np.random.default_rng(seed_for(seed, "random mask", number))
        masks_AF[number, torch.from_numpy(rng.permutation(alive)[:size])] = 1
    return masks_AF


def _counted(
    testbed: Testbed, plan: Plan, swaps: Swaps, variants: Mapping[str, tuple[Tensor, bool]]
) -> dict[str, np.ndarray]:
    """(B games of the base, squares) by name of RAVEL_SUMS, on test."""
    pairs, reading = plan.pairs["test"], swaps.reading
    shape = (len(testbed.positions("test").games_B), len(plan.squares))
    cell_N = reading.above.where.game_N[pairs.base_N] * shape[1] + pairs.attribute_N

    def summed(weights_N: np.ndarray) -> np.ndarray:
        sums = np.bincount(cell_N, weights_N, np.prod(shape)).reshape(shape)
        return sums if weights_N.dtype.kind == "f" else sums.astype(np.int32)

    read = {name: measure(plan.of, swaps, pairs, masks_AF, error=error) for name, (masks_AF, error) in variants.items()}
    nothing = measure(plan.of, swaps, pairs, torch.zeros_like(variants["chosen"][0]))
    counts = {
        "cause_asked": summed(np.ones(len(cell_N), np.int32)),
        "isolation_asked": summed(nothing.n_asked_N),
        "moves_asked": summed(moves_differ(reading, pairs).astype(np.int32)),
        "moves_before": summed(nothing.source_share_N),
        "moves_after": summed(read["chosen"].source_share_N),
    }
    for name, outcome in read.items():
        counts |= {
            f"{name}_cause": summed(outcome.cause_N.astype(np.int32)),
            f"{name}_isolation": summed(outcome.n_kept_N),
        }
    return counts


def _details(
    value: ScoreValue, counts: Mapping[str, np.ndarray], plan: Plan, masks_AF: Tensor, cfg: RavelConfig
) -> dict[str, Any]:
    total = {name: part.sum(0) for name, part in counts.items()}
    by_square = [
        {
            "states": plan.of.states[square],
            "n_test": int(total["cause_asked"][k]),
            "cause": round(float(total["chosen_cause"][k] / total["cause_asked"][k]), 6),
            "isolation": round(float(total["chosen_isolation"][k] / max(total["isolation_asked"][k], 1)), 6),
            "latents": masks_AF[k].nonzero()[:, 0].tolist(),
        }
        for k, square in enumerate(plan.squares)
    ]
    reading = plan.of.of["test"]
    metrics = {
        "disentanglement_score": value.value,
        "cause_score": value.parts["cause"],
        "isolation_score": value.parts["isolation"],
    }
    eval_config = {
        "entity_attribute_selection": {"position": [plan.of.states[square][-1] for square in plan.squares]},
        "top_n_entities": len(reading.above),
        "num_pairs_per_attribute": cfg.n_train,
        "learning_rate": cfg.lr,
        "llm_batch_size": cfg.batch_size,
        "random_seed": cfg.seed,
        "llm_dtype": "float32",
    }
    return {
        "by_square": by_square,
        "read_at": reading.above.model.read_at,
        "probe_accuracy": round(float(reading.right_NS.mean()), 6),
        "eval_config": eval_config,
        "eval_result_metrics": {"ravel": metrics},
    }
