"""Published GPTs as game models: nanoGPT's checkpoints and TransformerLens's HookedTransformers, with equal logits.

    from_nanogpt("ckpt.pt")                          a GPT that reads chess, one token per character
    from_transformer_lens("gpt.pth")                 a GPT that reads Othello, one token per move
    from_transformer_lens(hooked_transformer)        a model that is in memory

Files are opened as tensors and plain data only; anything else in a pickle is refused and never run. Three things that
other libraries' GPTs can have and ours cannot are rewritten without changing a logit: absent biases become
zeros, folded layer norms get weight 1 and bias 0, and an unembedding bias moves into the last norm (`_move_bias`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from boardgame_sae.config import ConfigError, content_hash, from_mapping, to_mapping
from boardgame_sae.files import RunError
from boardgame_sae.games import load_game
from boardgame_sae.model.exchange.transformer_lens_names import hooked_names
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.transcripts.tokenization import tokenizer_of
from boardgame_sae.weights import read_pt

EXACT_GELU = "gelu_exact"
"""Our name for the GELU of both libraries, x times the normal distribution function."""
ACT_FN = {"relu": "relu", "gelu": EXACT_GELU, "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu"}
"""TransformerLens's activations by our names."""
ABSENT_LOGIT = -1e4
"""The logit of a token that the imported model does not have, so that it is never predicted."""
NORM_EPSILON = 1e-5
"""What our layer norms and nanoGPT's add to the variance."""
DEFAULT_SCALE = -1.0
"""The value in TransformerLens's config that means the usual attention scale, the square root of a head's width."""
_BUFFERS = re.compile(r"\.attn\.(bias|masked_bias|mask|IGNORE)$")
"""Names of masks, which are not weights."""
_FIXED: dict[str, Any] = {
    "attn_only": False,
    "parallel_attn_mlp": False,
    "gated_mlp": False,
    "use_attn_scale": True,
    "scale_attn_by_inverse_layer_idx": False,
    "use_local_attn": False,
    "attention_dir": "causal",
    "positional_embedding_type": "standard",
    "attn_scores_soft_cap": -1.0,
    "output_logits_soft_cap": -1.0,
}
"""Settings of a HookedTransformer that are fixed in our GPT, with the values they have there."""


def from_nanogpt(
    source: str | Path | Mapping[str, Any],
    *,
    game: str = "chess",
    alphabet: Sequence[str] | None = None,
    n_heads: int | None = None,
) -> GameModel:
    """A GPT trained with nanoGPT, as one of ours.

    source: a checkpoint (`ckpt.pt`), a safetensors file of its weights, or a mapping, either of weights or like a
    checkpoint with `model` and `model_args`.
    game: what it plays, in the game's default tokenization.
    alphabet: what the model's token ids stand for, where that is not our alphabet in our order (which for chess is the
    published one); rows are permuted to ours.
    n_heads: attention heads, where the source does not state them (only checkpoints do).
    Raises RunError naming the file and what does not fit.
    """
    weights, label = _opened(source)
    arguments: Mapping[str, Any] = {}
    if isinstance(weights.get("model"), Mapping):
        arguments = weights["model_args"] if isinstance(weights.get("model_args"), Mapping) else {}
        weights = weights["model"]
    tensors = _Tensors({name.removeprefix("_orig_mod."): weights[name] for name in weights}, label, "nanoGPT")
    vocabulary, width = tensors.shape("transformer.wte.weight")
    heads = arguments.get("n_head", n_heads)
    if not isinstance(heads, int):
        raise RunError(f"{label}: does not say how many attention heads it has; pass n_heads (the published ones, 8)")
    shape = {
        "n_layers": tensors.count(r"transformer\.h\.(\d+)\."),
        "d_model": width,
        "n_heads": heads,
        "d_vocab": vocabulary,
        "n_ctx": tensors.shape("transformer.wpe.weight")[0],
    }
    names = {"n_layers": "n_layer", "d_model": "n_embd", "d_vocab": "vocab_size", "n_ctx": "block_size"}
    for ours, theirs in names.items():
        if arguments.get(theirs, shape[ours]) != shape[ours]:
            raise RunError(
                f"{label}: model_args says {theirs} = {arguments[theirs]}, its weights {shape[ours]}; "
                "the two belong to different models"
            )
    cfg = _config(shape, EXACT_GELU, label)
    return _game_model(cfg, _from_nanogpt(tensors, cfg), game, alphabet, f"nanoGPT: {label}")


def from_transformer_lens(
    source: Any, *, game: str = "othello", alphabet: Sequence[str] | None = None, act_fn: str | None = None
) -> GameModel:
    """A HookedTransformer (or native TransformerBridge) of TransformerLens, as one of ours; its norms may be folded.

    source: the model itself, its state dict by HookedTransformer's names, or a file of that (`.pth`, `.pt`,
    `.safetensors`).
    game: what it plays, in the game's default tokenization. The published Othello GPT's ids are our alphabet's: 0 is no
    move, 1 to 60 are the squares row by row without the middle four. (Where its authors write a square as letter and
    number, the letter is the row.)
    alphabet: what the model's token ids stand for, where that is not our alphabet in our order.
    act_fn: the MLP's nonlinearity in TransformerLens's words (default: the model's own; for a state dict, which does
    not say, `gelu`, which the published models have).
    Raises RunError naming the file and what does not fit.
    """
    if hasattr(source, "state_dict") and hasattr(source, "cfg"):
        label = "the model of TransformerLens"
        weights, act_fn = source.state_dict(), _checked_act_fn(source.cfg, act_fn, label)
        if "embed.weight" in weights:
            weights = dict(hooked_names(weights.items(), source.cfg.n_heads))
    else:
        weights, label = _opened(source)
    act_fn = act_fn or "gelu"
    if act_fn not in ACT_FN:
        raise RunError(f"{label}: its activation is {act_fn}; our GPT has {', '.join(ACT_FN)}")
    tensors = _Tensors(weights, label, "HookedTransformer")
    vocabulary, width = tensors.shape("embed.W_E")
    shape = {
        "n_layers": tensors.count(r"blocks\.(\d+)\."),
        "d_model": width,
        "n_heads": tensors.shape("blocks.0.attn.W_Q", 3)[0],
        "d_vocab": vocabulary,
        "n_ctx": tensors.shape("pos_embed.W_pos")[0],
    }
    cfg = _config(shape, ACT_FN[act_fn], label)
    weights = _from_hooked(tensors, cfg)
    return _game_model(cfg, weights, game, alphabet, f"TransformerLens: {label}")


def library_of(path: str | Path) -> Literal["nanoGPT", "TransformerLens"] | None:
    """The library whose GPT a file holds, recognised by its weights' names; None if neither, or not a file of weights.

    Raises RunError naming a file that is damaged or holds more than tensors and plain data.
    """
    if Path(path).suffix not in (".pt", ".pth", ".safetensors") or not Path(path).is_file():
        return None
    content, _ = _opened(path)
    names = content["model"] if isinstance(content.get("model"), Mapping) else content
    if any(str(name).endswith("transformer.wte.weight") for name in names):
        return "nanoGPT"
    return "TransformerLens" if "embed.W_E" in names else None


def _opened(source: Any) -> tuple[Mapping[str, Any], str]:
    """The content of a file or mapping, and its name in messages. Raises RunError when it cannot be read safely."""
    if isinstance(source, Mapping):
        return source, "the weights given"
    path = Path(source)
    if not path.is_file():
        raise RunError(f"{path}: no such file; give the file that holds the weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path), str(path)
    how = "with safetensors' `save_file` or `torch.save(model.state_dict(), path)`"
    content = read_pt(path, f"if you trust it, save its weights alone, {how}")
    if not isinstance(content, Mapping):
        raise RunError(f"{path}: holds a {type(content).__name__}, not weights by name; save the model's state dict")
    return content, str(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: damaged or not a safetensors file ({error}); save its weights again") from error


def _checked_act_fn(theirs: Any, act_fn: str | None, label: str) -> str:
    """The activation in a HookedTransformer's config. Raises RunError for a config that our GPT cannot have."""
    unsupported = [
        f"{name} = {value}" for name, ours in _FIXED.items() if (value := getattr(theirs, name, ours)) != ours
    ]
    if theirs.normalization_type not in ("LN", "LNPre"):
        unsupported.append(f"normalization_type = {theirs.normalization_type}")
    if abs(theirs.eps - NORM_EPSILON) > 1e-9:
        unsupported.append(f"eps = {theirs.eps}")
    if theirs.attn_scale != DEFAULT_SCALE and abs(theirs.attn_scale - theirs.d_head**0.5) > 1e-6:
        unsupported.append(f"attn_scale = {theirs.attn_scale}")
    if unsupported:
        raise RunError(f"{label}: has {', '.join(unsupported)}, which our GPT cannot have")
    return act_fn or theirs.act_fn


class _Tensors:
    """Weights by their foreign names, each taken once, as float32 on the CPU; missing or misshapen ones are errors."""

    def __init__(self, weights: Mapping[str, Any], label: str, library: str) -> None:
        self.label, self.library = label, library
        self.left = {str(name): weight for name, weight in weights.items() if not _BUFFERS.search(str(name))}
        others = sorted(name for name, value in self.left.items() if not isinstance(value, Tensor))
        if others:
            raise RunError(f"{label}: {', '.join(others)}: not tensors; give a state dict of {library}")

    def shape(self, name: str, rank: int = 2) -> tuple[int, ...]:
        """The shape of a tensor from which the model's shape follows. Raises RunError where missing or misshapen."""
        if name not in self.left:
            has = ", ".join(sorted(self.left)[:3]) or "nothing"
            raise RunError(f"{self.label}: has no {name}, so it is not a {self.library} (it has {has}, ...)")
        shape = tuple(self.left[name].shape)
        if len(shape) != rank or 0 in shape:
            raise RunError(f"{self.label}: {name} is {shape}; it should have {rank} axes, none empty")
        return shape

    def count(self, pattern: str) -> int:
        """How many blocks there are."""
        numbers = {int(match[1]) for name in self.left if (match := re.match(pattern, name))}
        return max(numbers, default=-1) + 1

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self.left

    def take(self, name: str, *shape: int, absent: float | None = None) -> Tensor:
        """A tensor of a known shape; if it is missing and `absent` is given, a tensor filled with that.

        Raises RunError when it is missing or of another shape.
        """
        if name not in self.left and absent is not None:
            return torch.full(shape, absent)
        if name not in self.left:
            raise RunError(f"{self.label}: {name} is missing, so this is not a whole {self.library}")
        weight = self.left.pop(name)
        if tuple(weight.shape) != shape:
            raise RunError(f"{self.label}: {name} is {tuple(weight.shape)}; our GPT of this width needs {shape}")
        return weight.detach().to("cpu", torch.float32)

    def check_all_taken(self) -> None:
        """Raise RunError for weights that our GPT has no place for."""
        if self.left:
            names = ", ".join(sorted(self.left)[:5])
            raise RunError(f"{self.label}: has weights that our GPT has no place for: {names}")


def _config(shape: Mapping[str, int], act_fn: str, label: str) -> GPTConfig:
    try:
        return from_mapping(GPTConfig, {**shape, "act_fn": act_fn}, label)
    except (ConfigError, ValueError) as error:
        raise RunError(f"{label}: our GPT cannot have its shape ({error})") from error


def _from_nanogpt(tensors: _Tensors, cfg: GPTConfig) -> dict[str, Tensor]:
    """Our weights from nanoGPT's names."""
    width, vocabulary = cfg.d_model, cfg.d_vocab
    absent = None if tensors.has("transformer.h.0.attn.c_attn.bias") else 0.0
    weights = {
        "embed.weight": tensors.take("transformer.wte.weight", vocabulary, width),
        "pos_embed.weight": tensors.take("transformer.wpe.weight", cfg.n_ctx, width),
    }

    def take(ours: str, theirs: str, *shape: int) -> None:
        weights[f"{ours}.weight"] = tensors.take(f"transformer.{theirs}.weight", *shape)
        weights[f"{ours}.bias"] = tensors.take(f"transformer.{theirs}.bias", shape[0], absent=absent)

    for layer in range(cfg.n_layers):
        ours, theirs = f"blocks.{layer}", f"h.{layer}"
        take(f"{ours}.ln1", f"{theirs}.ln_1", width)
        take(f"{ours}.attn.qkv", f"{theirs}.attn.c_attn", 3 * width, width)
        take(f"{ours}.attn.out", f"{theirs}.attn.c_proj", width, width)
        take(f"{ours}.ln2", f"{theirs}.ln_2", width)
        take(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", 4 * width, width)
        take(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", width, 4 * width)
        for kind in ("weight", "bias"):
            parts = weights.pop(f"{ours}.attn.qkv.{kind}").chunk(3)
            weights.update({f"{ours}.attn.{letter}.{kind}": part for letter, part in zip("qkv", parts, strict=True)})
    take("ln_final", "ln_f", width)
    tied = not tensors.has("lm_head.weight")
    weights["unembed.weight"] = (
        weights["embed.weight"].clone() if tied else tensors.take("lm_head.weight", vocabulary, width)
    )
    tensors.check_all_taken()
    return weights


def _from_hooked(tensors: _Tensors, cfg: GPTConfig) -> dict[str, Tensor]:
    """Our weights from HookedTransformer's names, and `unembed.bias`."""
    width, heads, size = cfg.d_model, cfg.n_heads, cfg.d_model // cfg.n_heads
    folded = not any(name.endswith((".w", ".b")) for name in tensors.left)  # only layer norms have such names
    weights = {
        "embed.weight": tensors.take("embed.W_E", cfg.d_vocab, width),
        "pos_embed.weight": tensors.take("pos_embed.W_pos", cfg.n_ctx, width),
    }

    def norm(place: str) -> None:
        weights[f"{place}.weight"] = tensors.take(f"{place}.w", width, absent=1.0 if folded else None)
        weights[f"{place}.bias"] = tensors.take(f"{place}.b", width, absent=0.0 if folded else None)

    for layer in range(cfg.n_layers):
        block = f"blocks.{layer}"
        norm(f"{block}.ln1")
        for letter in "qkv":
            into_HDE = tensors.take(f"{block}.attn.W_{letter.upper()}", heads, width, size)
            bias_HE = tensors.take(f"{block}.attn.b_{letter.upper()}", heads, size)
            weights[f"{block}.attn.{letter}.weight"] = into_HDE.mT.reshape(width, width)
            weights[f"{block}.attn.{letter}.bias"] = bias_HE.reshape(width)
        out_HED = tensors.take(f"{block}.attn.W_O", heads, size, width)
        weights[f"{block}.attn.out.weight"] = out_HED.reshape(width, width).T
        weights[f"{block}.attn.out.bias"] = tensors.take(f"{block}.attn.b_O", width)
        norm(f"{block}.ln2")
        weights[f"{block}.mlp.up.weight"] = tensors.take(f"{block}.mlp.W_in", width, 4 * width).T
        weights[f"{block}.mlp.up.bias"] = tensors.take(f"{block}.mlp.b_in", 4 * width)
        weights[f"{block}.mlp.down.weight"] = tensors.take(f"{block}.mlp.W_out", 4 * width, width).T
        weights[f"{block}.mlp.down.bias"] = tensors.take(f"{block}.mlp.b_out", width)
    norm("ln_final")
    weights["unembed.weight"] = tensors.take("unembed.W_U", width, cfg.d_vocab).T
    weights["unembed.bias"] = tensors.take("unembed.b_U", cfg.d_vocab, absent=0.0)
    tensors.check_all_taken()
    return weights


def _game_model(
    cfg: GPTConfig, weights: dict[str, Tensor], game: str, alphabet: Sequence[str] | None, source: str
) -> GameModel:
    """A GPT of ours whose token ids are those of a game's alphabet, with its card."""
    played = load_game(game)
    tokenizer = tokenizer_of(played)
    wanted = tokenizer.alphabet(played)
    weights = _in_our_order(weights, wanted if alphabet is None else tuple(alphabet), wanted, played.spec, source)
    bias_V = weights.pop("unembed.bias")
    if bias_V.any():
        _move_bias(weights, bias_V)
    cfg = _config({**to_mapping(cfg), "d_vocab": len(wanted)}, cfg.act_fn, source)
    gpt = GPT(cfg)
    gpt.load_state_dict(weights)
    identity = {
        "game": played.spec,
        "tokenization": tokenizer.name,
        "alphabet": list(wanted),
        "gpt": to_mapping(cfg),
    }
    card = {**identity, "source": source, "hash": content_hash({**identity, "weights": _digest(gpt)})}
    return GameModel(gpt.eval(), card)


def _in_our_order(
    weights: dict[str, Tensor], theirs: tuple[str, ...], ours: tuple[str, ...], game: str, source: str
) -> dict[str, Tensor]:
    """The weights, `unembed.bias` among them, with a row for each token of our alphabet.

    A token that is not in their alphabet is embedded as zeros and never predicted. Raises RunError for an alphabet of
    another length, and for one with tokens that the game does not have.
    """
    embed_VD, unembed_VD = weights["embed.weight"], weights["unembed.weight"]
    bias_V = weights.get("unembed.bias", torch.zeros(len(unembed_VD)))
    if len(theirs) != len(embed_VD):
        raise RunError(
            f"{source} has {len(embed_VD)} tokens, but the alphabet has {len(theirs)}; "
            f"pass the game that it plays (not {game}?), or as alphabet what each of its ids stands for"
        )
    unknown = sorted(set(theirs) - set(ours))
    if unknown or len(set(theirs)) < len(theirs):
        fault = f"{unknown} are not tokens of {game}" if unknown else "it has a token twice"
        raise RunError(f"{source}: the alphabets differ: {fault}; give the alphabet of a model that plays {game}")
    row = {token: i for i, token in enumerate(theirs)}
    known_V = torch.tensor([token in row for token in ours])
    rows_V = torch.tensor([row.get(token, 0) for token in ours])
    return {
        **weights,
        "embed.weight": embed_VD[rows_V] * known_V[:, None],
        "unembed.weight": unembed_VD[rows_V] * known_V[:, None],
        "unembed.bias": torch.where(known_V, bias_V[rows_V], ABSENT_LOGIT),
    }


def _move_bias(weights: dict[str, Tensor], bias_V: Tensor) -> None:
    """Give the logits a bias by changing the last layer norm, in place.

    The norm's output before its own weight and bias sums to zero over the width. So a constant added to a row of the
    unembedding changes nothing as long as the norm's bias is 0; with a bias of 1 everywhere it adds width times the
    constant to that row's logit.
    """
    weight_D, norm_bias_D = weights["ln_final.weight"].double(), weights["ln_final.bias"].double()
    unembed_VD = weights["unembed.weight"].double()
    bias_V = bias_V.double() + unembed_VD @ norm_bias_D
    unembed_VD = unembed_VD * weight_D
    unembed_VD += (bias_V - unembed_VD.sum(1))[:, None] / len(weight_D)
    weights["unembed.weight"] = unembed_VD.float()
    weights["ln_final.weight"] = weights["ln_final.bias"] = torch.ones(len(weight_D))


def _digest(gpt: GPT) -> str:
    """A hash of all weights and their names."""
    digest = hashlib.sha256()
    for name, weight in gpt.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()
