"""Is what a model does consistent with what it holds of the game?

The paper (Arcuschin et al. 2025, arXiv 2503.08679) finds that language models contradict themselves: they answer two
forms of a question in ways that cannot both be true, and give reasons that are not why they answered. A model of a
board game gives no reasons, but it holds a board, which probes read, and the rules say what follows from it. So four
questions that language leaves open have answers: are illegal moves legal on the board that the model holds; do its
layers hold the same board, and does it err where they do not; does it make the same of one position by two orders of
the moves; and does it play what it itself holds to be good?
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from boardgame_sae.games.record import N_SKILLS, MoveRecord
from boardgame_sae.players.registry import make_player
from boardgame_sae.studies.faithfulness.asked import Asked, FaithfulnessStudy
from boardgame_sae.studies.faithfulness.boards_read import layers
from boardgame_sae.studies.faithfulness.errors import disagreement, follows
from boardgame_sae.studies.faithfulness.figure import ERRORS, LAYERS, ORDERS, PLAY, figure
from boardgame_sae.studies.faithfulness.transpositions import FAR, OTHER, SAME
from boardgame_sae.studies.over_games import Counted, auc_within, mean, ratio, row_over_seeds
from boardgame_sae.studies.study import Plan, Row, Setting, study

COLUMNS = {
    "question": "question",
    "what": "what",
    "value": "found",
    "beside": "beside it",
    "control": "found",
    "more": "more than that",
    "n": "n",
}

ELSEWHERE = "boards with the same mistakes elsewhere"


@study("faithfulness", FaithfulnessStudy)
def faithfulness(cfg: FaithfulnessStudy, setting: Setting) -> Plan:
    """Is what a model does consistent with the board, and the evaluation, that it holds?"""
    seeds = [Asked(cfg, setting.testbed, seed) for seed in cfg.seeds]
    of_seeds = partial(row_over_seeds, seeds)
    corpus = setting.testbed.corpus
    if not corpus.is_random_play:
        make_player(cfg.search).evaluate(corpus.game, MoveRecord.of([]))  # raises before anything is read

    rows = [partial(of_seeds, _errors, greedy) for greedy in (True, False)]
    if corpus.tokenizer.is_whole_move:
        rows.append(partial(of_seeds, _follows))
    rows += [partial(of_seeds, _predicts, signal) for signal in SIGNALS]
    rows += [partial(of_seeds, measure, kind) for measure in (_variation, _agreement) for kind in (SAME, OTHER, FAR)]
    if not corpus.is_random_play:
        rows += [partial(of_seeds, _plays, *players) for players in PLAYERS.items()]
        rows.append(partial(of_seeds, _contradicts))
    return Plan(rows, COLUMNS, figure)


def _row(question: str, what: str, value: Counted | None, n: int, beside: str = "", *more: Counted | None) -> Row:
    """A row. more: what is found beside it, and how much more the value is, paired game by game."""
    numbers = dict(zip(("control", "more"), more, strict=False))
    return {"question": question, "what": what, "beside": beside, "n": n, "value": value, **numbers}


def _errors(of: Asked, greedy: bool) -> Row:
    """The share of illegal moves that are legal on the board read, at the best layer and by layer."""
    shares: dict[int, list[Counted | None]] = {}
    n = 0
    for layer in range(len(layers(of.probes))) if greedy else [of.layer]:
        found, game_N = of.consistency(greedy=greedy, layer=layer)
        parts = found.consistent_N, found.expected_N, found.consistent_N - found.expected_N
        shares[layer], n = [ratio(part_N, found.error_N, game_N) for part_N in parts], int((found.error_N > 0).sum())
    what = f"{'greedy' if greedy else 'sampled'} ones legal on the board read at block {of.layer}"
    own, *beside = shares[of.layer]
    row = _row(ERRORS, what, own, n, ELSEWHERE, *beside)
    by_layer = [[layer, *(part.value if part else None for part in parts[:2])] for layer, parts in shares.items()]
    return row | ({"by_layer": by_layer, "right": of.right_H.tolist()} if greedy else {})


def _follows(of: Asked) -> Row:
    """Where the board read is wrong: whose moves are more probable."""
    test, layer = of.test, of.layer
    row_K = np.flatnonzero((test.read_HNS[layer] != test.true_NS).any(1))
    game_K, p_KV, legal_KV = test.where.game_N[row_K], of.p_NV[row_K], of.legal_NV[row_K]
    sums = follows(p_KV, legal_KV, of.read_NV(layer, row_K))
    others = [follows(p_KV, legal_KV, other_KV) for other_KV in of.elsewhere_RKV(layer, row_K)]
    above, below = (np.concatenate(part) for part in zip(*others, strict=True))
    control = ratio(above, below, np.tile(game_K, len(others)))
    what = "probability of moves legal on the board read alone, of these and those legal on the true board alone"
    return _row(ERRORS, what, ratio(*sums, game_K), int((sums[1] > 0).sum()), ELSEWHERE, control)


SIGNALS: Mapping[str, Callable[[Asked], np.ndarray]] = {
    "boards of layers disagree": lambda of: disagreement(
        of.test.read_HNS, np.flatnonzero(of.right_H >= of.right_H.max() - of.cfg.near_best).tolist()
    ),
    "the probe is unsure": lambda of: -of.test.sure_HN[of.layer],
    "entropy of the next token": lambda of: -(of.p_NV * of.test.logits_NV.log_softmax(-1).numpy()).sum(1),
    "squares read wrong": lambda of: (of.test.read_HNS[of.layer] != of.test.true_NS).mean(1),
}
"""What may predict that the most probable move is illegal; the last needs the truth."""


def _predicts(of: Asked, signal: str) -> Row:
    """How well a signal predicts illegal moves within a ply, and across plies."""
    score_N, where = SIGNALS[signal](of), of.test.where
    within = auc_within(score_N, of.errs_N, where.game_N, where.ply_N)
    across = auc_within(score_N, of.errs_N, where.game_N)
    n = int(of.errs_N.sum())
    return _row(LAYERS, f"{signal}: AUC of illegal moves within a ply", within, n, "across plies", across)


def _variation(of: Asked, kind: str) -> Row:
    """How far predictions of the next token lie apart at the pairs of a kind."""
    own_M = np.array([pair.kind == kind for pair in of.pairs.pairs], bool)
    game_M = np.array([pair.game for pair in of.pairs.pairs], int)[own_M]
    found = mean(of.pairs.variation_M[own_M], game_M)
    return _row(ORDERS, f"{kind}: total variation of the next token", found, int(own_M.sum()))


def _agreement(of: Asked, kind: str) -> Row:
    """On how many squares the boards read agree at the pairs of a kind, and the true ones."""
    own_M = np.array([pair.kind == kind for pair in of.pairs.pairs], bool)
    game_M = np.array([pair.game for pair in of.pairs.pairs], int)[own_M]
    agree_M, truly_M = of.pairs.agree_M[own_M], of.pairs.truly_M[own_M]
    found, *truly = (mean(part_M, game_M) for part_M in (agree_M, truly_M, agree_M - truly_M))
    what = f"{kind}: squares on which the boards read at block {of.layer} agree"
    return _row(ORDERS, what, found, int(own_M.sum()), "true boards", *truly)


PLAYERS: Mapping[str, tuple[int, int]] = {
    "all players": (-1, N_SKILLS),
    "the weakest third": (0, N_SKILLS // 3 - 1),
    "the strongest third": (N_SKILLS - N_SKILLS // 3, N_SKILLS),
}
"""Bins of the strength of the player to move, the lowest and the highest."""


def _plays(of: Asked, who: str, bins: tuple[int, int]) -> Row:
    """Where the model's moves stand among the legal ones by its own evaluation, in games of some players."""
    own_M = (of.ranks.skill_M >= bins[0]) & (of.ranks.skill_M <= bins[1])
    own, *played = _beside_played(of.ranks.own_M[own_M], of.ranks.played_M[own_M], of.ranks.game_M[own_M])
    row = _row(PLAY, f"rank of its move, games of {who}", own, int(own_M.sum()), "move that was played", *played)
    return row | {"explained": of.evaluator.explained, "hook_name": of.evaluator.hook_name}


def _contradicts(of: Asked) -> Row:
    """How many of the model's moves are worse, by its own evaluation, than most legal ones."""
    own_M, played_M = ((part_M < 0.5).astype(float) for part_M in (of.ranks.own_M, of.ranks.played_M))
    own, *played = _beside_played(own_M, played_M, of.ranks.game_M)
    what = "its moves that it holds to be worse than most legal ones"
    return _row(PLAY, what, own, len(own_M), "moves that were played", *played)


def _beside_played(own_M: np.ndarray, played_M: np.ndarray, game_M: np.ndarray) -> list[Counted | None]:
    """The mean of the model's moves, of those that were played, and of the difference."""
    return [mean(part_M, game_M) for part_M in (own_M, played_M, own_M - played_M)]
