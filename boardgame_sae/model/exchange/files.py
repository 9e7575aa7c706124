"""GPTs in the files of other libraries: they are recognised by content, read and written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from boardgame_sae.config import record
from boardgame_sae.files import RunError, read_json, read_record, write_json
from boardgame_sae.model.exchange.exporters import hooked_weights, to_hugging_face, transformer_lens_config
from boardgame_sae.model.exchange.foreign_weights import SUFFIXES
from boardgame_sae.model.exchange.importers import from_mingpt, from_nanogpt, from_transformer_lens, library_of
from boardgame_sae.model.game_model import CARD_FILE, WEIGHTS_FILE, GameModel
from boardgame_sae.weights import write_tensors

TRANSFORMER_LENS_FILE, ALPHABET_FILE = "hooked_transformer.json", "alphabet.json"


def write_transformer_lens(model: GameModel, folder: str | Path) -> None:
    """Write the weights by HookedTransformer's names (model.safetensors), the fields of its config, and the alphabet.

    On TransformerLens 3: `HookedTransformer(HookedTransformerConfig(**fields)).load_state_dict(weights, strict=False)`.
    """
    write_tensors(Path(folder) / WEIGHTS_FILE, dict(hooked_weights(model.gpt)))
    write_json(Path(folder) / TRANSFORMER_LENS_FILE, {**transformer_lens_config(model.gpt), "device": "cpu"})
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


def write_hugging_face(model: GameModel, folder: str | Path) -> None:
    """Write a folder that `GPT2LMHeadModel.from_pretrained` opens, with the alphabet beside the weights."""
    to_hugging_face(model.gpt).save_pretrained(folder)
    write_json(Path(folder) / ALPHABET_FILE, {"game": model.card["game"], "alphabet": list(model.alphabet)})


@record
class ConfigRecord:
    """What is read of hooked_transformer.json; the rest is in the shapes of the weights."""

    act_fn: str


@record
class AlphabetRecord:
    """alphabet.json."""

    game: str
    alphabet: tuple[str | None, ...] | None = None
    """What each token id stands for, None where it stands for nothing; by default as in our own alphabet."""


WRITERS: dict[str, Callable[[GameModel, Path], None]] = {
    "transformer_lens": write_transformer_lens,
    "hugging_face": write_hugging_face,
}
"""The function that writes a GPT for each other library."""


def is_gpt(folder: str | Path) -> bool:
    """Whether a folder holds a GPT of ours."""
    try:
        return "gpt" in read_json(Path(folder) / CARD_FILE)
    except (RunError, TypeError):
        return False


def open_foreign(source: str | Path, *, game: str | None = None, n_heads: int | None = None) -> GameModel | None:
    """The GPT in a file of nanoGPT's, minGPT's or TransformerLens's weights, recognised by their names; else None.

    source: the file, a folder that holds it, or a folder that holds such a folder. game: what the GPT plays (default:
    what the folder states, else chess for nanoGPT and Othello for the others, as published). n_heads: its attention
    heads, where the file does not state them.
    Raises RunError naming the file and what does not fit, a path that does not exist, or a folder of several GPTs.
    """
    path = Path(source)
    if not path.exists():
        raise RunError(f"{path}: no such file or folder; give the weights, or the folder that holds them")
    found = [(file, library) for file in _files(path) if (library := library_of(file)) is not None]
    if len(found) > 1:
        raise RunError(f"{path}: holds several GPTs, {', '.join(str(file) for file, _ in found)}; give one of them")
    if not found:
        return None
    file, library = found[0]
    if library == "TransformerLens":
        said = _said_beside(file)
        played: dict[str, Any] = {"game": game or said.get("game", "othello"), "alphabet": said.get("alphabet")}
        return from_transformer_lens(file, act_fn=said.get("act_fn"), **played)
    if library == "minGPT":
        return from_mingpt(file, game=game or "othello", n_heads=n_heads)
    return from_nanogpt(file, game=game or "chess", n_heads=n_heads)


def _files(path: Path) -> list[Path]:
    """The files that may hold the weights: the path itself, those in the folder, or in the only folder in it that has
    any: where several do, as in a sweep's, it is not said which."""
    if path.is_file():
        return [path]
    below = [files for folder in path.iterdir() if folder.is_dir() and (files := _weights_in(folder))]
    return _weights_in(path) or (below[0] if len(below) == 1 else [])


def _weights_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _said_beside(file: Path) -> dict[str, Any]:
    """What `write_transformer_lens` wrote beside a file of weights; nothing where another wrote that."""
    if not (file.parent / TRANSFORMER_LENS_FILE).exists():
        return {}
    fix = "write the GPT again"
    config = read_record(ConfigRecord, file.parent / TRANSFORMER_LENS_FILE, fix)
    about = read_record(AlphabetRecord, file.parent / ALPHABET_FILE, fix)
    return {"act_fn": config.act_fn, "game": about.game, "alphabet": about.alphabet}
