"""A testbed's model and games, asked all that the study of faithfulness needs; and the study's config."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.activations.branches import Branches
from boardgame_sae.config import Count, Natural, Share, config
from boardgame_sae.games import MoveRecord
from boardgame_sae.metrics.causal.asking import Asking
from boardgame_sae.metrics.causal.edits import legal_tokens
from boardgame_sae.metrics.causal.probe_edits import BoardProbes, board_probes
from boardgame_sae.studies.faithfulness.boards_read import BoardsRead, boards_read, chosen_positions, last_positions
from boardgame_sae.studies.faithfulness.errors import (
    Consistency,
    consistency,
    consistency_of_texts,
)
from boardgame_sae.studies.faithfulness.evaluation import Evaluator, as_written, evaluator, own_values, rank
from boardgame_sae.studies.faithfulness.transpositions import Pair, drawn_pairs, total_variation
from boardgame_sae.studies.study import Seeds, StudyConfig
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.fresh import in_memory


@config
class FaithfulnessStudy(StudyConfig):
    """How many games are asked about."""

    n_train: Count = 1000
    """Train games that the probes of the board are fitted on."""
    n_validation: Count = 200
    """Validation games on which the layer is chosen whose board is judged by."""
    n_games: Count = 1000
    """Maximum number of test games."""
    per_game: Natural = 0
    """Maximum number of positions of a game at which moves are judged; 0 for all."""
    n_samples: Count = 10
    """Moves that are sampled at each, where moves are written."""
    n_elsewhere: Count = 5
    """Boards with the same mistakes elsewhere on which each illegal move is judged."""
    near_best: Share = 0.05
    """The layers that may disagree are those which read at most this share of squares fewer than the best."""
    search: str = "search:depth=2"
    """Who evaluates positions, where players do not play at random."""
    n_evaluated: Count = 300
    """Train games whose positions it evaluates; half as many of validation."""
    n_played: Count = 150
    """Test games of which one position is asked about the moves' own evaluations."""
    seeds: Seeds = (0,)
    """Which positions, orders and samples."""


class Asked:
    """A testbed's model and games, asked with one seed; what is computed once stays."""

    def __init__(self, cfg: FaithfulnessStudy, testbed: Testbed, seed: int) -> None:
        self.cfg, self.testbed, self.seed = cfg, testbed, seed
        self.corpus, self.game = testbed.corpus, testbed.corpus.game
        self.whole_moves = self.corpus.tokenizer.is_whole_move

    @cached_property
    def probes(self) -> BoardProbes:
        """Probes of the board at every layer."""
        return self.testbed.once(board_probes, self.cfg.n_train)

    @cached_property
    def right_H(self) -> np.ndarray:
        """The share of squares that each layer's probe reads right, on validation games: the same for every seed."""
        return self.testbed.once(read_right, self.cfg.n_train, self.cfg.n_validation)

    @cached_property
    def layer(self) -> int:
        """The layer that reads the board best."""
        return int(self.right_H.argmax())

    @cached_property
    def test(self) -> BoardsRead:
        """The boards of test games."""
        where = chosen_positions(self.testbed, "test", self.cfg.n_games, self.cfg.per_game or None, self.seed)
        return boards_read(self.testbed.model.gpt, self.corpus, where, self.probes)

    @cached_property
    def legal(self) -> list[list[int]]:
        """The legal moves at each position of them."""
        return [self.game.legal_moves(position) for position in self.test.positions]

    @cached_property
    def legal_NV(self) -> np.ndarray:
        """The same as tokens, where tokens are whole moves."""
        return legal_tokens(self.testbed, self.legal)

    @cached_property
    def p_NV(self) -> np.ndarray:
        """Probabilities of the next token."""
        return self.test.logits_NV.softmax(-1).numpy()

    @cached_property
    def written(self) -> list[list[str]]:
        """Where moves are written: the most probable one, and those sampled."""
        asking, where = Asking.of_games(self.testbed, self.test.where.games_B), self.test.where
        answers = asking(where.game_N, where.token_N, n_samples=self.cfg.n_samples, seed=self.seed)
        return answers.written

    @cached_property
    def errs_N(self) -> np.ndarray:
        """bool: whether the most probable move is illegal."""
        if self.whole_moves:
            return ~self.legal_NV[np.arange(len(self.legal_NV)), self.p_NV.argmax(1)]
        pairs = zip(self.test.positions, self.written, strict=True)
        return np.array([self.game.judge(position, first) != "legal" for position, (first, *_) in pairs])

    def read_NV(self, layer: int, row_K: np.ndarray) -> np.ndarray:
        """bool (K, V): the tokens that are legal on the boards which a layer reads, at some positions."""
        return self._legal_on([self.test.position_read(row, layer) for row in row_K])

    def elsewhere_RKV(self, layer: int, row_K: np.ndarray) -> np.ndarray:
        """bool (R, K, V): the same of R boards with the same mistakes elsewhere."""
        n = self.cfg.n_elsewhere
        boards = [self.test.positions_elsewhere(row, layer, n, self.seed) for row in row_K]
        return np.stack([self._legal_on([of_row[number] for of_row in boards]) for number in range(n)])

    def _legal_on(self, positions: list[Any]) -> np.ndarray:
        if not positions:
            return np.zeros((0, len(self.corpus.alphabet)), bool)
        return legal_tokens(self.testbed, [self.game.legal_moves(position) for position in positions])

    def consistency(self, *, greedy: bool, layer: int) -> tuple[Consistency, np.ndarray]:
        """Illegal moves on the board that a layer reads, and the games of the positions that are asked."""
        test = self.test
        row_K = np.flatnonzero(self.errs_N) if greedy else np.arange(len(test.positions))
        if self.whole_moves:
            p_KV = self.p_NV[row_K]
            weight_KV = np.eye(p_KV.shape[1])[p_KV.argmax(1)] if greedy else p_KV
            boards = self.legal_NV[row_K], self.read_NV(layer, row_K), self.elsewhere_RKV(layer, row_K).mean(0)
            return consistency(weight_KV, *boards), test.where.game_N[row_K]
        read = {row: test.position_read(row, layer) for row in row_K.tolist()}
        others = {row: test.positions_elsewhere(row, layer, self.cfg.n_elsewhere, self.seed) for row in read}
        written = [texts[:1] if greedy else texts[1:] for texts in self.written]
        return consistency_of_texts(self.game, test.positions, read, others, written), test.where.game_N

    @cached_property
    def pairs(self) -> "Pairs":
        """Pairs of test games, by other orders of the moves and far ones."""
        where = chosen_positions(self.testbed, "test", self.cfg.n_games)
        record = self.corpus.record(where.games_B)
        plies = [where.ply_N[where.game_N == number].tolist() for number in range(len(record))]
        drawn = drawn_pairs(self.game, record, plies, self.seed)
        if not drawn:
            return Pairs([], *np.empty((3, 0)))
        ply_B = np.array([pair.ply for pair in drawn])
        first, second = (
            self._ends(moves, ply_B) for moves in ([pair.first for pair in drawn], [pair.second for pair in drawn])
        )
        shared, one, two = np.intersect1d(first.where.game_N, second.where.game_N, return_indices=True)
        p_MV, q_MV = first.logits_NV[one].softmax(-1).numpy(), second.logits_NV[two].softmax(-1).numpy()
        agree_M = (first.read_HNS[self.layer][one] == second.read_HNS[self.layer][two]).mean(1)
        truly_M = (first.true_NS[one] == second.true_NS[two]).mean(1)
        return Pairs([drawn[number] for number in shared], total_variation(p_MV, q_MV), agree_M, truly_M)

    def _ends(self, moves: list[list[int]], ply_B: np.ndarray) -> BoardsRead:
        """Some games after ply_B plies of each; games whose text is longer than the context by then are left out."""
        games = in_memory(MoveRecord.of(moves), self.corpus)
        last = last_positions(self.testbed, games, ply_B)
        return boards_read(self.testbed.model.gpt, games, last, self.probes)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The probe of the evaluation."""
        cfg = self.cfg
        return self.testbed.once(evaluator, cfg.search, cfg.n_evaluated, max(1, cfg.n_evaluated // 2))

    @cached_property
    def ranks(self) -> "Ranks":
        """Ranks, by the model's own evaluation, of the move that it writes and of the one that was played."""
        where = chosen_positions(self.testbed, "test", self.cfg.n_played, 1, self.seed)
        asking, record = Asking.of_games(self.testbed, where.games_B), self.corpus.record(where.games_B)
        written = asking(where.game_N, where.token_N).written
        branches = Branches(self.testbed.model.gpt, asking.tokens_BL)
        found: list[tuple[float, float, int, int]] = []
        for (first, *_), game, token, ply in zip(written, where.game_N, where.token_N, where.ply_N, strict=True):
            position = self.game.position_after(record[[game]].moves_M[:ply].tolist())
            moves, played = self.game.legal_moves(position), int(record[[game]].moves_M[ply])
            if len(moves) < 2 or self.game.judge(position, first) != "legal":
                continue
            texts = [as_written(self.game, position, move) for move in moves]
            value_M = own_values(self.evaluator, self.testbed, branches, int(game), int(token), texts)
            chosen = value_M[moves.index(self.game.parse_move(position, first))]
            own, players = rank(chosen, value_M), rank(value_M[moves.index(played)], value_M)
            found.append((own, players, int(game), self._skill(int(where.games_B[game]), position)))
        return Ranks(*np.array(found).reshape(-1, len(Ranks._fields)).T)

    def _skill(self, game: int, position: Any) -> int:
        """The bin of the strength of the player to move; -1 where it is unknown."""
        side = self.corpus.arrays.get(f"games/skill_{'first' if self.game.mover(position) else 'second'}")
        return -1 if side is None else int(side[game])


def read_right(testbed: Testbed, n_train: int, n_validation: int) -> np.ndarray:
    """(H,) the share of squares that each layer's probe reads right, on validation games.

    n_train: train games that the probes are fitted on.
    """
    where, probes = chosen_positions(testbed, "validation", n_validation), testbed.once(board_probes, n_train)
    return boards_read(testbed.model.gpt, testbed.corpus, where, probes).right_H


class Pairs(NamedTuple):
    """M pairs of games."""

    pairs: list[Pair]
    variation_M: np.ndarray
    """Total variation between the two predictions of the next token."""
    agree_M: np.ndarray
    """The share of squares on which the boards read agree."""
    truly_M: np.ndarray
    """The share on which the true boards do."""


class Ranks(NamedTuple):
    """Moves at M positions."""

    own_M: np.ndarray
    """The rank of the model's move among the legal ones, by its own evaluation."""
    played_M: np.ndarray
    """That of the move that was played."""
    game_M: np.ndarray
    skill_M: np.ndarray
