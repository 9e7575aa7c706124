"""Counting on one core: `count_latents` beside a dense matrix product per threshold, at the size of a chess split.

20,000 positions, 4,096 latents of which 50 are on per position, 192 properties, 10 thresholds. Both must give equal
integers. Run: python experiments/benchmarks/bench_counts.py
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import torch

from boardgame_sae.metrics.counting.latent_columns import as_latents
from boardgame_sae.metrics.counts import Counts, count_latents

T = TypeVar("T")

N_POSITIONS, N_LATENTS, L0, N_PROPERTIES = 20_000, 4_096, 50, 192
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Random latents (N, F) float32, L0 of them on at each position, and one-hot thirds of P properties (N, P) bool."""
    rng = np.random.default_rng(0)
    latents_NF = np.zeros((N_POSITIONS, N_LATENTS), np.float32)
    on_NK = np.argpartition(rng.random((N_POSITIONS, N_LATENTS), np.float32), L0, axis=1)[:, :L0]
    np.put_along_axis(latents_NF, on_NK, rng.exponential(size=on_NK.shape).astype(np.float32) + 1e-3, axis=1)
    classes_NS = rng.integers(3, size=(N_POSITIONS, N_PROPERTIES // 3))
    labels_NP = (classes_NS[:, :, None] == np.arange(3)).reshape(N_POSITIONS, N_PROPERTIES)
    return torch.from_numpy(latents_NF), torch.from_numpy(labels_NP)


def dense_counts(latents_NF: torch.Tensor, labels_NP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The peer: on_TFP and n_on_TF by one dense product per threshold (counts below 2**24 are exact in float32)."""
    max_F, labels_NP = latents_NF.amax(0), labels_NP.float()
    on_TFP = torch.empty(len(THRESHOLDS), latents_NF.shape[1], labels_NP.shape[1], dtype=torch.int32)
    n_on_TF = torch.empty(on_TFP.shape[:2], dtype=torch.int32)
    for t, threshold in enumerate(THRESHOLDS):
        on_NF = (latents_NF > threshold * max_F).float()
        on_TFP[t] = torch.einsum("nf,np->fp", on_NF, labels_NP)
        n_on_TF[t] = on_NF.sum(0)
    return on_TFP, n_on_TF


def timed(function: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Seconds of the fastest of some calls, and the last result."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def rows() -> list[dict[str, Any]]:
    """One dict per measurement: what, ours, unit, peer, peer_value, target. Everything on one thread."""
    threads = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        latents_NF, labels_NP = example()
        count_latents(latents_NF[:300], labels_NP[:300], thresholds=THRESHOLDS)  # compiles
        ours, counts = timed(lambda: count_latents(latents_NF, labels_NP, thresholds=THRESHOLDS), 3)
        latents = as_latents(latents_NF)
        ours_sparse, counts_sparse = timed(lambda: count_latents(latents, labels_NP, thresholds=THRESHOLDS), 3)
        peer, (on_TFP, n_on_TF) = timed(lambda: dense_counts(latents_NF, labels_NP), 1)
    finally:
        numba.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])
    for ours_counted in (counts, counts_sparse):
        _check_equal(ours_counted, on_TFP, n_on_TF)
    size = f"{N_POSITIONS} positions, {N_LATENTS} latents, L0 {L0}, {N_PROPERTIES} properties, 1 thread"
    peer_name = "dense torch.einsum, 1 thread"
    return [
        {"what": f"count_latents, dense input: {size}", "ours": ours, "unit": "s", "peer": peer_name,
         "peer_value": peer, "target": "< 3 s, >= 8x the peer"},
        {"what": f"count_latents, compressed input: {size}", "ours": ours_sparse, "unit": "s", "peer": peer_name,
         "peer_value": peer, "target": "< 3 s, >= 8x the peer"},
        {"what": "count_latents, dense input: times faster than the peer", "ours": peer / ours, "unit": "x",
         "peer": peer_name, "peer_value": 1.0, "target": ">= 8"},
    ]  # fmt: skip


def _check_equal(counts: Counts, on_TFP: torch.Tensor, n_on_TF: torch.Tensor) -> None:
    if not (torch.equal(counts.on_TFP, on_TFP) and torch.equal(counts.n_on_TF, n_on_TF)):
        raise AssertionError("count_latents and the dense product disagree")


if __name__ == "__main__":
    for row in rows():
        print(f"{row['what']}: {row['ours']:.3g} {row['unit']} ({row['peer']}: {row['peer_value']:.3g}; "
              f"target {row['target']})")  # fmt: skip
