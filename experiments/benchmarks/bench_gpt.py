"""How much of the machine's own matrix rate GPT training reaches, at the presets' shapes.

One training step (forward, backward, clipping, Muon, AdamW) is timed in turn with its matrix products alone, each at
its own shape: those of every linear layer (forward, input gradient, weight gradient), of attention, and of Muon's
Newton-Schulz steps. The share is products / step; the linear layers' products alone are shown beside it.

Run `python experiments/benchmarks/bench_gpt.py`.
"""

import statistics
import time
from collections import Counter
from typing import Any

import torch

from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.train import make_optimizers, next_token_loss
from boardgame_sae.model.train_config import PRESETS

SHAPES = {"tiny": (33, 31), "small": (61, 59)}
"""Alphabet and context of the preset's board: 6x6 and 8x8."""
REPEATS = {"tiny": 15, "small": 5}


Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def _pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Operands of a product (..., m, k) by (..., k, n)."""
    *batch, m, k, n = shape
    return torch.randn(*batch, m, k), torch.randn(*batch, k, n)


def _linear_products(gpt: GPT, n_tokens: int) -> Pairs:
    """Those of the linear layers: forward, input gradient, weight gradient."""
    products = []
    for n_out, n_in in (module.weight.shape for module in gpt.modules() if isinstance(module, torch.nn.Linear)):
        products += [_pair(n_tokens, n_in, n_out), _pair(n_tokens, n_out, n_in), _pair(n_out, n_tokens, n_in)]
    return products


def _other_products(gpt: GPT, batch_size: int) -> Pairs:
    """Those of attention (two forward, four backward) and of Muon (see `orthogonalise`: five steps)."""
    cfg, products = gpt.cfg, []
    heads, length, width = batch_size * cfg.n_heads, cfg.n_ctx, cfg.d_model // cfg.n_heads
    for _ in range(cfg.n_layers):
        products += 3 * [_pair(heads, length, width, length)] + 3 * [_pair(heads, length, length, width)]
    shapes = Counter(tuple(sorted(weight.shape)) for weight in gpt.blocks.parameters() if weight.ndim == 2)
    for (rows, columns), count in shapes.items():
        products += [_pair(count, rows, columns, rows), _pair(count, rows, rows, columns)]
        products += (5 + 4 + 2 * 4) * [_pair(count, rows, rows, rows)]
    return products


def _time(pairs: Pairs) -> float:
    start = time.perf_counter()
    for a, b in pairs:
        a @ b
    return time.perf_counter() - start


def _step(gpt: GPT, optimizers: list[torch.optim.Optimizer], tokens_BL: torch.Tensor) -> None:
    next_token_loss(gpt, tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool)).backward()
    torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def share_of_sgemm(name: str) -> tuple[float, float, float]:
    """Products / step time, linear products / step time (medians, taken in turn), and tokens per second."""
    keep_freed_memory()
    cfg, (d_vocab, n_ctx) = PRESETS[name], SHAPES[name]
    shape = GPTConfig(
        n_layers=cfg.n_layers, d_model=cfg.d_model, n_heads=cfg.n_heads, d_vocab=d_vocab, n_ctx=n_ctx, act_fn=cfg.act_fn
    )
    gpt = GPT(shape)
    optimizers = make_optimizers(gpt, cfg)
    tokens_BL = torch.randint(1, d_vocab, (cfg.batch_size, n_ctx + 1))
    linear, others = _linear_products(gpt, cfg.batch_size * n_ctx), _other_products(gpt, cfg.batch_size)
    times = []
    for repeat in range(REPEATS[name] + 2):
        start = time.perf_counter()
        _step(gpt, optimizers, tokens_BL)
        whole = time.perf_counter() - start
        row = (whole, _time(linear), _time(others))
        if repeat >= 2:
            times.append(row)
    share = statistics.median((alone + more) / whole for whole, alone, more in times)
    linear_share = statistics.median(alone / whole for whole, alone, _ in times)
    return share, linear_share, cfg.batch_size * n_ctx / statistics.median(row[0] for row in times)


def rows() -> list[dict[str, Any]]:
    """One row per preset."""
    measured = []
    for name in SHAPES:
        share, linear_share, rate = share_of_sgemm(name)
        measured.append(
            {
                "what": f"GPT training, preset {name}, {rate:,.0f} tokens/s: share of sgemm rate",
                "ours": share,
                "unit": "",
                "peer": "linear layers' products alone",
                "peer_value": linear_share,
                "target": ">= 0.60",
            }
        )
    return measured


if __name__ == "__main__":
    for row in rows():
        print(row)
