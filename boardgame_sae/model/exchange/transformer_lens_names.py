"""TransformerLens's two namings of a GPT's weights: native (version 4), as in torch, and HookedTransformer's.

native                  HookedTransformer
embed.weight            embed.W_E
blocks.0.attn.q.weight  blocks.0.attn.W_Q     heads on an axis of their own, inputs before outputs
blocks.0.mlp.in.bias    blocks.0.mlp.b_in
ln_final.weight         ln_final.w
"""

from collections.abc import Iterable, Iterator

from torch import Tensor


def hooked_names(native: Iterable[tuple[str, Tensor]], n_heads: int) -> Iterator[tuple[str, Tensor]]:
    """Weights by HookedTransformer's names and shapes, from those by native names."""
    for name, weight in native:
        *place, module, kind = name.split(".")
        prefix = ".".join(place)
        if place[-1:] == ["attn"]:
            letter = module.upper()
            if module == "o":
                value = weight.T.reshape(n_heads, -1, len(weight)) if kind == "weight" else weight
            elif kind == "weight":
                value = weight.reshape(n_heads, -1, weight.shape[1]).mT
            else:
                value = weight.reshape(n_heads, -1)
            yield f"{prefix}.{'W' if kind == 'weight' else 'b'}_{letter}", value
        elif place[-1:] == ["mlp"]:
            yield f"{prefix}.{'W' if kind == 'weight' else 'b'}_{module}", weight.T if kind == "weight" else weight
        elif module.startswith("ln"):
            yield f"{'.'.join([*place, module])}.{'w' if kind == 'weight' else 'b'}", weight
        elif module == "unembed":
            yield f"unembed.{'W_U' if kind == 'weight' else 'b_U'}", weight.T if kind == "weight" else weight
        else:
            yield f"{module}.{'W_E' if module == 'embed' else 'W_pos'}", weight
