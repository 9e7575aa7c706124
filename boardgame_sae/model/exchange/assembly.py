"""A GPT of ours from another library's weights by our names, with a row for each token of the game's alphabet."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from boardgame_sae.config import ConfigError, content_hash, from_mapping, naming, to_mapping
from boardgame_sae.files import RunError
from boardgame_sae.games import Game, load_game
from boardgame_sae.model.exchange import padding
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.transcripts.tokenization import Tokenizer, tokenizer_of

Alphabet: TypeAlias = Sequence[str | None]
"""What token ids stand for, in their order; None: nothing."""
ABSENT_LOGIT = -1e4
"""The logit of a token that the imported model does not have, so that it is never predicted."""


def config_of(shape: Mapping[str, int], act_fn: str, label: str) -> GPTConfig:
    """The config of our GPT of a shape. Raises RunError naming the file whose model ours cannot be."""
    try:
        return from_mapping(GPTConfig, {**shape, "act_fn": act_fn}, label)
    except (ConfigError, ValueError) as error:
        raise RunError(f"{label}: our GPT cannot have its shape ({error})") from error


def assemble(
    cfg: GPTConfig, weights: dict[str, Tensor], game: str, alphabet: Alphabet | None, source: str
) -> GameModel:
    """A GPT of ours whose token ids are those of a game's alphabet, with its card.

    alphabet: what the ids of the weights stand for (default: our alphabet). If it is shorter than their vocabulary, the
    further ids must be padding.
    Raises RunError naming the source whose tokens are not the game's.
    """
    with naming(source):
        played = load_game(game)
    tokenizer = tokenizer_of(played)
    wanted = tokenizer.alphabet(played)
    theirs = _padded(wanted if alphabet is None else alphabet, cfg, weights, played, tokenizer, source)
    weights = _in_our_order(weights, theirs, wanted, played.spec, source)
    bias_V = weights.pop("unembed.bias")
    if bias_V.any():
        _move_bias(weights, bias_V)
    cfg = config_of({**to_mapping(cfg), "d_vocab": len(wanted)}, cfg.act_fn, source)
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


def _padded(
    alphabet: Alphabet, cfg: GPTConfig, weights: Mapping[str, Tensor], game: Game, tokenizer: Tokenizer, source: str
) -> Alphabet:
    """An alphabet with None for each further id of a vocabulary, which must be padding.

    Raises RunError for an alphabet that is longer than the vocabulary, and for further ids that are used.
    """
    n_more = cfg.d_vocab - len(alphabet)
    if n_more == 0:
        return alphabet
    fault = f"{source} has {cfg.d_vocab} tokens, but the alphabet has {len(alphabet)}"
    if n_more > 0:
        theirs, further_V = [*alphabet, *[None] * n_more], torch.arange(cfg.d_vocab) >= len(alphabet)
        if padding.untrained(weights["embed.weight"], further_V):
            return theirs
        games = padding.random_games(game, tokenizer, theirs, cfg.n_ctx)
        share = padding.share_of(further_V, cfg, weights, games) if games else 1.0
        if share < padding.NEVER_PREDICTED:
            return theirs
        fault += f", and the others get {share:.1%} of the probability, so they are no padding" if games else ""
    raise RunError(
        f"{fault}; pass the game that it plays (not {game.spec}?), or as alphabet what each of its ids stands for "
        "(None for nothing)"
    )


def _in_our_order(
    weights: dict[str, Tensor], theirs: Alphabet, ours: tuple[str, ...], game: str, source: str
) -> dict[str, Tensor]:
    """The weights, `unembed.bias` among them, with a row for each token of our alphabet.

    A token that is not in their alphabet is embedded as zeros and never predicted. Raises RunError for an alphabet with
    a token twice, or with one that the game does not have.
    """
    embed_VD, unembed_VD = weights["embed.weight"], weights["unembed.weight"]
    bias_V = weights.get("unembed.bias", torch.zeros(len(unembed_VD)))
    tokens = [token for token in theirs if token is not None]
    unknown = sorted(set(tokens) - set(ours))
    if unknown or len(set(tokens)) < len(tokens):
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
