"""Hook points, places in the GPT with TransformerLens's names: list them, read activations there, replace them."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from boardgame_sae.model.gpt import GPT, Hook

CPU_TOKENS = 2048
"""Tokens that a GPT on a CPU reads at once: with more, the activations of a block no longer fit into the caches."""


class HookError(ValueError):
    """A hook point that does not exist or cannot be used here; the message names some that can."""


class _Recorder(Mapping[str, Hook]):
    """Hooks that record the name and shape of every hook point that a forward pass reaches."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __getitem__(self, name: str) -> Hook:
        def record(value: Tensor) -> None:
            self.shapes[name] = tuple(value.shape)

        return record

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return 1


_known: WeakKeyDictionary[GPT, dict[str, tuple[int, ...]]] = WeakKeyDictionary()


@torch.no_grad()
def hook_points(gpt: GPT) -> dict[str, tuple[int, ...]]:
    """Every hook point by name, in the order of the forward pass, with the shape it has for an input (2, n_ctx)."""
    if gpt not in _known:
        recorder = _Recorder()
        gpt(torch.zeros(2, gpt.cfg.n_ctx, dtype=torch.long, device=gpt.device), recorder)
        _known[gpt] = recorder.shapes
    return _known[gpt]


def hook_width(gpt: GPT, name: str) -> int:
    """Length of the activation vector per token at a hook point (heads flattened).

    Raises HookError when there is no such hook point, or it has no vector per token (attention patterns).
    """
    shapes = hook_points(gpt)
    if name not in shapes:
        raise HookError(_unknown(gpt, name))
    if name.endswith(("hook_attn_scores", "hook_pattern")):
        raise HookError(f"hook point '{name}' holds pairs of tokens, not a vector per token; choose another")
    return int(torch.Size(shapes[name][2:]).numel())


def _unknown(gpt: GPT, name: str) -> str:
    near = difflib.get_close_matches(str(name), hook_points(gpt), n=3, cutoff=0.5)
    known = ", ".join(near) if near else f"blocks.0.hook_resid_post .. blocks.{gpt.cfg.n_layers - 1}.hook_resid_post"
    return f"no hook point '{name}' in this GPT of {gpt.cfg.n_layers} layers; the closest are {known}"


def default_hook_name(gpt: GPT) -> str:
    """The residual stream two thirds up, where the published models' boards are clearest (layer 5 of 8)."""
    return f"blocks.{2 * gpt.cfg.n_layers // 3}.hook_resid_post"


def layer_of(name: str) -> int:
    """The block a hook point is in. Raises HookError for one outside the blocks."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block is None:
        raise HookError(f"hook point '{name}' is in no block; choose blocks.<layer>....")
    return int(block[1])


def read(gpt: GPT, tokens_BL: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The activations (B, L, width) at some hook points; no block beyond the last one needed is run.

    On a CPU the GPT reads a few games at a time, whose activations stay in its caches.
    Raises HookError for a bad hook point, ValueError when the input is longer than the GPT's context.
    """
    widths = {name: hook_width(gpt, name) for name in names}
    block_numbers = [int(match[1]) for match in (re.match(r"blocks\.(\d+)\.", name) for name in names) if match]
    past_the_blocks = any(name.startswith("ln_final") for name in names)
    stop = None if past_the_blocks else max(block_numbers, default=-1) + 1
    n_games, n_tokens = tokens_BL.shape
    at_once = max(1, CPU_TOKENS // max(1, n_tokens)) if tokens_BL.device.type == "cpu" else max(1, n_games)
    parts: list[dict[str, Tensor]] = []
    for part_BL in tokens_BL.split(at_once):
        acts: dict[str, Tensor] = {}
        gpt(part_BL, {name: _keep(acts, name, part_BL, widths[name]) for name in names}, stop_at_layer=stop)
        parts.append(acts)
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in names}


def _keep(acts: dict[str, Tensor], name: str, tokens_BL: Tensor, width: int) -> Hook:
    def record(value: Tensor) -> None:
        acts[name] = value.expand(len(tokens_BL), *value.shape[1:]).reshape(*tokens_BL.shape, width)

    return record


def replace(gpt: GPT, tokens_BL: Tensor, name: str, values_BLD: Tensor) -> Tensor:
    """Logits (B, L, d_vocab) when the activations (B, L, width) at a hook point are replaced.

    At a block's residual output only the blocks above are run. Raises HookError for a bad hook point.
    """
    hook_width(gpt, name)
    if name.endswith(".hook_resid_post"):
        return gpt(values_BLD, start_at_layer=layer_of(name) + 1)
    return gpt(tokens_BL, {name: lambda value: values_BLD.reshape(len(values_BLD), *value.shape[1:])})


@torch.no_grad()
def run_with_hooks(gpt: GPT, tokens_BL: Tensor, hooks: Mapping[str, Hook]) -> Tensor:
    """Logits (B, L, d_vocab) of token ids (B, L) while hooks read activations, or replace them by what they return.

    Raises HookError for a hook point that there is not, for what is no function of the activations alone, or where
    something of another shape is returned, ValueError for what are no token ids or more than the GPT's context.
    """
    if not isinstance(hooks, Mapping):
        raise HookError(f"hooks are functions by hook point, {{name: function}}, not a {type(hooks).__name__}")
    for name, hook in hooks.items():
        if name not in hook_points(gpt):
            raise HookError(_unknown(gpt, name))
        _check_hook(name, hook)
    _check_tokens(gpt, tokens_BL)
    return gpt(tokens_BL.to(gpt.device), {name: _checked(name, hook) for name, hook in hooks.items()})


def _check_hook(name: str, hook: Hook) -> None:
    """Raise HookError unless a hook can be called with activations alone; TransformerLens's take the hook point too."""
    if not callable(hook):
        raise HookError(f"the hook at '{name}' is a {type(hook).__name__}; give a function of the activations there")
    try:
        inspect.signature(hook).bind(None)
    except TypeError:
        raise HookError(f"the hook at '{name}' must take one argument, the activations there") from None
    except ValueError:  # a function of C, which does not say what it takes
        return


def _check_tokens(gpt: GPT, tokens_BL: Tensor) -> None:
    whole = not (tokens_BL.is_floating_point() or tokens_BL.is_complex() or tokens_BL.dtype == torch.bool)
    if not whole or tokens_BL.dim() != 2 or not tokens_BL.numel():
        given = f"{str(tokens_BL.dtype).removeprefix('torch.')} of shape {tuple(tokens_BL.shape)}"
        raise ValueError(f"give games of at least one move, or token ids (games, tokens), whole numbers, not {given}")
    for value in map(int, tokens_BL.aminmax()):
        if not 0 <= value < gpt.cfg.d_vocab:
            raise ValueError(f"token ids lie between 0 and {gpt.cfg.d_vocab - 1}, not {value}")


def _checked(name: str, hook: Hook) -> Hook:
    def checked(value: Tensor) -> Tensor | None:
        shape = value.shape
        replaced = hook(value)
        if replaced is not None and not (isinstance(replaced, Tensor) and replaced.shape == shape):
            given = tuple(replaced.shape) if isinstance(replaced, Tensor) else type(replaced).__name__
            raise HookError(f"the hook at '{name}' returned {given}; return None, or a tensor of shape {tuple(shape)}")
        return None if replaced is None else replaced.to(value)

    return checked
