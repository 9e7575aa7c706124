"""How often a model's moves are legal, and its loss beside the lowest loss that knowing the rules allows.

After each ply that was played, a model with one token per move predicts the next token. A model with one token per
character writes its next move there, once greedily and once by sampling, and the game judges what it wrote.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import Natural, NonNegative, Share, config, record, seed_for, to_mapping
from boardgame_sae.files import as_record, read_json
from boardgame_sae.games.game import PHASES
from boardgame_sae.intervals import bootstrap_interval
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.sampling import STOPPED, KeyValueCache, games_per_pass
from boardgame_sae.runs.integrity import verified
from boardgame_sae.transcripts.corpus import Corpus

MEASURED_PLIES = 12
"""Plies per game at which a GPT whose tokens are not whole moves writes one, when its legality is measured."""
LEGALITY_FILE = "legality.json"
"""The legality that was measured after a GPT's training; a GPT from elsewhere has no such file."""
KINDS = ("legal", "ambiguous", "illegal", "unparsable")
"""The verdicts of `Game.judge` on a written move."""


@config
class Legality:
    """The legality and loss of a model on held-out games."""

    legal_rate: Share
    """Share of positions at which the most probable move (for characters: the one written greedily) is legal."""
    interval: tuple[Share, Share]
    """95% interval of legal_rate, by resampling games."""
    legal_mass: NonNegative
    """Mean total probability of the legal moves (for characters: the share of sampled moves that are legal)."""
    kinds: dict[str, dict[str, NonNegative]]
    """Shares of legal, ambiguous, illegal and unparsable moves, among `greedy` moves and among `sampled` ones."""
    loss: NonNegative
    """Mean cross-entropy of the tokens that were played, in nats."""
    loss_floor: NonNegative | None
    """The loss of a player who draws uniformly from the legal moves, where the games' players did; else None."""
    legal_rate_ply: tuple[Share | None, ...]
    """legal_rate by the ply that is predicted, from the second (from the first, where text comes before it)."""
    legal_rate_phase: dict[str, Share]
    """legal_rate by the phase of the game."""
    n_positions: Natural
    """Number of positions measured."""
    n_games: Natural
    """Number of games they come from."""
    split: str
    """The split those games are in."""


@record
class LegalityRecord:
    """What is read of legality.json."""

    test: Legality
    random_weights: Legality


def read_legality(folder: Path) -> dict[str, Any] | None:
    """The legality that was measured after a GPT's training, as plain data: `test`, `validation`, `random_weights`.

    None for a GPT from elsewhere. Raises RunError naming the file and the field that is missing or damaged.
    """
    path = folder / LEGALITY_FILE
    if not path.exists():
        return None
    verified(folder)
    measured = read_json(path)
    as_record(LegalityRecord, measured, str(path), "train the GPT again")
    return measured


@dataclass
class _Measurements:
    """Measurements on some games: at N positions, and of M predicted tokens."""

    game_N: list[int] = field(default_factory=list)
    ply_N: list[int] = field(default_factory=list)
    """The ply that is predicted, counted from 1."""
    phase_N: list[str] = field(default_factory=list)
    greedy_N: list[str] = field(default_factory=list)
    """The verdict, of KINDS, on the most probable move."""
    sampled_NC: list[Tensor] = field(default_factory=list)
    """The probability of each verdict of KINDS, or 1 for that on the sampled move; in parts."""
    losses_M: list[Tensor] = field(default_factory=list)
    """The cross-entropy of each token, in nats; in parts."""
    floor: float = 0.0
    """The lowest loss that knowing the rules allows, summed over all M tokens, in nats."""
    plies: set[int] = field(default_factory=set)
    """The plies at which a move could be measured."""

    def add(self, game: int, plies_before: Sequence[int], phases: Sequence[str]) -> None:
        """Add positions of a game, each given by the number of plies before it."""
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

    split: whose games. n_games: how many (default 1,000, or all if there are fewer). positions_a_game: maximum number
    of positions per game at which a move is measured, evenly spread (default all); the loss counts every token. seed:
    of the positions, the sampled moves and the resamples behind the interval. A game's results depend on neither
    batch_size nor the others.
    Raises ValueError when the model and the corpus do not share an alphabet, or there is nothing to measure.
    """
    measured, n_measured = _measured(model, corpus, split, n_games, batch_size, _Draws(seed, positions_a_game))
    return _summary(measured, corpus, seed, n_measured, split)


def legal_positions(model: GameModel, corpus: Corpus, *, n_games: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """bool (N,) where a model's most probable move is legal in test games, and (N,) the game of each position.

    n_games and what is raised: as for `legality`, whose `legal_rate` is their mean.
    """
    measured, _ = _measured(model, corpus, "test", n_games, 256, _Draws(0, None))
    return np.array([kind == "legal" for kind in measured.greedy_N]), np.array(measured.game_N)


def _measured(
    model: GameModel, corpus: Corpus, split: str, n_games: int | None, batch_size: int, draws: "_Draws"
) -> tuple[_Measurements, int]:
    """The measurements on some games, and how many these are."""
    if model.alphabet != corpus.alphabet:
        raise ValueError(f"{corpus.path}: its alphabet is not the model's; give a corpus of the model's own game")
    games_B = corpus.games(split, n_games)[: 1000 if n_games is None else None]
    if len(games_B) == 0:
        raise ValueError(f"{corpus.path}: no {split} games; generate more, or with a larger {split}_fraction")
    measure, size = _measure_predicted_moves, batch_size
    if not corpus.tokenizer.is_whole_move:
        max_positions = min(int(corpus.record(games_B).lengths.max()), draws.positions_a_game or corpus.game.max_plies)
        games_that_fit = games_per_pass(model.gpt, model.gpt.cfg.n_ctx, max_positions, corpus.game.max_written)
        measure, size = _measure_written_moves, min(games_that_fit, batch_size)
    measured = _Measurements()
    for start in range(0, len(games_B), size):
        measure(model, corpus, games_B[start : start + size], draws, measured)
    if not measured.ply_N:
        raise ValueError(f"{corpus.path}: none of {len(games_B)} {split} games has a move that this model can predict")
    return measured, len(games_B)


def _summary(measured: _Measurements, corpus: Corpus, seed: int, n_games: int, split: str) -> Legality:
    legal_N = torch.tensor([kind == "legal" for kind in measured.greedy_N])
    ply_N, phase_N = np.asarray(measured.ply_N), np.asarray(measured.phase_N)
    kinds = ("legal", "illegal") if corpus.tokenizer.is_whole_move else KINDS
    sampled = dict(zip(KINDS, torch.cat(measured.sampled_NC).double().mean(0).tolist(), strict=True))
    losses_M = torch.cat(measured.losses_M).double()
    legal_by_ply = [legal_N[ply_N == ply] for ply in sorted(measured.plies)]
    return Legality(
        legal_rate=_legal_rate(legal_N),
        interval=_interval(legal_N.numpy(), np.asarray(measured.game_N), seed),
        legal_mass=sampled["legal"],
        kinds={
            "greedy": {kind: measured.greedy_N.count(kind) / len(legal_N) for kind in kinds},
            "sampled": {kind: sampled[kind] for kind in kinds},
        },
        loss=float(losses_M.mean()),
        loss_floor=measured.floor / len(losses_M) if corpus.is_random_play else None,
        legal_rate_ply=tuple(round(_legal_rate(legal), 6) if len(legal) else None for legal in legal_by_ply),
        legal_rate_phase={phase: _legal_rate(legal_N[phase_N == phase]) for phase in dict.fromkeys(measured.phase_N)},
        n_positions=len(legal_N),
        n_games=n_games,
        split=split,
    )


def _legal_rate(legal_N: Tensor) -> float:
    return float(legal_N.float().mean())


def _interval(legal_N: np.ndarray, game_N: np.ndarray, seed: int) -> tuple[float, float]:
    """95% percentile interval of the legal rate, under resampling of the games with replacement."""
    index_N = np.unique(game_N, return_inverse=True)[1]
    sums_B2 = np.stack([np.bincount(index_N, weights=legal_N), np.bincount(index_N)], axis=1)
    return bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], sums_B2, seed=seed_for(seed, "resamples"))


class _Draws(NamedTuple):
    """The random choices for each game, which depend only on the seed and the game."""

    seed: int
    positions_a_game: int | None

    def spread(self, game: int, n_positions: int) -> list[int]:
        """Which of a game's positions are measured: evenly spread, from a random start."""
        limit = self.positions_a_game
        if limit is None or n_positions <= limit:
            return list(range(n_positions))
        offset = np.random.default_rng(seed_for(self.seed, "positions", game)).random()
        return [int((i + offset) * n_positions / limit) for i in range(limit)]

    def uniform(self, game: int, n_positions: int, n_tokens: int) -> np.ndarray:
        """The uniform numbers that sample the moves of a game: float64 (n_positions, n_tokens)."""
        return np.random.default_rng(seed_for(self.seed, "moves", game)).random((n_positions, n_tokens))


def _token_losses(logits_BLV: Tensor, tokens_BL: np.ndarray, plies_BL: np.ndarray) -> Tensor:
    """The cross-entropy (M,) of each token after the first of its row."""
    targets_BL, counted_BL = torch.from_numpy(tokens_BL[:, 1:]), torch.from_numpy(plies_BL[:, 1:] >= 0)
    return F.cross_entropy(logits_BLV.transpose(1, 2), targets_BL, reduction="none")[counted_BL]


@torch.no_grad()
def _measure_predicted_moves(
    model: GameModel, corpus: Corpus, games_B: np.ndarray, draws: _Draws, measured: _Measurements
) -> None:
    """Measure a model with one token per move, whose probability of every legal move is known."""
    tokens_BL, plies_BL = corpus.rows(games_B, model.gpt.cfg.n_ctx)
    logits_BLV = model.gpt(torch.from_numpy(tokens_BL[:, :-1]).to(model.gpt.device)).float().cpu()
    legal_BLV, floor_BL = continuations(corpus, games_B, tokens_BL, plies_BL)
    counted_BL = plies_BL[:, 1:] >= 0
    measured.losses_M.append(_token_losses(logits_BLV, tokens_BL, plies_BL))
    measured.floor += float(floor_BL[counted_BL].sum())
    measured.plies.update((plies_BL[:, :-1][counted_BL] + 1).tolist())
    chosen_BL = np.zeros_like(counted_BL)
    for row, (game, moves_M) in enumerate(zip(games_B.tolist(), corpus.record(games_B), strict=True)):
        chosen = draws.spread(game, int(counted_BL[row].sum()))
        chosen_BL[row, chosen] = True
        plies = plies_BL[row, chosen].tolist()
        positions = list(itertools.islice(corpus.game.positions(moves_M.tolist()), max(plies, default=0) + 1))
        measured.add(game, plies, [corpus.game.phase(positions[ply]) for ply in plies])
    mask_BL, legal_BLV = torch.from_numpy(chosen_BL), torch.from_numpy(legal_BLV)
    legal_N = legal_BLV.gather(-1, logits_BLV.argmax(-1, keepdim=True))[..., 0][mask_BL]
    measured.greedy_N += ["legal" if legal else "illegal" for legal in legal_N.tolist()]
    mass_N = (logits_BLV.softmax(-1) * legal_BLV).sum(-1)[mask_BL]
    measured.sampled_NC.append(torch.stack([mass_N, 0 * mass_N, 1 - mass_N, 0 * mass_N], 1))


@torch.no_grad()
def _measure_written_moves(
    model: GameModel, corpus: Corpus, games_B: np.ndarray, draws: _Draws, measured: _Measurements
) -> None:
    """Measure a model with one token per character: it writes moves, and the game judges them on the true position."""
    game, n_ctx, device = corpus.game, model.gpt.cfg.n_ctx, model.gpt.device
    tokens_BL, plies_BL = corpus.rows(games_B, n_ctx)
    whole_B = corpus.n_read(games_B, n_ctx + 2) < n_ctx + 2
    row_N, start_N, positions, uniform_NT = [], [], [], []
    for row, (game_number, moves_M) in enumerate(zip(games_B.tolist(), corpus.record(games_B), strict=True)):
        prompt_ends = _prompt_ends(corpus, tokens_BL[row], plies_BL[row])[: len(moves_M)]
        before_ply = list(itertools.islice(game.positions(moves_M.tolist()), len(prompt_ends)))
        if corpus.is_random_play:
            n_whole = len(moves_M) if whole_B[row] else int(plies_BL[row].max())
            counts = [len(game.legal_moves(before_ply[ply])) for ply in range(n_whole) if prompt_ends[ply] > 0]
            measured.floor += float(np.log(counts).sum())
        possible = [ply for ply, end in enumerate(prompt_ends) if 0 < end <= n_ctx + 1 - game.max_written]
        chosen = [possible[i] for i in draws.spread(game_number, len(possible))]
        measured.plies.update(ply + 1 for ply in possible)
        measured.add(game_number, chosen, [game.phase(before_ply[ply]) for ply in chosen])
        row_N += [row] * len(chosen)
        start_N += [prompt_ends[ply] - 1 for ply in chosen]
        positions += [before_ply[ply] for ply in chosen]
        uniform_NT.append(draws.uniform(game_number, len(chosen), game.max_written))
    cache = KeyValueCache.of(model.gpt, torch.from_numpy(tokens_BL[:, :-1]).to(device))
    measured.losses_M.append(_token_losses(cache.logits_BLV.float().cpu(), tokens_BL, plies_BL))
    rows, starts = (torch.tensor(index_N, dtype=torch.int64, device=device) for index_N in (row_N, start_N))
    stop_ids = [i for i, character in enumerate(corpus.alphabet) if character and character in game.move_end]
    greedy_NT = cache.sample(rows, starts, game.max_written, stop_ids=stop_ids)
    draws_NT = torch.from_numpy(np.concatenate(uniform_NT))
    sampled_NT = cache.sample(rows, starts, game.max_written, temperature=1.0, stop_ids=stop_ids, uniform_NT=draws_NT)
    greedy_N, sampled_N = (_judged(corpus, positions, ids_NT, stop_ids) for ids_NT in (greedy_NT, sampled_NT))
    measured.greedy_N += greedy_N
    verdicts_NC = torch.tensor([[verdict == kind for kind in KINDS] for verdict in sampled_N])
    measured.sampled_NC.append(verdicts_NC.view(-1, len(KINDS)))


def _prompt_ends(corpus: Corpus, tokens_L: np.ndarray, plies_L: np.ndarray) -> list[int]:
    """The number of tokens before each move that begins in a row."""
    present_L = plies_L[plies_L >= 0]
    text = "".join(corpus.alphabet[i] for i in tokens_L[: len(present_L)].tolist())
    begins = [0, *(np.flatnonzero(np.diff(present_L, prepend=0)) + 1).tolist()]
    return [a + corpus.game.prompt_length(text[a:b]) for a, b in itertools.pairwise([*begins, len(text)])]


def _judged(corpus: Corpus, positions: Sequence[Any], ids_NT: Tensor, stop_ids: Sequence[int]) -> list[str]:
    """The verdict, of KINDS, on each written move."""
    unwritten = {STOPPED, *stop_ids}
    texts = ["".join(corpus.alphabet[i] for i in ids if i not in unwritten) for ids in ids_NT.tolist()]
    return [corpus.game.judge(position, text) for position, text in zip(positions, texts, strict=True)]


def continuations(
    corpus: Corpus, games_B: np.ndarray, tokens_BL: np.ndarray, plies_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """After each move that a GPT reads as one token: which tokens can come next in a legal game, and the lowest loss.

    Returns bool (B, L-1, V) and float64 (B, L-1) nats: the cross-entropy of the next token for a player who draws
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


def measure_legality(model: GameModel, corpus: Corpus, split: str, max_games: int) -> dict[str, Any]:
    """Legality on at most max_games games, as plain data; moves of several tokens are written at some plies only."""
    n_games = min(max_games, len(corpus.games(split)))
    n_plies = None if corpus.tokenizer.is_whole_move else MEASURED_PLIES
    return to_mapping(legality(model, corpus, split=split, n_games=n_games, positions_a_game=n_plies))


def legality_text(folder: str | Path) -> str:
    """The legality on test games that a finished GPT run has measured, in a few lines of text."""
    results = read_legality(Path(folder))
    if results is None:
        return "legal: not measured, as this GPT was not trained here"
    measured = results["test"]
    low, high = measured["interval"]
    greedy, by_phase = measured["kinds"]["greedy"], measured["legal_rate_phase"]
    lines = [
        f"legal: {measured['legal_rate']:.1%} of its most probable moves ({low:.1%} to {high:.1%}), "
        f"{measured['legal_mass']:.1%} at temperature 1; "
        f"{measured['n_positions']} moves of {measured['n_games']} test games",
        "most probable moves: " + ", ".join(f"{kind} {greedy[kind]:.2%}" for kind in KINDS if kind in greedy),
        "legal by phase: " + ", ".join(f"{phase} {by_phase[phase]:.1%}" for phase in PHASES if phase in by_phase),
    ]
    return "\n".join(lines)
