"""Published GPTs as game models: those of nanoGPT, othello_world's minGPT and TransformerLens, with equal logits.

    from_nanogpt("ckpt.pt")                          a GPT that reads chess, one token per character
    from_mingpt("gpt.ckpt", n_heads=8)               a GPT that reads Othello, one token per move
    from_transformer_lens("gpt.pth")                 the same, as a HookedTransformer
    from_transformer_lens(hooked_transformer)        a model that is in memory

Each takes a file or a mapping, in which `foreign_weights` finds the weights. Four things that other libraries' GPTs can
have and ours cannot are rewritten without changing a logit: absent biases become zeros, folded layer norms get weight 1
and bias 0, an unembedding bias moves into the last norm, and tokens that only fill up the vocabulary are cut
(`assembly`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from boardgame_sae.files import RunError
from boardgame_sae.model.exchange.assembly import Alphabet, assemble, config_of
from boardgame_sae.model.exchange.foreign_weights import (
    SUFFIXES,
    ForeignWeights,
    Library,
    foreign_weights,
    library_in,
    opened,
)
from boardgame_sae.model.exchange.transformer_lens_names import hooked_names
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPTConfig
from boardgame_sae.weights import shapes_of

EXACT_GELU = "gelu_exact"
"""Our name for the GELU of both libraries, x times the normal distribution function."""
ACT_FN = {"relu": "relu", "gelu": EXACT_GELU, "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu"}
"""TransformerLens's activations by our names."""
NORM_EPSILON = 1e-5
"""What our layer norms and nanoGPT's add to the variance."""
DEFAULT_SCALE = -1.0
"""The value in TransformerLens's config that means the usual attention scale, the square root of a head's width."""
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
    alphabet: Alphabet | None = None,
    n_heads: int | None = None,
) -> GameModel:
    """A GPT trained with nanoGPT, as one of ours.

    source: a checkpoint (`ckpt.pt`), a file of its weights, or a mapping, either of weights or like a checkpoint.
    game: what it plays, in the game's default tokenization.
    alphabet: what the model's token ids stand for, where that is not our alphabet in our order (which for chess is the
    published one), None for an id that stands for nothing; rows are permuted to ours.
    n_heads: attention heads, where the source does not state them (only checkpoints do).
    Raises RunError naming the file and what does not fit.
    """
    tensors = foreign_weights(source, "nanoGPT")
    vocabulary, width = tensors.shape("transformer.wte.weight")
    shape = {
        "n_layers": tensors.count(r"transformer\.h\.(\d+)\."),
        "d_model": width,
        "n_heads": tensors.heads(n_heads),
        "d_vocab": vocabulary,
        "n_ctx": tensors.shape("transformer.wpe.weight")[0],
    }
    names = {"n_layers": "n_layer", "d_model": "n_embd", "d_vocab": "vocab_size", "n_ctx": "block_size"}
    for ours, theirs in names.items():
        if tensors.settings.get(theirs, shape[ours]) != shape[ours]:
            raise RunError(
                f"{tensors.label}: its settings say {theirs} = {tensors.settings[theirs]}, its weights {shape[ours]}; "
                "the two belong to different models"
            )
    cfg = config_of(shape, EXACT_GELU, tensors.label)
    return assemble(cfg, _from_nanogpt(tensors, cfg), game, alphabet, f"nanoGPT: {tensors.label}")


def from_mingpt(
    source: str | Path | Mapping[str, Any],
    *,
    game: str = "othello",
    alphabet: Alphabet | None = None,
    n_heads: int | None = None,
) -> GameModel:
    """A GPT trained with the minGPT of othello_world (github.com/likenneth/othello_world), as one of ours.

    source: a checkpoint of its trainer (`.ckpt`), which is a state dict, or that state dict.
    game, alphabet: see `from_transformer_lens`, whose published Othello GPT was made from such a file.
    n_heads: attention heads, which the file does not state (the published ones have 8).
    Raises RunError naming the file and what does not fit.
    """
    tensors = foreign_weights(source, "minGPT")
    vocabulary, width = tensors.shape("tok_emb.weight")
    shape = {
        "n_layers": tensors.count(r"blocks\.(\d+)\."),
        "d_model": width,
        "n_heads": tensors.heads(n_heads),
        "d_vocab": vocabulary,
        "n_ctx": tensors.shape("pos_emb", 3)[1],
    }
    cfg = config_of(shape, EXACT_GELU, tensors.label)
    return assemble(cfg, _from_mingpt(tensors, cfg), game, alphabet, f"minGPT: {tensors.label}")


def from_transformer_lens(
    source: Any, *, game: str = "othello", alphabet: Alphabet | None = None, act_fn: str | None = None
) -> GameModel:
    """A HookedTransformer (or native TransformerBridge) of TransformerLens, as one of ours; its norms may be folded.

    source: the model itself, its state dict by HookedTransformer's names, or a file of that (`.pth`, `.pt`,
    `.safetensors`).
    game: what it plays, in the game's default tokenization. The published Othello GPT's ids are our alphabet's: 0 is no
    move, 1 to 60 are the squares row by row without the middle four. (Where its authors write a square as letter and
    number, the letter is the row.)
    alphabet: what the model's token ids stand for, where that is not our alphabet in our order; None for nothing.
    act_fn: the MLP's nonlinearity in TransformerLens's words (default: the model's own; for a state dict, which does
    not say, `gelu`, which the published models have).
    Raises RunError naming the file and what does not fit.
    """
    if hasattr(source, "state_dict") and hasattr(source, "cfg"):
        label = "the model of TransformerLens"
        weights, act_fn = source.state_dict(), _checked_act_fn(source.cfg, act_fn, label)
        if "embed.weight" in weights:
            weights = dict(hooked_names(weights.items(), source.cfg.n_heads))
        tensors = ForeignWeights(weights, label, "TransformerLens", {})
    else:
        tensors = foreign_weights(source, "TransformerLens")
    act_fn = act_fn or "gelu"
    if act_fn not in ACT_FN:
        raise RunError(f"{tensors.label}: its activation is {act_fn}; our GPT has {', '.join(ACT_FN)}")
    vocabulary, width = tensors.shape("embed.W_E")
    shape = {
        "n_layers": tensors.count(r"blocks\.(\d+)\."),
        "d_model": width,
        "n_heads": tensors.shape("blocks.0.attn.W_Q", 3)[0],
        "d_vocab": vocabulary,
        "n_ctx": tensors.shape("pos_embed.W_pos")[0],
    }
    cfg = config_of(shape, ACT_FN[act_fn], tensors.label)
    return assemble(cfg, _from_hooked(tensors, cfg), game, alphabet, f"TransformerLens: {tensors.label}")


def library_of(path: str | Path) -> Library | None:
    """The library whose GPT a file holds, recognised by its weights' names; None if none's, or not a file of weights.

    Raises RunError naming a file that is damaged or holds more than tensors and plain data.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        return None
    if path.suffix == ".safetensors":  # its header is enough
        return library_in(shapes_of(path, "give a file of weights"))
    return library_in(opened(path)[0])


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


def _from_nanogpt(tensors: ForeignWeights, cfg: GPTConfig) -> dict[str, Tensor]:
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


def _from_mingpt(tensors: ForeignWeights, cfg: GPTConfig) -> dict[str, Tensor]:
    """Our weights from the names of othello_world's minGPT."""
    width, vocabulary = cfg.d_model, cfg.d_vocab
    weights = {
        "embed.weight": tensors.take("tok_emb.weight", vocabulary, width),
        "pos_embed.weight": tensors.take("pos_emb", 1, cfg.n_ctx, width)[0],
        "unembed.weight": tensors.take("head.weight", vocabulary, width),
    }

    def take(ours: str, theirs: str, *shape: int) -> None:
        weights[f"{ours}.weight"] = tensors.take(f"{theirs}.weight", *shape)
        weights[f"{ours}.bias"] = tensors.take(f"{theirs}.bias", shape[0])

    for layer in range(cfg.n_layers):
        block = f"blocks.{layer}"
        take(f"{block}.ln1", f"{block}.ln1", width)
        take(f"{block}.ln2", f"{block}.ln2", width)
        for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "proj")):
            take(f"{block}.attn.{ours}", f"{block}.attn.{theirs}", width, width)
        take(f"{block}.mlp.up", f"{block}.mlp.0", 4 * width, width)
        take(f"{block}.mlp.down", f"{block}.mlp.2", width, 4 * width)
    take("ln_final", "ln_f", width)
    tensors.check_all_taken()
    return weights


def _from_hooked(tensors: ForeignWeights, cfg: GPTConfig) -> dict[str, Tensor]:
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
