"""What a model that is asked by hand answers, move by move."""

from typing import Any

from boardgame_sae.games import MoveRecord
from boardgame_sae.metrics.causal.asking import Answers
from boardgame_sae.model.float64 import exact
from boardgame_sae.testbeds.testbed import Testbed


def chances(testbed: Testbed, answers: Answers) -> dict[str, float]:
    """At the first position asked about, the probability of every move, by its name as it is written.

    Where moves are written character by character it is the share of those sampled.
    """
    if answers.logits_NV is None:
        sampled = answers.written[0][1:]
        return {move: sampled.count(move) / len(sampled) for move in sampled}
    chances_V = exact(answers.logits_NV[0]).softmax(-1).tolist()
    return dict(zip(testbed.corpus.alphabet, chances_V, strict=True))


def move_names(testbed: Testbed, position: Any, codes: list[int]) -> dict[str, int]:
    """The codes of some moves, by their names as `chances` has them."""
    game, alphabet = testbed.corpus.game, testbed.corpus.alphabet
    if not testbed.corpus.tokenizer.is_whole_move:
        return {game.move_text(position, code): code for code in codes}
    return {alphabet[token]: code for token, code in zip(game.move_tokens(MoveRecord.of([codes])), codes, strict=True)}
