"""One GPT that plays several games with the same moves: one model of the board, or one for each game?

A GPT that is trained on one game holds its board. Trained on several, whose games nothing tells apart but the moves, it
has to infer which is played, and could keep the boards apart or share what they have in common. Here the games are
variants of Othello (`games.othello.rules`): the usual rules, another start, and no flanking along diagonals. For
each we fit probes of the board and ask them about the others: whether they read them (`transfer`), whether their
directions agree, and whether an edit along them changes what the GPT plays there. And which game it is: by a probe at
each layer, beside what one who knows all the rules could know, and by single latents of an SAE (`which`).

MetaOthello (Chawla, Hall and Lovato 2026, PMLR 306) asked this of 8x8 boards, with games that are registered too
(`classic`, `nomidflip`, `delflank`, `iago`): boards are mostly shared, and probes of one game edit another nearly as
well as its own; a middle layer identifies the game, and later ones specialise.
"""

from functools import partial

from boardgame_sae.studies.over_games import row_over_seeds
from boardgame_sae.studies.study import Plan, Setting, study
from boardgame_sae.studies.variants.figure import figure
from boardgame_sae.studies.variants.question import Question, VariantsStudy, check

COLUMNS = {
    "what": "what",
    "of": "of",
    "on": "on",
    "value": "value",
    "control": "control",
    "control_is": "the control",
}


@study("variants", VariantsStudy)
def variants(cfg: VariantsStudy, setting: Setting) -> Plan:
    """Does one GPT of several games share a board between them, and does it know which it plays?"""
    check(cfg, setting)
    seeds = [Question(cfg.of_seed(seed), setting) for seed in cfg.seeds]
    of_seeds = partial(row_over_seeds, seeds)
    games, layers = range(len(cfg.world.games)), range(cfg.world.gpt.n_layers)
    pairs = [(of, on) for of in games for on in games]

    rows = [partial(of_seeds, Question.legal, game) for game in games]
    rows += [partial(of_seeds, Question.which, layer) for layer in layers]
    rows += [partial(row_over_seeds, seeds[:1], Question.which, None)]  # the GPT of one game is the same for every seed
    rows += [partial(of_seeds, Question.latent, game) for game in games]
    rows += [partial(of_seeds, Question.transfer, *pair) for pair in pairs]
    rows += [partial(of_seeds, Question.edit, *pair) for pair in pairs]
    return Plan(rows, COLUMNS, partial(figure, games=cfg.world.games))
