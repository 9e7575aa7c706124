"""GPTs in the files of other libraries: they are recognised by content, read and written."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file

from boardgame_sae.files import RunError, read_json, write_json, writing
from boardgame_sae.model.exchange.exporters import hooked_weights, to_hugging_face, transformer_lens_config
from boardgame_sae.model.exchange.importers import from_nanogpt, from_transformer_lens, library_of
from boardgame_sae.model.game_model import CARD_FILE, WEIGHTS_FILE, GameModel

NANOGPT_FILE, TRANSFORMER_LENS_FILE, ALPHABET_FILE = "ckpt.pt", "hooked_transformer.json", "alphabet.json"


def write_transformer_lens(model: GameModel, folder: str | Path) -> None:
    """Write the weights by HookedTransformer's names (model.safetensors), the fields of its config, and the alphabet.

    On TransformerLens 3: `HookedTransformer(HookedTransformerConfig(**fields)).load_state_dict(weights, strict=False)`.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in hooked_weights(model.gpt)}
    with writing(Path(folder) / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    write_json(Path(folder) / TRANSFORMER_LENS_FILE, {**transformer_lens_config(model.gpt), "device": "cpu"})
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


def write_hugging_face(model: GameModel, folder: str | Path) -> None:
    """Write a folder that `GPT2LMHeadModel.from_pretrained` opens, with the alphabet beside the weights."""
    to_hugging_face(model.gpt).save_pretrained(folder)
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


WRITERS: dict[str, Callable[[GameModel, Path], None]] = {
    "transformer_lens": write_transformer_lens,
    "hugging_face": write_hugging_face,
}
"""The function that writes a GPT for each other library."""


def is_gpt(folder: str | Path) -> bool:
    """Whether a folder holds a GPT of ours."""
    path = Path(folder) / CARD_FILE
    try:
        return "gpt" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def open_foreign(source: str | Path, *, game: str | None = None, n_heads: int | None = None) -> GameModel | None:
    """The GPT in a file of nanoGPT's or TransformerLens's weights, recognised by their names; None if it is neither.

    source: the file, or a folder that nanoGPT or `write_transformer_lens` wrote. game: what the GPT plays (default:
    what the folder states, else chess for nanoGPT and Othello for TransformerLens, as published). n_heads: its
    attention heads, where nanoGPT's file does not state them.
    Raises RunError naming the file and what does not fit, or a path that does not exist.
    """
    path, settings = Path(source), {}
    if not path.exists():
        raise RunError(f"{path}: no such file or folder; give the weights, or the folder that holds them")
    if (path / NANOGPT_FILE).exists():
        path = path / NANOGPT_FILE
    if (path / TRANSFORMER_LENS_FILE).exists():
        settings = {**read_json(path / TRANSFORMER_LENS_FILE), **read_json(path / ALPHABET_FILE)}
        path = path / WEIGHTS_FILE
    library = library_of(path)
    if library == "nanoGPT":
        return from_nanogpt(path, game=game or "chess", n_heads=n_heads)
    if library == "TransformerLens":
        played = {"game": game or settings.get("game", "othello"), "alphabet": settings.get("alphabet")}
        return from_transformer_lens(path, act_fn=settings.get("act_fn"), **played)
    return None
