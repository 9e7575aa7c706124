"""Weights of other libraries, with nothing beside them that says what they should be."""

from pathlib import Path

from boardgame_sae.model.exchange.files import open_foreign
from robustness.entry import entry
from robustness.mutations.plain import JSON
from robustness.mutations.tensors import PT, SAFETENSORS
from robustness.targets.weights import use_gpt, use_sae


@entry("foreign SAE", "dictionary_learning", "ae.pt", by=PT)
@entry("foreign SAE", "dictionary_learning", "config.json", by=JSON)
@entry("foreign SAE", "sae_lens", "cfg.json", by=JSON)
@entry("foreign SAE", "sae_lens", "sae_weights.safetensors", by=SAFETENSORS)
@entry("foreign SAE", "sparsify", "cfg.json", by=JSON)
@entry("foreign SAE", "sparsify", "sae.safetensors", by=SAFETENSORS)
def sae(folder: Path) -> None:
    """As `score` and `import` open it."""
    use_sae(folder)


@entry("foreign GPT", "nanogpt", "ckpt.pt", by=PT)
@entry("foreign GPT", "nanogpt.safetensors", by=SAFETENSORS)
@entry("foreign GPT", "hooked.pth", by=PT)
@entry("foreign GPT", "transformer_lens", "model.safetensors", by=SAFETENSORS)
@entry("foreign GPT", "transformer_lens", "hooked_transformer.json", by=JSON)
@entry("foreign GPT", "transformer_lens", "alphabet.json", by=JSON)
def gpt(path: Path) -> None:
    """As `import` opens it."""
    game = "othello4" if path.name in ("hooked.pth",) else None
    model = open_foreign(path, game=game, n_heads=2)
    if model is None:
        use_sae(path)
    else:
        use_gpt(model)
