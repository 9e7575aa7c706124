"""How much of the machine's own matrix rate GPT training reaches, at the presets' shapes.

One training step (forward, backward, clipping, Muon, AdamW) is timed in turn with the model's matrix products alone,
each of its three products (forward, input gradient, weight gradient) at its own shape. The share is products / step.

Run `python experiments/benchmarks/bench_gpt.py`.
"""

import statistics
import time
from typing import Any

import torch

from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.train import PRESETS, make_optimizers, next_token_loss

SHAPES = {"tiny": (33, 31), "small": (61, 59)}
"""Alphabet and context of the preset's board: 6x6 and 8x8."""
REPEATS = {"tiny": 15, "small": 5}


def _products(gpt: GPT, n_tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The operands of every matrix product of one step."""
    matrices = [module.weight for module in gpt.modules() if isinstance(module, torch.nn.Linear)]
    shapes = []
    for n_out, n_in in (weight.shape for weight in matrices):
        shapes += [(n_tokens, n_in, n_out), (n_tokens, n_out, n_in), (n_out, n_tokens, n_in)]
    return [(torch.randn(m, k), torch.randn(k, n)) for m, k, n in shapes]


def _step(gpt: GPT, optimizers: list[torch.optim.Optimizer], tokens_BL: torch.Tensor) -> None:
    next_token_loss(gpt, tokens_BL).backward()
    torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def share_of_sgemm(name: str) -> tuple[float, float]:
    """Products / step time (medians, taken in turn), and tokens a second."""
    keep_freed_memory()
    cfg, (d_vocab, n_ctx) = PRESETS[name], SHAPES[name]
    shape = GPTConfig(
        n_layers=cfg.n_layers, d_model=cfg.d_model, n_heads=cfg.n_heads, d_vocab=d_vocab, n_ctx=n_ctx, act_fn=cfg.act_fn
    )
    gpt = GPT(shape)
    optimizers = make_optimizers(gpt, cfg)
    tokens_BL = torch.randint(1, d_vocab, (cfg.batch_size, n_ctx + 1))
    pairs = _products(gpt, cfg.batch_size * n_ctx)
    steps, products = [], []
    for repeat in range(REPEATS[name] + 2):
        begun = time.perf_counter()
        _step(gpt, optimizers, tokens_BL)
        between = time.perf_counter()
        for a, b in pairs:
            torch.mm(a, b)
        ended = time.perf_counter()
        if repeat >= 2:
            steps.append(between - begun)
            products.append(ended - between)
    ratios = [alone / whole for alone, whole in zip(products, steps, strict=True)]
    return statistics.median(ratios), cfg.batch_size * n_ctx / statistics.median(steps)


def rows() -> list[dict[str, Any]]:
    """One row a preset."""
    found = []
    for name in SHAPES:
        share, rate = share_of_sgemm(name)
        found.append(
            {
                "what": f"GPT training, preset {name}: share of sgemm rate",
                "ours": share,
                "unit": "",
                "peer": "tokens/s",
                "peer_value": rate,
                "target": ">= 0.60",
            }
        )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
