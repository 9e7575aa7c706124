"""Scores of baselines in memory, without run folders."""

from boardgame_sae.metrics.baselines.registry import baselines, find_baseline
from boardgame_sae.metrics.evaluate import evaluate


def scores_of(kind, made, suite="supervised"):
    """Scores of a baseline that was made."""
    return evaluate(made.latents, made.testbed, suite, name=made.name, kind=kind, facts=made.facts)


def made_of_testbed(testbed, suite="supervised"):
    """Scores of each baseline that is made of a testbed alone, by kind, in the order of tables."""
    makers = {kind: baseline.of_testbed for kind, baseline in baselines().items() if baseline.of_testbed is not None}
    return {kind: scores_of(kind, make(testbed), suite) for kind, make in makers.items()}


def as_sparse_as(kind, testbed, k, suite="supervised"):
    """Scores of a baseline of a sparsity, with k outputs on."""
    return scores_of(kind, find_baseline(kind).of_sparsity(testbed, k), suite)
