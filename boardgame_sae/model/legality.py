"""How often a model's moves are legal, and its loss beside the floor that perfect play of the rules would reach."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import config
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.transcripts.corpus import Corpus


@config
class Legality:
    """What `legality` measured."""

    legal_rate: float
    """Share of positions at which the most probable token continues a legal game."""
    legal_mass: float
    """Mean probability the model gives to the tokens that do."""
    loss: float
    """Mean cross-entropy of the tokens that were played, in nats."""
    loss_floor: float
    """The same for a player who knows the rules and nothing else: mean log of the number of legal moves."""
    legal_rate_ply: tuple[float, ...]
    """legal_rate by the ply that is being predicted, from the second (of characters, from the first)."""
    n_positions: int
    """Predictions measured."""
    n_games: int
    """Games they come from."""
    split: str
    """The split those games are in."""


@torch.no_grad()
def legality(
    model: GameModel, corpus: Corpus, *, split: str = "test", n_games: int | None = None, batch_size: int = 256
) -> Legality:
    """Measure a model's legality and loss on held-out games.

    n_games: how many (default 1,000, or all if there are fewer). The loss floor is that of random play: the cross-
    entropy of choosing uniformly among the legal continuations, whatever the tokens are.
    Raises ValueError when the model and the corpus do not share an alphabet.
    """
    if model.alphabet != corpus.alphabet:
        raise ValueError(f"{corpus.path}: its alphabet is not the model's; give a corpus of the model's own game")
    games_B = corpus.games(split, n_games)[: 1000 if n_games is None else None]
    if len(games_B) == 0:
        raise ValueError(f"{corpus.path}: no {split} games; generate more, or with a larger {split}_fraction")
    hits, masses, losses, floors, plies = [], [], [], [], []
    for start in range(0, len(games_B), batch_size):
        part_B = games_B[start : start + batch_size]
        tokens_BL, plies_BL = corpus.rows(part_B)
        logits_BLV = model.gpt(torch.from_numpy(tokens_BL[:, :-1]).to(model.gpt.device)).float().cpu()
        legal_BLV, floor_BL = (torch.from_numpy(x) for x in continuations(corpus, part_B, tokens_BL, plies_BL))
        counted_BL = torch.from_numpy(tokens_BL[:, 1:] != 0)
        hits.append(_pick(legal_BLV, logits_BLV.argmax(-1))[counted_BL])
        masses.append((logits_BLV.softmax(-1) * legal_BLV).sum(-1)[counted_BL])
        losses.append(_losses(logits_BLV, torch.from_numpy(tokens_BL[:, 1:]))[counted_BL])
        floors.append(floor_BL[counted_BL])
        plies.append(torch.from_numpy(plies_BL[:, :-1] + 1)[counted_BL])
    hit_N, ply_N = torch.cat(hits), torch.cat(plies)
    by_ply = [float(hit_N[ply_N == ply].float().mean()) for ply in ply_N.unique()]
    return Legality(
        legal_rate=float(hit_N.float().mean()),
        legal_mass=float(torch.cat(masses).double().mean()),
        loss=float(torch.cat(losses).double().mean()),
        loss_floor=float(torch.cat(floors).double().mean()),
        legal_rate_ply=tuple(round(rate, 6) for rate in by_ply),
        n_positions=len(hit_N),
        n_games=len(games_B),
        split=split,
    )


def _pick(table_BLV: Tensor, index_BL: Tensor) -> Tensor:
    return table_BLV.gather(-1, index_BL[..., None])[..., 0]


def _losses(logits_BLV: Tensor, targets_BL: Tensor) -> Tensor:
    return F.cross_entropy(logits_BLV.transpose(1, 2), targets_BL, reduction="none")


def continuations(
    corpus: Corpus, games_B: np.ndarray, tokens_BL: np.ndarray, plies_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """After each token a GPT reads: which tokens can come next in a legal game, and the floor of the loss.

    Returns bool (B, L-1, V) and float64 (B, L-1) nats: how surprising the token that did come is to a player who
    draws uniformly from the legal moves.
    """
    game, n_tokens = corpus.game, tokens_BL.shape[1] - 1
    boards = game.boards(corpus.record(games_B))
    game_N, token_N = np.nonzero(plies_BL[:, :-1] >= 0)
    legal_NM = game.legal_tokens(boards[boards.rows(game_N, plies_BL[game_N, token_N])])
    if corpus.tokenization == "move":
        legal_NV, floor_N = legal_NM, np.log(np.maximum(legal_NM.sum(1), 1))
    else:
        legal_NV, floor_N = _character_continuations(corpus, legal_NM, tokens_BL, game_N, token_N)
    legal_BLV = np.zeros((len(games_B), n_tokens, len(corpus.alphabet)), dtype=bool)
    floor_BL = np.zeros((len(games_B), n_tokens))
    legal_BLV[game_N, token_N], floor_BL[game_N, token_N] = legal_NV, floor_N
    return legal_BLV, floor_BL


def _character_continuations(
    corpus: Corpus,
    legal_NM: np.ndarray,
    tokens_BL: np.ndarray,
    game_N: np.ndarray,
    token_N: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Characters that can follow the part of a move already written, and the surprise of the one that did."""
    width, ids = corpus.game.characters_per_ply, {character: i for i, character in enumerate(corpus.alphabet)}
    spelling_MW = np.zeros((legal_NM.shape[1], width), dtype=np.int64)
    for move, text in enumerate(corpus.game.alphabet):
        if text:
            spelling_MW[move] = [ids[character] for character in text]
    possible_NM = legal_NM.copy()
    written_N = (token_N + 1) % width
    for back in range(1, width):
        typed = written_N >= back
        place_N = np.where(typed, token_N - (back - 1), 0)
        letter_N = tokens_BL[game_N, place_N]
        column_N = np.where(typed, written_N - back, 0)
        fits_NM = letter_N[:, None] == spelling_MW[:, column_N].T
        possible_NM &= fits_NM | ~typed[:, None]
    next_NM = spelling_MW[:, written_N].T
    legal_NV = np.zeros((len(game_N), len(corpus.alphabet)), dtype=bool)
    row, move = np.nonzero(possible_NM)
    legal_NV[row, next_NM[row, move]] = True
    came_N = tokens_BL[game_N, np.minimum(token_N + 1, tokens_BL.shape[1] - 1)]
    matching_N = (possible_NM & (next_NM == came_N[:, None])).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise_N = np.log(possible_NM.sum(1)) - np.log(matching_N)
    return legal_NV, np.where(np.isfinite(surprise_N), surprise_N, math.nan)
