"""A GPT of ours in TransformerLens and as Hugging Face's GPT-2: the same weights, the same logits."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from boardgame_sae.launch import needs
from boardgame_sae.model.exchange.transformer_lens_names import hooked_names
from boardgame_sae.model.gpt import GPT

ACT_FN = {"relu": "relu", "gelu": "gelu_new", "gelu_exact": "gelu"}
"""The name that both libraries give each of our activations."""


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


def native_weights(gpt: GPT) -> Iterator[tuple[str, Tensor]]:
    """A GPT's weights by the names of TransformerLens's native model."""
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


def hooked_weights(gpt: GPT) -> Iterator[tuple[str, Tensor]]:
    """A GPT's weights by HookedTransformer's names, in its shapes."""
    return hooked_names(native_weights(gpt), gpt.cfg.n_heads)


def transformer_lens_config(gpt: GPT) -> dict[str, Any]:
    """The fields of TransformerLens's config for this GPT."""
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


def to_transformer_lens(gpt: GPT) -> Any:
    """The model in TransformerLens: HookedTransformer where it exists (version 3), else TransformerBridge (4).

    Raises RunError where it is not installed, RuntimeError for a version that gives its weights other names.
    """
    fields = transformer_lens_config(gpt)
    with needs("transformer-lens", "a model for TransformerLens"):  # imported late: it takes seconds
        import transformer_lens

        library: Any = transformer_lens
    try:
        hooked, hooked_config = library.HookedTransformer, library.HookedTransformerConfig
    except ImportError:
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.model_bridge import TransformerBridge

        bridge: Any = TransformerBridge

        model: Any = bridge.boot_native(TransformerBridgeConfig(**fields))
        weights = dict(native_weights(gpt))
    else:
        model = hooked(hooked_config(**fields, device="cpu"))
        weights = dict(hooked_weights(gpt))
    loaded = model.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()}, strict=False)
    missing = [name for name in loaded.missing_keys if not name.endswith(("mask", "IGNORE"))]
    if missing or loaded.unexpected_keys:
        raise RuntimeError(f"TransformerLens gives its weights other names: {missing} {loaded.unexpected_keys}")
    return model.to(gpt.device).eval()


def to_hugging_face(gpt: GPT) -> Any:
    """The model as a GPT2LMHeadModel, whose unembedding is not tied to its embedding.

    Raises RunError where transformers is not installed.
    """
    with needs("hugging-face", "a model for Hugging Face"):  # imported late: it takes seconds
        from transformers import GPT2Config, GPT2LMHeadModel

    cfg = gpt.cfg
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
    model: Any = GPT2LMHeadModel(shape)
    model.load_state_dict({name: weight.detach().clone().contiguous() for name, weight in weights.items()})
    return model.to(gpt.device).eval()
