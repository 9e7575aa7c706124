import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 1: games, and a GPT that plays")

with app.setup:
    import marimo as mo
    import torch

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson1 as check
    from boardgame_sae.workshop.material import views


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 1: games, and a GPT that plays

    **Goal.** By the end you can say how well a GPT plays by the rules, and how well it *could*. 60 minutes.

    A small GPT was trained on nothing but the moves of 6x6 Othello games, played at random: `c2b4d5c1...`. It was never
    told that there is a board, or two players, or rules. Yet it plays legally nearly always. So *something* in it must
    stand for the board; the next lessons look for it. Here you measure the behaviour that has to be explained.

    **Othello in four lines.** Black begins. A move puts a disc on an empty square so that at least one straight line of
    the other's discs lies between it and another disc of one's own; all discs in such lines are turned over. A player
    without such a move passes. When neither has one, the game is over.

    **How the exercises work.** Write the function, run its cell (Ctrl+Enter), and the cell below says what is wrong
    with it. Until it is right, the lesson goes on with ours, so nothing holds you up. Hints and solutions are folded.
    If you see no results below the cells, run them all: the ▷ at the bottom right.
    """)
    return


@app.cell
def _():
    testbed = bgs.load_testbed("othello6-tiny")
    game, model = testbed.corpus.game, testbed.model
    texts = game.texts(testbed.corpus.record(testbed.corpus.games("test")[:60]))
    testbed
    return game, model, testbed, texts


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    A **testbed** is a GPT, games it never saw, and the truth about every position of them. Its games are texts, two
    characters a move. Read the board after some plies (a *ply* is one move of one player), and what the GPT would play:
    the warmer a square, the more probable. *(In Jupyter: change `value=` and run both cells again.)*
    """)
    return


@app.cell
def _():
    n_plies = mo.ui.slider(1, 30, value=8, label="plies played", show_value=True)
    which_game = mo.ui.slider(0, 59, value=0, label="game", show_value=True)
    mo.hstack([which_game, n_plies])
    return n_plies, which_game


@app.cell
def _(n_plies, testbed, texts, which_game):
    views.chances_on_board(testbed, texts[which_game.value], n_plies.value)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.1: positions and plies

    *Difficulty ●○○○○ · Importance ●●●●○ · 5 minutes*

    A game of n plies has n + 1 positions, as the start is one. Off-by-one errors are the commonest mistakes in this
    field, so make yours now. Count the legal moves at every position of a written game.

    /// details | Hint
    `game.replay(text)` is a list of positions, the start first; `game.legal_moves(position)` is a list of moves.
    ///
    """)
    return


@app.function
def legal_moves_by_ply(game, text):
    """How many legal moves there are at each position of a written game, from the start to the end.

    A game of n plies has n + 1 positions. `game.replay(text)` gives them, `game.legal_moves(position)` lists moves.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.legal_moves_by_ply(legal_moves_by_ply)
    verdict_1
    return (verdict_1,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.2: whose turn is it?

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    Black moves at plies 0, 2, 4, ... or not? Say for each position before the end whether Black is to move. Published
    code has taken whose turn it is from the parity of the ply; labels made that way are wrong near the ends of games.

    /// details | Hint
    Players pass, and passes are not written. `game.mover(position)` is True when the player who began is to move.
    ///

    /// details | Second hint
    At the end of a game nobody is to move: `game.legal_moves(position)` is empty there. Leave it out.
    ///
    """)
    return


@app.function
def black_to_move(game, text):
    """Whether Black is to move, at each position of a written game before its end. Black makes the first move.

    A player who has no move passes, and passes are not written.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.black_to_move(black_to_move)
    verdict_2
    return (verdict_2,)


@app.cell
def _(game, texts, verdict_2):
    turns = [verdict_2.function(game, text) for text in texts]
    n_wrong = sum(black != (ply % 2 == 0) for turn in turns for ply, black in enumerate(turn))
    mo.md(f"Parity is wrong at **{n_wrong} of {sum(map(len, turns))}** positions of these {len(texts)} games.")
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.3: predictions beside the truth

    *Difficulty ●●●○○ · Importance ●●●●● · 10 minutes*

    `testbed.run_with_hooks(text)` gives logits: a row for each move that was read, a column for each move that may come
    next (column 0 is padding). `views.legal_after(game, text)` gives the truth: a row for each *position*. These are
    not the same rows. Put them side by side, and leave out positions where the game is over.

    /// details | Hint
    After it has read move 0, the GPT predicts move 1. Which position is that? What does the GPT say of the start?
    ///

    /// details | Second hint
    Drop row 0 of the truth. Then keep the rows with `legal.any(-1)`, in both.
    ///
    """)
    return


@app.function
def aligned(logits_LV, legal_RV):
    """Predictions and truth of one game, side by side: (logits_NV, legal_NV), a row for each position asked about.

    logits_LV: (plies, alphabet): row i is what the GPT predicts once it has read move i (counted from 0).
    legal_RV: (plies + 1, alphabet), bool: row i is what may be played after i plies, so row 0 is the start.
    Positions without a legal move (the game is over) are left out.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.aligned(aligned)
    verdict_3
    return (verdict_3,)


@app.cell
def _(game, model, testbed, texts, verdict_3):
    begun = [views.first_plies(game, text, model.gpt.cfg.n_ctx) for text in texts]  # as much as the GPT reads
    pairs = [verdict_3.function(testbed.run_with_hooks(text)[0], views.legal_after(game, text)) for text in begun]
    logits_NV, legal_NV = (torch.cat(part) for part in zip(*pairs, strict=True))
    mo.md(f"{len(logits_NV):,} positions of {len(texts)} games, {logits_NV.shape[1]} logits at each.")
    return legal_NV, logits_NV


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.4: the probability of a legal move

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    How much of its probability does the GPT put on legal moves at each position?

    /// details | Hint
    `softmax` over the moves, times the truth, added up over the moves.
    ///
    """)
    return


@app.function
def legal_probability(logits_NV, legal_NV):
    """(N,): the probability that the GPT gives to legal moves, all together, at each position."""
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.legal_probability(legal_probability)
    verdict_4
    return (verdict_4,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.5: is its best move legal?

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    The number that papers report: the share of positions at which the most probable move is legal.

    /// details | Hint
    `argmax(-1)` is a move for each position; `legal_NV[torch.arange(N), top_N]` looks each up.
    ///
    """)
    return


@app.function
def top_move_legal_rate(logits_NV, legal_NV):
    """Share of positions at which the most probable move is legal, 0 to 1."""
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.top_move_legal_rate(top_move_legal_rate)
    verdict_5
    return (verdict_5,)


@app.cell
def _(legal_NV, logits_NV, verdict_4, verdict_5):
    by_chance = legal_NV[:, 1:].float().mean().item()
    mo.md(f"""
    | | this GPT | a move at random |
    | --- | ---: | ---: |
    | probability on legal moves | {verdict_4.function(logits_NV, legal_NV).mean().item():.2%} | {by_chance:.2%} |
    | most probable move is legal | {verdict_5.function(logits_NV, legal_NV):.2%} | {by_chance:.2%} |

    The card of this testbed says 99.60% [99.51%, 99.69%], on a thousand games. A number without its chance level means
    nothing: on a board where nearly everything is legal, 90% would be poor.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 1.6: how good could it be?

    *Difficulty ●●●○○ · Importance ●●●●○ · 10 minutes*

    The games were played at random: each legal move was as likely as any other. So even a model that knows the rules
    perfectly cannot know which move comes. What is the lowest loss it can reach?

    /// details | Hint
    The loss of a position is minus the logarithm of the probability of the move that came. With n legal moves the best
    model gives each 1/n.
    ///
    """)
    return


@app.function
def loss_floor(n_legal_N):
    """The lowest loss in nats per move that any model can reach on games played uniformly at random.

    n_legal_N: how many moves were legal at each position.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.loss_floor(loss_floor)
    verdict_6
    return (verdict_6,)


@app.cell
def _(legal_NV, logits_NV, verdict_6):
    floor = verdict_6.function(legal_NV.sum(-1))
    expected_NV = legal_NV / legal_NV.sum(-1, keepdim=True)
    loss = -(expected_NV * logits_NV.log_softmax(-1)).sum(-1).mean().item()
    mo.md(f"Expected loss **{loss:.4f}** nats per move; no model can get below **{floor:.4f}** on these games.")
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Bonus: open research

    Where are the GPT's rare illegal moves? Sort positions by `legal_probability` and look at the worst on the board.
    Are they late in the game, after long lines, where a pass was forgotten? Then play openings that random play hardly
    ever reaches, such as games in which one player always takes the square with the lowest number. Does the GPT still
    know the rules there? Nobody has a full account of what such a GPT has learned as a rule and what by heart.

    ## What to take home

    - n plies, n + 1 positions, n predictions: say which you count.
    - Whose turn it is comes from the rules, not from parity.
    - A number needs its chance level and its ceiling (here: the floor of the loss).
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
