"""Sampling from a GPT: many games are continued from many places each, and every game is read once.

A *branch* is a place in a row from which the GPT continues. One pass over the row keeps every block's keys and values;
after that a branch costs one step per token, in which it attends to its row's keys up to its place, shared with the
row's other branches, and to the keys of its own tokens.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from boardgame_sae.model.gpt import GPT, Block, Hooks

STOPPED = -1
"""In place of a token that a branch did not write because it had stopped."""
MEMORY = 2**28
"""Approximate bytes that one pass may take; on a CPU more is slower."""
_NO_HOOKS = Hooks(None)


@torch.no_grad()
def sample_continuations(
    gpt: GPT,
    tokens_BL: Tensor,
    game_N: Tensor,
    start_N: Tensor,
    *,
    n_new: int,
    temperature: float = 0.0,
    stop_ids: Collection[int] = (),
    generator: torch.Generator | None = None,
    memory: int = MEMORY,
) -> Tensor:
    """What a GPT writes from N places: int64 (N, n_new) token ids, STOPPED after a branch has stopped.

    Branch n reads row `game_N[n]` up to and including token `start_N[n]`. It stops after it writes one of `stop_ids`,
    or when no position is left to read its last token at: it writes at most `n_ctx - start_N[n]` tokens.
    temperature: 0 takes the most probable token; else the logits are divided by it, and `generator` draws one uniform
    number per branch and token, in order, before the first pass. memory: approximate bytes that a pass may take.
    Raises ValueError when a place is outside its row, a row is longer than the GPT's context, or n_new or the
    temperature is out of range.
    """
    tokens_BL, game_N, start_N = (x.to(gpt.device) for x in (tokens_BL, game_N, start_N))
    if n_new < 1 or temperature < 0:
        raise ValueError(f"n_new={n_new} must be positive, and temperature={temperature} not negative")
    if ((start_N < 0) | (start_N >= tokens_BL.shape[1])).any():
        raise ValueError(f"a place to continue from is outside its row of {tokens_BL.shape[1]} tokens")
    uniform_NT = torch.rand(len(game_N), n_new, generator=generator) if temperature else None
    written_NT = torch.full((len(game_N), n_new), STOPPED, device=gpt.device)
    rows, row_N, branches = game_N.unique(return_inverse=True, return_counts=True)
    n_branches = int(branches.max()) if len(rows) else 0
    size = games_per_pass(gpt, tokens_BL.shape[1], n_branches, n_new, memory)
    for first in range(0, len(rows), size):
        in_pass = ((row_N >= first) & (row_N < first + size)).nonzero()[:, 0]
        n_read = int(start_N[in_pass].max()) + 1
        cache = KeyValueCache.of(gpt, tokens_BL[rows[first : first + size], :n_read])
        draws = None if uniform_NT is None else uniform_NT[in_pass.cpu()]
        written_NT[in_pass] = cache.sample(
            row_N[in_pass] - first,
            start_N[in_pass],
            n_new,
            temperature=temperature,
            stop_ids=stop_ids,
            uniform_NT=draws,
        )
    return written_NT


def games_per_pass(gpt: GPT, n_tokens: int, n_branches: int, n_new: int, memory: int = MEMORY) -> int:
    """How many rows of n_tokens, with n_branches each, one pass can take in about `memory` bytes; at least 1."""
    cfg = gpt.cfg
    per_token = 2 * cfg.n_layers * cfg.d_model + 10 * cfg.d_model + 2 * cfg.d_vocab
    per_branch = 3 * cfg.n_heads * n_tokens + 2 * (cfg.n_layers + 1) * n_new * cfg.d_model + 10 * cfg.d_model
    return max(1, memory // (4 * (n_tokens * per_token + n_branches * per_branch)))


@dataclass(frozen=True, eq=False)
class KeyValueCache:
    """Rows that a GPT has read: its logits after each token, and each block's keys and values."""

    gpt: GPT
    logits_BLV: Tensor
    """The logits after each token."""
    keys: tuple[Tensor, ...]
    """Per layer, (B, H, L, d_head)."""
    values: tuple[Tensor, ...]
    """Per layer, (B, H, L, d_head)."""

    @classmethod
    @torch.no_grad()
    def of(cls, gpt: GPT, tokens_BL: Tensor) -> "KeyValueCache":
        """Read rows. Raises ValueError when they are longer than the GPT's context."""
        kept: dict[str, list[Tensor]] = {"k": [], "v": []}

        def keep(name: str) -> Callable[[Tensor], None]:
            return lambda x_BLHE: kept[name].append(x_BLHE.transpose(1, 2).contiguous())

        hooks: dict[str, Any] = {
            f"blocks.{layer}.attn.hook_{name}": keep(name) for layer in range(gpt.cfg.n_layers) for name in kept
        }
        logits_BLV = gpt(tokens_BL, hooks)
        return cls(gpt, logits_BLV, tuple(kept["k"]), tuple(kept["v"]))

    @torch.no_grad()
    def sample(
        self,
        game_N: Tensor,
        start_N: Tensor,
        n_new: int,
        *,
        temperature: float = 0.0,
        stop_ids: Collection[int] = (),
        uniform_NT: Tensor | None = None,
    ) -> Tensor:
        """Continue the rows from some places, as `sample_continuations` does: int64 (N, n_new).

        uniform_NT: numbers in [0, 1) that decide each token when the temperature is not 0, by the inverse of the
        cumulative distribution.
        """
        stops = torch.tensor(sorted(stop_ids), dtype=torch.int64, device=self.logits_BLV.device)
        written_NT = torch.full((len(game_N), n_new), STOPPED, device=stops.device)
        branch_N = torch.arange(len(game_N), device=stops.device)
        own: list[tuple[Tensor, Tensor]] = []
        logits_NV = self.logits_BLV[game_N, start_N]
        for step in range(n_new):
            draw_N = None if uniform_NT is None else uniform_NT[branch_N.to(uniform_NT.device), step]
            token_N = choose(logits_NV, temperature, draw_N)
            written_NT[branch_N, step] = token_N
            place_N = start_N[branch_N] + 1 + step
            continues_N = ~torch.isin(token_N, stops) & (place_N < self.gpt.cfg.n_ctx)
            if step == n_new - 1 or not continues_N.any():
                break
            branch_N = branch_N[continues_N]
            own = [(keys[continues_N], values[continues_N]) for keys, values in own]
            branches = _Branches.of(game_N[branch_N], start_N[branch_N], self.logits_BLV.shape)
            logits_NV = self._step(token_N[continues_N], place_N[continues_N], branches, own)
        return written_NT

    def _step(
        self, token_N: Tensor, place_N: Tensor, branches: "_Branches", own: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """The logits (N, V) after each branch has read one more token; its keys and values are added to `own`."""
        gpt, first_step = self.gpt, not own
        x_ND = gpt.embed(token_N) + gpt.pos_embed(place_N)
        for layer, block in enumerate(cast(list[Block], gpt.blocks)):
            attn, normalized_ND = block.attn, block.ln1(x_ND)
            heads = (len(token_N), attn.n_heads, -1)
            q_NHE, k_NHE, v_NHE = (part(normalized_ND).view(heads) for part in (attn.q, attn.k, attn.v))
            if first_step:
                own.append((k_NHE[:, None], v_NHE[:, None]))
            else:
                own[layer] = (
                    torch.cat([own[layer][0], k_NHE[:, None]], 1),
                    torch.cat([own[layer][1], v_NHE[:, None]], 1),
                )
            z_NHE = branches.attend(
                q_NHE / math.sqrt(q_NHE.shape[-1]), self.keys[layer], self.values[layer], *own[layer]
            )
            x_ND = x_ND + attn.out(z_NHE.reshape(x_ND.shape))
            x_ND = x_ND + block.mlp(block.ln2(x_ND), _NO_HOOKS)
        return gpt.unembed(gpt.ln_final(x_ND))


@dataclass(frozen=True, eq=False)
class _Branches:
    """N branches arranged by row, (B, P slots), so that the branches of a row attend to its keys in one product."""

    game_N: Tensor
    slot_N: Tensor
    unread_BPL: Tensor
    """bool: whether a token of the row comes after the branch's place."""

    @classmethod
    def of(cls, game_N: Tensor, start_N: Tensor, shape: tuple[int, ...]) -> "_Branches":
        n_games, n_tokens = shape[:2]
        order_N = game_N.argsort(stable=True)
        count_B = game_N.bincount(minlength=n_games)
        first_B = count_B.cumsum(0) - count_B
        slot_N = torch.empty_like(game_N)
        slot_N[order_N] = torch.arange(len(game_N), device=game_N.device) - first_B[game_N[order_N]]
        start_BP = start_N.new_zeros(n_games, int(count_B.max()))
        start_BP[game_N, slot_N] = start_N
        return cls(game_N, slot_N, torch.arange(n_tokens, device=game_N.device) > start_BP[..., None])

    def attend(
        self, q_NHE: Tensor, keys_BHLE: Tensor, values_BHLE: Tensor, keys_NTHE: Tensor, values_NTHE: Tensor
    ) -> Tensor:
        """Attention of each branch to its row up to its place and to its own T tokens: (N, H, d_head).

        The row's part is computed first. It then counts as one more key of the branch, whose score is the log of the
        row's summed exponentials and whose value is the row's weighted mean.
        """
        q_BPHE = q_NHE.new_zeros(*self.unread_BPL.shape[:2], *q_NHE.shape[1:])
        q_BPHE[self.game_N, self.slot_N] = q_NHE
        scores_BHPL = q_BPHE.transpose(1, 2) @ keys_BHLE.transpose(-1, -2)
        scores_BHPL.masked_fill_(self.unread_BPL[:, None], -torch.inf)
        top_BHP1 = scores_BHPL.amax(-1, keepdim=True)
        weights_BHPL = scores_BHPL.sub_(top_BHP1).exp_()
        sum_BHP1 = weights_BHPL.sum(-1, keepdim=True)
        mean_BHPE = weights_BHPL @ values_BHLE / sum_BHP1
        score_BHP = (top_BHP1 + sum_BHP1.log())[..., 0]
        scores_NTH = torch.cat([score_BHP[self.game_N, None, :, self.slot_N], (keys_NTHE * q_NHE[:, None]).sum(-1)], 1)
        values_NTHE = torch.cat([mean_BHPE[self.game_N, None, :, self.slot_N], values_NTHE], 1)
        return (scores_NTH.softmax(1)[..., None] * values_NTHE).sum(1)


def choose(logits_NV: Tensor, temperature: float, uniform_N: Tensor | None = None) -> Tensor:
    """(N,) tokens: at temperature 0 the most probable, else the one whose interval of [0, 1) contains `uniform_N`."""
    if temperature == 0:
        return logits_NV.argmax(-1)
    assert uniform_N is not None
    sums_NV = (logits_NV.cpu().double() / temperature).softmax(-1).cumsum(-1)
    height_N1 = uniform_N.cpu().double()[:, None] * sums_NV[:, -1:]
    token_N = torch.searchsorted(sums_NV, height_N1, right=True)[:, 0].clamp(max=sums_NV.shape[1] - 1)
    return token_N.to(logits_NV.device)
