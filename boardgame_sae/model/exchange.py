"""GPTs to and from other libraries: the same weights, the same logits.

One of ours goes to TransformerLens and to Hugging Face's GPT-2, in memory or as a folder of files; published ones come
from TransformerLens and nanoGPT (module `foreign`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from boardgame_sae.model.foreign import from_nanogpt, from_transformer_lens, library_of
from boardgame_sae.model.game_model import CARD_FILE, WEIGHTS_FILE, GameModel
from boardgame_sae.model.gpt import GPT
from boardgame_sae.model.transformer_lens_names import hooked_names
from boardgame_sae.runs import RunError, read_json, write_json, writing

__all__ = [
    "from_nanogpt",
    "from_transformer_lens",
    "is_gpt",
    "open_foreign",
    "to_hugging_face",
    "to_transformer_lens",
    "write_hugging_face",
    "write_transformer_lens",
]

NANOGPT_FILE = "ckpt.pt"
TRANSFORMER_LENS_FILE, ALPHABET_FILE = "hooked_transformer.json", "alphabet.json"

ACT_FN = {"relu": "relu", "gelu": "gelu_new", "gelu_exact": "gelu"}
"""Our activations by the name that both libraries give them."""


def _parts(gpt: GPT, layer: int) -> dict[str, Any]:
    """The linear and norm modules of a block, by the names of TransformerLens's native model."""
    block: Any = gpt.blocks[layer]
    attn, mlp = block.attn, block.mlp
    return {
        "ln1": block.ln1,
        "attn.q": attn.q,
        "attn.k": attn.k,
        "attn.v": attn.v,
        "attn.o": attn.out,
        "ln2": block.ln2,
        "mlp.in": mlp.up,
        "mlp.out": mlp.down,
    }


def _native_weights(gpt: GPT) -> Iterator[tuple[str, Tensor]]:
    yield "embed.weight", gpt.embed.weight
    yield "pos_embed.weight", gpt.pos_embed.weight
    for layer in range(gpt.cfg.n_layers):
        for name, module in _parts(gpt, layer).items():
            yield f"blocks.{layer}.{name}.weight", module.weight
            yield f"blocks.{layer}.{name}.bias", module.bias
    yield "ln_final.weight", gpt.ln_final.weight
    yield "ln_final.bias", gpt.ln_final.bias
    yield "unembed.weight", gpt.unembed.weight
    yield "unembed.bias", torch.zeros(gpt.cfg.d_vocab, device=gpt.device)


def _hooked_weights(gpt: GPT) -> Iterator[tuple[str, Tensor]]:
    return hooked_names(_native_weights(gpt), gpt.cfg.n_heads)


def _shape(gpt: GPT) -> dict[str, Any]:
    """The fields of TransformerLens's config."""
    cfg = gpt.cfg
    return {
        "n_layers": cfg.n_layers,
        "d_model": cfg.d_model,
        "n_heads": cfg.n_heads,
        "d_head": cfg.d_model // cfg.n_heads,
        "d_mlp": 4 * cfg.d_model,
        "d_vocab": cfg.d_vocab,
        "n_ctx": cfg.n_ctx,
        "act_fn": ACT_FN[cfg.act_fn],
        "normalization_type": "LN",
    }


def to_transformer_lens(model: GameModel) -> Any:
    """The model in TransformerLens: HookedTransformer where it exists (version 3), else TransformerBridge (4)."""
    fields = _shape(model.gpt)
    try:
        import transformer_lens

        library: Any = transformer_lens
        hooked, hooked_config = library.HookedTransformer, library.HookedTransformerConfig
    except ImportError:
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.model_bridge import TransformerBridge

        bridge: Any = TransformerBridge

        found: Any = bridge.boot_native(TransformerBridgeConfig(**fields))
        weights = dict(_native_weights(model.gpt))
    else:
        found = hooked(hooked_config(**fields, device="cpu"))
        weights = dict(_hooked_weights(model.gpt))
    missing = found.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()}, strict=False)
    wanted = [name for name in missing.missing_keys if not name.endswith(("mask", "IGNORE"))]
    if wanted or missing.unexpected_keys:
        raise RuntimeError(f"TransformerLens names its weights otherwise: {wanted} {missing.unexpected_keys}")
    return found.to(model.gpt.device).eval()


def to_hugging_face(model: GameModel) -> Any:
    """The model as a GPT2LMHeadModel, its output not tied to its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt, cfg = model.gpt, model.gpt.cfg
    shape = GPT2Config(
        vocab_size=cfg.d_vocab,
        n_positions=cfg.n_ctx,
        n_embd=cfg.d_model,
        n_layer=cfg.n_layers,
        n_head=cfg.n_heads,
        activation_function=ACT_FN[cfg.act_fn],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    weights = {
        "transformer.wte.weight": gpt.embed.weight,
        "transformer.wpe.weight": gpt.pos_embed.weight,
        "transformer.ln_f.weight": gpt.ln_final.weight,
        "transformer.ln_f.bias": gpt.ln_final.bias,
        "lm_head.weight": gpt.unembed.weight,
    }
    for layer in range(cfg.n_layers):
        parts, prefix = _parts(gpt, layer), f"transformer.h.{layer}"
        qkv = [parts[f"attn.{letter}"] for letter in "qkv"]
        weights[f"{prefix}.attn.c_attn.weight"] = torch.cat([part.weight for part in qkv]).T
        weights[f"{prefix}.attn.c_attn.bias"] = torch.cat([part.bias for part in qkv])
        for ours, theirs in (("attn.o", "attn.c_proj"), ("mlp.in", "mlp.c_fc"), ("mlp.out", "mlp.c_proj")):
            weights[f"{prefix}.{theirs}.weight"] = parts[ours].weight.T
            weights[f"{prefix}.{theirs}.bias"] = parts[ours].bias
        for ours, theirs in (("ln1", "ln_1"), ("ln2", "ln_2")):
            weights[f"{prefix}.{theirs}.weight"] = parts[ours].weight
            weights[f"{prefix}.{theirs}.bias"] = parts[ours].bias
    found: Any = GPT2LMHeadModel(shape)
    found.load_state_dict({name: weight.detach().clone().contiguous() for name, weight in weights.items()})
    return found.to(gpt.device).eval()


def write_transformer_lens(model: GameModel, folder: str | Path) -> None:
    """Write the weights by HookedTransformer's names (model.safetensors), and its config's fields, with the alphabet.

    On TransformerLens 3: `HookedTransformer(HookedTransformerConfig(**fields)).load_state_dict(weights, strict=False)`.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in _hooked_weights(model.gpt)}
    with writing(Path(folder) / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    write_json(Path(folder) / TRANSFORMER_LENS_FILE, {**_shape(model.gpt), "device": "cpu"})
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


def write_hugging_face(model: GameModel, folder: str | Path) -> None:
    """Write a folder that `GPT2LMHeadModel.from_pretrained` opens, with the alphabet beside."""
    to_hugging_face(model).save_pretrained(folder)
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


def is_gpt(folder: str | Path) -> bool:
    """Whether a folder holds a GPT of ours."""
    path = Path(folder) / CARD_FILE
    try:
        return "gpt" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def open_foreign(source: str | Path, *, game: str | None = None, n_heads: int | None = None) -> GameModel | None:
    """The GPT in a file of nanoGPT's or TransformerLens's weights, recognised by their names; None if it is of neither.

    source: the file, or a folder of nanoGPT's or one that `write_transformer_lens` wrote. game: what it plays, by
    default chess of nanoGPT's and Othello of TransformerLens's (or what the folder says). n_heads: where nanoGPT's file
    does not say.
    Raises RunError naming the file and what does not fit, or that there is none.
    """
    path, known = Path(source), {}
    if not path.exists():
        raise RunError(f"{path}: no such file or folder; give the weights, or the folder that holds them")
    if (path / NANOGPT_FILE).exists():
        path = path / NANOGPT_FILE
    if (path / TRANSFORMER_LENS_FILE).exists():
        known = {**read_json(path / TRANSFORMER_LENS_FILE), **read_json(path / ALPHABET_FILE)}
        path = path / WEIGHTS_FILE
    library = library_of(path)
    if library == "nanoGPT":
        return from_nanogpt(path, game=game or "chess", n_heads=n_heads)
    if library == "TransformerLens":
        own = {"game": game or known.get("game", "othello"), "alphabet": known.get("alphabet")}
        return from_transformer_lens(path, act_fn=known.get("act_fn"), **own)
    return None
