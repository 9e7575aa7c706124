"""A GPT together with the game it plays, its alphabet and a card that says how it was made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.config import ConfigError, content_hash, from_mapping, naming, to_mapping
from boardgame_sae.files import RunError, read_json, write_json
from boardgame_sae.games import Game, load_game
from boardgame_sae.model.exchange.exporters import to_hugging_face, to_transformer_lens
from boardgame_sae.model.exchange.sharing import Card, Shared, local
from boardgame_sae.model.gpt import GPT, GPTConfig, weight_shapes
from boardgame_sae.notebook import table
from boardgame_sae.runs.integrity import verified
from boardgame_sae.transcripts.tokenization import Tokenizer, find_tokenizer
from boardgame_sae.weights import read_tensors, shapes_of, tensors_hash, write_tensors

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "cfg.json"
RESTORE = "restore it, or train the model again"
"""What to do about a damaged file of weights."""


def pick_device(device: str = "auto") -> torch.device:
    """The device with a name; `auto` is CUDA where there is one, else Apple's MPS, else the CPU.

    Raises ConfigError for a name that torch does not know, and for a device that is not there.
    """
    if device != "auto":
        try:
            named = torch.device(device)
        except RuntimeError:
            raise ConfigError(f"unknown device '{device}'; the devices are auto, cpu, cuda and mps") from None
        n_here = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        if (named.index or 0) >= n_here.get(named.type, math.inf):
            raise ConfigError(f"device '{device}': torch {torch.__version__} finds none here; give another, or auto")
        return named
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass(frozen=True, eq=False, repr=False)
class GameModel(Shared["GameModel"]):
    """A GPT that reads games."""

    gpt: GPT
    """A plain torch module; its intermediate values can be hooked by name."""
    card: dict[str, Any]
    """Plain data: game, tokenization, alphabet, gpt (its config), training, seed, hash."""

    @cached_property
    def game(self) -> Game:
        """The game it plays."""
        return load_game(self.card["game"])

    @property
    def alphabet(self) -> tuple[str, ...]:
        """What each token id stands for."""
        return tuple(self.card["alphabet"])

    @property
    def tokenization(self) -> str:
        """The name of its tokenization: `move`, `char`."""
        return self.card["tokenization"]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What makes the tokens it reads. Raises ConfigError when no tokenization of that name is registered."""
        return find_tokenizer(self.tokenization)

    @property
    def hash(self) -> str:
        """Hash of everything the model was made from."""
        return self.card["hash"]

    @property
    def content(self) -> str:
        """Hash of what it computes, its weights as they are now, and not of how it was made."""
        what = {key: self.card.get(key) for key in ("game", "tokenization", "alphabet", "gpt")}
        return content_hash([what, tensors_hash(self.gpt.state_dict())], 64)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and card (JSON) into a folder. Raises RunError when the disk is full."""
        folder = Path(folder)
        write_tensors(folder / WEIGHTS_FILE, self.gpt.state_dict())
        write_json(folder / CARD_FILE, self.card)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> "GameModel":
        """Read a model's folder, here or on the hub (`hf:owner/name`).

        Raises RunError naming the file that is missing or changed, and the field or tensor that is missing or wrong.
        """
        folder = local(folder)
        verified(folder)
        card, path = read_card(folder / CARD_FILE), folder / WEIGHTS_FILE
        cfg = from_mapping(GPTConfig, card["gpt"], str(folder / CARD_FILE))
        _check_shapes(path, cfg)  # from its header, before anything of a size that the card states is made
        gpt = GPT(cfg)
        gpt.load_state_dict(read_tensors(path, RESTORE))
        return cls(gpt.to(pick_device(device)).eval(), card)

    def describe(self) -> Card:
        """What its card says when it is shared."""
        gpt, corpus, training = self.gpt.cfg, self.card.get("corpus", {}), self.card.get("training", {})
        facts = [
            ("game", self.card["game"]),
            ("layers, width, heads", f"{gpt.n_layers}, {gpt.d_model}, {gpt.n_heads}; {gpt.act_fn}"),
            ("parameters", f"{self.gpt.n_parameters:,}"),
            ("tokens", f"one per {self.tokenizer.unit}; alphabet of {gpt.d_vocab}, context {gpt.n_ctx}"),
            ("games played by", ", ".join(corpus.get("players", ()))),
            ("games", corpus.get("n_games")),
            *((name, training.get(name)) for name in ("n_steps", "batch_size", "seed")),
            ("hash", self.hash),
        ]
        tags = ["gpt", "board-games", self.game.name]
        return Card(f"A GPT that plays {self.game.name}", tags, facts, 'model = bgs.GameModel.load("{name}")')

    def random_twin(self, seed: int = 0) -> "GameModel":
        """The same GPT with random weights: the control that has learned nothing."""
        gpt = GPT(self.gpt.cfg, seed=seed).to(self.gpt.device).eval()
        made_of = {"random_weights": seed, "gpt": to_mapping(self.gpt.cfg), "of": self.hash}
        return replace(self, gpt=gpt, card={**self.card, "training": made_of, "hash": content_hash(made_of)})

    def encode(self, text: str | Sequence[str]) -> Tensor:
        """Token ids (B, L) of a game's text, or of several games of one length.

        Raises IllegalMove when a game cannot be played, ValueError for lengths that differ.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise ValueError("there are no games; give at least one")
        tokens = self.tokenizer.encode(self.game, self.game.record(texts))
        lengths = {int(length) for length in np.diff(tokens.offsets)}
        if len(lengths) != 1:
            raise ValueError(f"games of {sorted(lengths)} tokens do not go into one batch; give games of one length")
        return torch.from_numpy(tokens.ids.astype("int64")).view(len(texts), -1).to(self.gpt.device)

    def to_transformer_lens(self) -> Any:
        """The same model in TransformerLens: HookedTransformer on version 3, TransformerBridge on 4.

        Raises RuntimeError for a version that gives its weights other names.
        """
        return to_transformer_lens(self.gpt)

    def to_hugging_face(self) -> Any:
        """The same model as a Hugging Face GPT2LMHeadModel."""
        return to_hugging_face(self.gpt)

    def __repr__(self) -> str:
        shape = self.gpt.cfg
        return f"GameModel({self.card['game']}, {shape.n_layers} layers of width {shape.d_model}, {self.card['hash']})"

    def _repr_html_(self) -> str:
        shape = [(name, value) for name, value in self.card["gpt"].items()]
        trained = [(name, self.card[name]) for name in ("game", "tokenization", "hash")]
        return table("GPT", [*trained, *shape, ("parameters", f"{self.gpt.n_parameters:,}")])


def read_card(path: Path) -> dict[str, Any]:
    """A GPT's card. Raises RunError naming the file and the field that is missing or of another type."""
    card = read_json(path)
    if not isinstance(card, dict) or "gpt" not in card:
        raise RunError(f"{path}: not a GPT's card; give the folder of a `train-gpt` run")
    types = {"game": str, "tokenization": str, "hash": str, "alphabet": list, "gpt": dict}
    wrong = [
        f"'{name}' is {card.get(name)!r:.60}" for name, kind in types.items() if not isinstance(card.get(name), kind)
    ]
    if not wrong and not all(isinstance(token, str) for token in card["alphabet"]):
        wrong = ["'alphabet' holds something that is not text"]
    if not wrong and len(card["alphabet"]) != card["gpt"].get("d_vocab"):
        wrong = [f"'alphabet' has {len(card['alphabet'])} tokens, 'gpt' {card['gpt'].get('d_vocab')!r:.60}"]
    if wrong:
        raise RunError(f"{path}: damaged: {', '.join(wrong)}; restore it, or train the model again")
    with naming(str(path)):
        load_game(card["game"])
        find_tokenizer(card["tokenization"])
    return card


def _check_shapes(path: Path, cfg: GPTConfig) -> None:
    """Raise RunError naming the first weight that the file lacks, has in another shape, or has too much."""
    shapes, known = shapes_of(path, RESTORE), set[str]()
    for name, shape in weight_shapes(cfg):
        if shapes.get(name) != shape:
            has = f"is {shapes[name]}" if name in shapes else "is missing"
            raise RunError(f"{path}: {name} {has}, by {CARD_FILE} it is {shape}; the two belong to different models")
        known.add(name)
    if unknown := sorted(shapes.keys() - known):
        raise RunError(
            f"{path}: has {unknown[0]}, which a GPT by {CARD_FILE} has not; the two belong to different models"
        )
