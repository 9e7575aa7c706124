"""How often a model's moves are legal, and its loss beside the floor that perfect play of the rules would reach.

After each ply that was played, a model of moves is asked for its next token. A model of characters is asked to write
its next move there, once greedily and once by drawing, and the game judges what it wrote.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import config, seed_for
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.sampling import STOPPED, KeyValueCache, games_per_pass
from boardgame_sae.resampling import bootstrap_interval
from boardgame_sae.transcripts.corpus import Corpus

LEGALITY_FILE = "legality.json"
"""What a GPT's own training found of its legality; a GPT from elsewhere has none."""
KINDS = ("legal", "ambiguous", "illegal", "unparsable")
"""What `Game.judge` says of a written move."""


@config
class Legality:
    """What `legality` measured."""

    legal_rate: float
    """Share of positions at which the most probable move (of characters: the one written greedily) is legal."""
    interval: tuple[float, float]
    """95% interval of legal_rate, by resampling games."""
    legal_mass: float
    """Mean probability of the legal moves (of characters: the share of drawn moves that are legal)."""
    kinds: dict[str, dict[str, float]]
    """What share of moves is legal, ambiguous, illegal or unparsable: of `greedy` moves and of `sampled` ones."""
    loss: float
    """Mean cross-entropy of the tokens that were played, in nats."""
    loss_floor: float | None
    """The same for a player who knows the rules and draws uniformly, where all players did; else none is known."""
    legal_rate_ply: tuple[float | None, ...]
    """legal_rate by the ply that is predicted, from the second (the first, where text comes before it)."""
    legal_rate_phase: dict[str, float]
    """legal_rate by the phase of the game."""
    n_positions: int
    """Positions measured."""
    n_games: int
    """Games they come from."""
    split: str
    """The split those games are in."""


@dataclass
class _Found:
    """What was seen of some games: at N positions, and of M predicted tokens."""

    game_N: list[int] = field(default_factory=list)
    ply_N: list[int] = field(default_factory=list)
    """The ply that is predicted, the first being 1."""
    phase_N: list[str] = field(default_factory=list)
    greedy_N: list[str] = field(default_factory=list)
    """What the most probable move is."""
    sampled_NC: list[Tensor] = field(default_factory=list)
    """The probability of each of KINDS, or 1 for that of the move that was drawn; in parts."""
    losses_M: list[Tensor] = field(default_factory=list)
    """In parts."""
    floor: float = 0.0
    """The sum over all M tokens."""
    plies: set[int] = field(default_factory=set)
    """The plies that could have been asked for."""

    def add(self, game: int, plies_before: Sequence[int], phases: Sequence[str]) -> None:
        """Positions of a game that are asked for, each by how many plies came before it."""
        self.game_N += [game] * len(plies_before)
        self.ply_N += [ply + 1 for ply in plies_before]
        self.phase_N += phases


def legality(
    model: GameModel,
    corpus: Corpus,
    *,
    split: str = "test",
    n_games: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    positions_a_game: int | None = None,
) -> Legality:
    """Measure a model's legality and loss on held-out games.

    n_games: how many (default 1,000, or all if there are fewer). positions_a_game: ask for a move at so many positions
    of a game at most, evenly spread (default all); the loss counts every token. seed: of the positions, of the moves
    that are drawn, and of the resamples behind the interval. Neither the batch size nor other games change a game's.
    Raises ValueError when the model and the corpus do not share an alphabet, or nothing is there to measure.
    """
    if model.alphabet != corpus.alphabet:
        raise ValueError(f"{corpus.path}: its alphabet is not the model's; give a corpus of the model's own game")
    games_B = corpus.games(split, n_games)[: 1000 if n_games is None else None]
    if len(games_B) == 0:
        raise ValueError(f"{corpus.path}: no {split} games; generate more, or with a larger {split}_fraction")
    ask, size = _ask_for_moves, batch_size
    if not corpus.tokenizer.is_whole_move:
        n_plies = min(int(corpus.record(games_B).lengths.max()), positions_a_game or corpus.game.max_plies)
        room = games_per_pass(model.gpt, model.gpt.cfg.n_ctx, n_plies, corpus.game.max_written)
        ask, size = _ask_for_text, min(room, batch_size)
    found = _Found()
    for start in range(0, len(games_B), size):
        ask(model, corpus, games_B[start : start + size], _Draws(seed, positions_a_game), found)
    if not found.ply_N:
        raise ValueError(f"{corpus.path}: none of {len(games_B)} {split} games has a move that this model can predict")
    return _summary(found, corpus, seed, len(games_B), split)


def _summary(found: _Found, corpus: Corpus, seed: int, n_games: int, split: str) -> Legality:
    hit_N = torch.tensor([kind == "legal" for kind in found.greedy_N])
    ply_N, phase_N = np.asarray(found.ply_N), np.asarray(found.phase_N)
    kinds = ("legal", "illegal") if corpus.tokenizer.is_whole_move else KINDS
    sampled = dict(zip(KINDS, torch.cat(found.sampled_NC).double().mean(0).tolist(), strict=True))
    losses_M = torch.cat(found.losses_M).double()
    by_ply = [hit_N[ply_N == ply] for ply in sorted(found.plies)]
    return Legality(
        legal_rate=_rate(hit_N),
        interval=_interval(hit_N.numpy(), np.asarray(found.game_N), seed),
        legal_mass=sampled["legal"],
        kinds={
            "greedy": {kind: found.greedy_N.count(kind) / len(hit_N) for kind in kinds},
            "sampled": {kind: sampled[kind] for kind in kinds},
        },
        loss=float(losses_M.mean()),
        loss_floor=found.floor / len(losses_M) if corpus.is_random_play else None,
        legal_rate_ply=tuple(round(_rate(hits), 6) if len(hits) else None for hits in by_ply),
        legal_rate_phase={phase: _rate(hit_N[phase_N == phase]) for phase in dict.fromkeys(found.phase_N)},
        n_positions=len(hit_N),
        n_games=n_games,
        split=split,
    )


def _rate(hit_N: Tensor) -> float:
    return float(hit_N.float().mean())


def _interval(hit_N: np.ndarray, game_N: np.ndarray, seed: int) -> tuple[float, float]:
    """95% percentile interval of the rate, under resampling of the games with replacement."""
    index_N = np.unique(game_N, return_inverse=True)[1]
    sums_B2 = np.stack([np.bincount(index_N, weights=hit_N), np.bincount(index_N)], axis=1)
    return bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], sums_B2, seed=seed_for(seed, "resamples"))


class _Draws(NamedTuple):
    """What a seed decides about each game, whatever the other games are."""

    seed: int
    positions_a_game: int | None

    def spread(self, game: int, n_positions: int) -> list[int]:
        """Which of a game's positions are asked for: evenly spread, from a drawn beginning."""
        limit = self.positions_a_game
        if limit is None or n_positions <= limit:
            return list(range(n_positions))
        offset = np.random.default_rng(seed_for(self.seed, "positions", game)).random()
        return [int((i + offset) * n_positions / limit) for i in range(limit)]

    def uniform(self, game: int, n_positions: int, n_tokens: int) -> np.ndarray:
        """The numbers that draw the moves of a game: float64 (n_positions, n_tokens)."""
        return np.random.default_rng(seed_for(self.seed, "moves", game)).random((n_positions, n_tokens))


def _token_losses(logits_BLV: Tensor, tokens_BL: np.ndarray, plies_BL: np.ndarray) -> Tensor:
    """The cross-entropy (M,) of each token after the first of its row."""
    targets_BL, counted_BL = torch.from_numpy(tokens_BL[:, 1:]), torch.from_numpy(plies_BL[:, 1:] >= 0)
    return F.cross_entropy(logits_BLV.transpose(1, 2), targets_BL, reduction="none")[counted_BL]


@torch.no_grad()
def _ask_for_moves(model: GameModel, corpus: Corpus, games_B: np.ndarray, draws: _Draws, found: _Found) -> None:
    """One token a move: legal is what the rules allow, and its probability is known."""
    tokens_BL, plies_BL = corpus.rows(games_B, model.gpt.cfg.n_ctx)
    logits_BLV = model.gpt(torch.from_numpy(tokens_BL[:, :-1]).to(model.gpt.device)).float().cpu()
    legal_BLV, floor_BL = continuations(corpus, games_B, tokens_BL, plies_BL)
    counted_BL = plies_BL[:, 1:] >= 0
    found.losses_M.append(_token_losses(logits_BLV, tokens_BL, plies_BL))
    found.floor += float(floor_BL[counted_BL].sum())
    found.plies.update((plies_BL[:, :-1][counted_BL] + 1).tolist())
    asked_BL = np.zeros_like(counted_BL)
    for row, (game, moves_M) in enumerate(zip(games_B.tolist(), corpus.record(games_B), strict=True)):
        chosen = draws.spread(game, int(counted_BL[row].sum()))
        asked_BL[row, chosen] = True
        plies = plies_BL[row, chosen].tolist()
        positions = list(itertools.islice(corpus.game.positions(moves_M.tolist()), max(plies, default=0) + 1))
        found.add(game, plies, [corpus.game.phase(positions[ply]) for ply in plies])
    asked, legal_BLV = torch.from_numpy(asked_BL), torch.from_numpy(legal_BLV)
    hit_N = legal_BLV.gather(-1, logits_BLV.argmax(-1, keepdim=True))[..., 0][asked]
    found.greedy_N += ["legal" if hit else "illegal" for hit in hit_N.tolist()]
    mass_N = (logits_BLV.softmax(-1) * legal_BLV).sum(-1)[asked]
    found.sampled_NC.append(torch.stack([mass_N, 0 * mass_N, 1 - mass_N, 0 * mass_N], 1))


@torch.no_grad()
def _ask_for_text(model: GameModel, corpus: Corpus, games_B: np.ndarray, draws: _Draws, found: _Found) -> None:
    """One token a character: the model writes moves, and the game judges them on the true position."""
    game, n_ctx, device = corpus.game, model.gpt.cfg.n_ctx, model.gpt.device
    tokens_BL, plies_BL = corpus.rows(games_B, n_ctx)
    whole_B = corpus.n_read(games_B, n_ctx + 2) < n_ctx + 2
    row_N, start_N, positions, uniform_NT = [], [], [], []
    for row, (number, moves_M) in enumerate(zip(games_B.tolist(), corpus.record(games_B), strict=True)):
        prompts = _prompts(corpus, tokens_BL[row], plies_BL[row])[: len(moves_M)]
        before = list(itertools.islice(game.positions(moves_M.tolist()), len(prompts)))
        if corpus.is_random_play:
            n_whole = len(moves_M) if whole_B[row] else int(plies_BL[row].max())
            counts = [len(game.legal_moves(before[ply])) for ply in range(n_whole) if prompts[ply] > 0]
            found.floor += float(np.log(counts).sum())
        possible = [ply for ply, end in enumerate(prompts) if 0 < end <= n_ctx + 1 - game.max_written]
        chosen = [possible[i] for i in draws.spread(number, len(possible))]
        found.plies.update(ply + 1 for ply in possible)
        found.add(number, chosen, [game.phase(before[ply]) for ply in chosen])
        row_N += [row] * len(chosen)
        start_N += [prompts[ply] - 1 for ply in chosen]
        positions += [before[ply] for ply in chosen]
        uniform_NT.append(draws.uniform(number, len(chosen), game.max_written))
    cache = KeyValueCache.of(model.gpt, torch.from_numpy(tokens_BL[:, :-1]).to(device))
    found.losses_M.append(_token_losses(cache.logits_BLV.float().cpu(), tokens_BL, plies_BL))
    rows, starts = (torch.tensor(x, dtype=torch.int64, device=device) for x in (row_N, start_N))
    stop_ids = [i for i, character in enumerate(corpus.alphabet) if character and character in game.move_end]
    greedy_NT = cache.sample(rows, starts, game.max_written, stop_ids=stop_ids)
    draws_NT = torch.from_numpy(np.concatenate(uniform_NT))
    sampled_NT = cache.sample(rows, starts, game.max_written, temperature=1.0, stop_ids=stop_ids, uniform_NT=draws_NT)
    greedy_N, sampled_N = (_judged(corpus, positions, ids_NT, stop_ids) for ids_NT in (greedy_NT, sampled_NT))
    found.greedy_N += greedy_N
    found.sampled_NC.append(torch.tensor([[kind == each for each in KINDS] for kind in sampled_N]).view(-1, len(KINDS)))


def _prompts(corpus: Corpus, tokens_L: np.ndarray, plies_L: np.ndarray) -> list[int]:
    """How many tokens of a row come before each move that begins in it."""
    present_L = plies_L[plies_L >= 0]
    text = "".join(corpus.alphabet[i] for i in tokens_L[: len(present_L)].tolist())
    begins = [0, *(np.flatnonzero(np.diff(present_L, prepend=0)) + 1).tolist()]
    return [a + corpus.game.prompt_length(text[a:b]) for a, b in itertools.pairwise([*begins, len(text)])]


def _judged(corpus: Corpus, positions: Sequence[Any], ids_NT: Tensor, stop_ids: Sequence[int]) -> list[str]:
    """What kind of move each of the written ones is."""
    silent = {STOPPED, *stop_ids}
    texts = ["".join(corpus.alphabet[i] for i in ids if i not in silent) for ids in ids_NT.tolist()]
    return [corpus.game.judge(position, text) for position, text in zip(positions, texts, strict=True)]


def continuations(
    corpus: Corpus, games_B: np.ndarray, tokens_BL: np.ndarray, plies_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """After each move that a GPT reads, as one token: which tokens can come next in a legal game, and the loss's floor.

    Returns bool (B, L-1, V) and float64 (B, L-1) nats: how surprising any legal token is to a player who draws
    uniformly from the legal moves.
    """
    game, n_tokens = corpus.game, tokens_BL.shape[1] - 1
    boards = game.boards(corpus.record(games_B))
    game_N, token_N = np.nonzero(plies_BL[:, :-1] >= 0)
    legal_NV = corpus.tokenizer.legal_tokens(game, boards[boards.rows(game_N, plies_BL[game_N, token_N])])
    legal_BLV = np.zeros((len(games_B), n_tokens, len(corpus.alphabet)), dtype=bool)
    floor_BL = np.zeros((len(games_B), n_tokens))
    legal_BLV[game_N, token_N] = legal_NV
    floor_BL[game_N, token_N] = np.log(np.maximum(legal_NV.sum(1), 1))
    return legal_BLV, floor_BL
