import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 2: the board inside")

with app.setup:
    import marimo as mo
    import torch

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson2 as check
    from boardgame_sae.workshop.material import views


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 2: the board inside

    **Goal.** Read the board out of the GPT's activations with linear probes, know what a probe's accuracy is worth, and
    find for yourself the one change of the question that makes the board appear. 75 minutes.

    A **probe** is a linear map from the activations at one place of the GPT to what we want to know. If it works on
    games it was not fitted on, the information is there, and in the simplest form possible: a direction. In 2022 Li et
    al. ([2210.13382](https://arxiv.org/abs/2210.13382)) found that linear probes read *black* and *white* poorly, and
    used nonlinear ones. A year later Nanda et al. ([2309.00941](https://arxiv.org/abs/2309.00941)) asked another
    question, and linear probes sufficed. You will find that question in exercise 2.5; don't look it up before.
    """)
    return


@app.cell
def _():
    testbed = bgs.load_testbed("othello6-tiny")
    game = testbed.corpus.game
    layers = views.residual_stream(testbed)  # the embedding, and the residual stream after each of 8 blocks
    train_texts = views.whole_games(testbed, "train", 150)
    test_texts = views.whole_games(testbed, "test", 50)
    train_acts = views.acts_of(testbed, train_texts, layers)
    test_acts = views.acts_of(testbed, test_texts, layers)
    mo.md(
        f"{len(layers)} hook points, {len(train_texts)} train games, {len(test_texts)} test games; "
        f"activations of shape {tuple(train_acts[layers[0]].shape)} at each hook point."
    )
    return game, layers, test_acts, test_texts, testbed, train_acts, train_texts


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.1: the truth

    *Difficulty ●○○○○ · Importance ●●●○○ · 5 minutes*

    First the labels: what stands on each square, by colour, at every position of a game.

    /// details | Hint
    `".bw".index(cell)` is 0, 1 or 2.
    ///
    """)
    return


@app.function
def colour_classes(game, text):
    """int64 (plies + 1, squares): 0 where a square is empty, 1 where a black disc stands, 2 where a white one does.

    `game.cells(position)` writes a position as text, one character per square: `b`, `w` or `.`.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.colour_classes(colour_classes)
    verdict_1
    return (verdict_1,)


@app.cell
def _(game, test_texts, train_texts, verdict_1):
    # Row i of the activations was computed when move i had been read, so it belongs to position i + 1: drop the start.
    train_colours_NS, test_colours_NS = (
        torch.cat([verdict_1.function(game, text)[1:] for text in texts]) for texts in (train_texts, test_texts)
    )
    mo.md(f"Labels of shape {tuple(train_colours_NS.shape)}.")
    return test_colours_NS, train_colours_NS


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.2: fit a probe

    *Difficulty ●●●○○ · Importance ●●●●○ · 15 minutes*

    Ridge regression onto one-hot classes has a closed form: where X holds the activations (with a 1 appended to each,
    for the bias) and Y the one-hot classes, the weights are (X'X + ridge I)⁻¹ X'Y. One solve fits all 36 squares at
    once.

    /// details | Hint
    `F.pad(acts_ND, (0, 1), value=1.0)` appends the 1; `F.one_hot(classes_NS, 3).flatten(1).to(X_ND)` is Y.
    ///

    /// details | Second hint
    `torch.linalg.solve(A, B)` is A⁻¹B. Give the result the shape (D + 1, S, 3) with `.view`.
    ///
    """)
    return


@app.function
def fit_probe(acts_ND, classes_NS, ridge):
    """(D + 1, S, 3): the linear map from activations, with a 1 appended, that fits one-hot classes best.

    It minimises the summed squared error plus `ridge` times the summed squared weights (the bias's too, for
    simplicity), so it is (X'X + ridge I)^-1 X'Y.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.fit_probe(fit_probe)
    verdict_2
    return (verdict_2,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.3: how good is it?

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    The probe's answer for a square is the class with the largest output. In what share of squares, over all
    positions, is it right?

    /// details | Hint
    `torch.einsum("nd,dsc->nsc", acts_ND, weights_DSC[:-1]) + weights_DSC[-1]`, then `argmax(-1)`.
    ///
    """)
    return


@app.function
def probe_accuracy(weights_DSC, acts_ND, classes_NS):
    """Share of squares, over all positions, of which the probe's largest output is that of the true class.

    weights_DSC: of `fit_probe`, (D + 1, S, 3); the last row is the bias.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.probe_accuracy(probe_accuracy)
    verdict_3
    return (verdict_3,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.4: and if it had learned nothing?

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    A probe that ignores the activations can still say of each square what is most common there. Where you choose the
    majority matters: to choose it on the games you are judged on would be cheating.

    /// details | Hint
    `train_classes_NS.mode(0).values` is the most common class of each square.
    ///
    """)
    return


@app.function
def majority_accuracy(train_classes_NS, classes_NS):
    """Accuracy of always saying of each square what stands there most often in the train games."""
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.majority_accuracy(majority_accuracy)
    verdict_4
    return (verdict_4,)


@app.cell
def _(layers, test_acts, test_colours_NS, train_acts, train_colours_NS, verdict_2, verdict_3, verdict_4):
    fit, accuracy = verdict_2.function, verdict_3.function
    by_colour = {
        name: accuracy(fit(train_acts[name], train_colours_NS, 10.0), test_acts[name], test_colours_NS)
        for name in layers
    }
    majority = verdict_4.function(train_colours_NS, test_colours_NS)
    mo.md(
        "Black, white or empty, share of squares read correctly:\n\n"
        "| hook point | probe | majority |\n| --- | ---: | ---: |\n"
        + "\n".join(f"| {name} | {value:.1%} | {majority:.1%} |" for name, value in by_colour.items())
    )
    return accuracy, by_colour, fit


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.5: ask another question

    *Difficulty ●●●●○ · Importance ●●●●● · 15 minutes*

    Better than nothing, and far from a board. Before you open a hint: what does the GPT have to know to predict the
    *next* move? Does it matter who is Black? Describe the same boards in the terms that the GPT would use.

    /// details | Hint
    The rules are the same for both players. One circuit can serve both if it sees the board as whoever is to move does.
    ///

    /// details | Second hint
    Mine and yours: where Black is to move, black discs are mine; where White is, white ones are. Use the true player to
    move, not parity.
    ///
    """)
    return


@app.function
def to_mover(classes_NS, black_N):
    """int64 (N, S): the same boards as the player to move sees them: 0 empty, 1 mine, 2 yours.

    classes_NS: 0 empty, 1 black, 2 white. black_N: bool, whether Black is to move at each position.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.to_mover(to_mover)
    verdict_5
    return (verdict_5,)


@app.cell
def _(
    accuracy, by_colour, fit, game, layers, test_acts, test_colours_NS, test_texts, train_acts, train_colours_NS,
    train_texts, verdict_5,
):  # fmt: skip
    train_black_N, test_black_N = (
        torch.tensor([game.mover(position) for text in texts for position in game.replay(text)[1:]])
        for texts in (train_texts, test_texts)
    )
    train_mine_NS = verdict_5.function(train_colours_NS, train_black_N)
    test_mine_NS = verdict_5.function(test_colours_NS, test_black_N)
    probes = {name: fit(train_acts[name], train_mine_NS, 10.0) for name in layers}
    by_mover = {name: accuracy(probes[name], test_acts[name], test_mine_NS) for name in layers}
    mo.md(
        "| hook point | black or white | mine or yours |\n| --- | ---: | ---: |\n"
        + "\n".join(f"| {name} | {by_colour[name]:.1%} | {by_mover[name]:.1%} |" for name in layers)
    )
    return probes, test_mine_NS


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    That is the board. Nothing about the GPT has changed, only the question. The shipped probes, fitted on thirty
    thousand games, read 96.3% at block 5. *(What does the embedding know, which sees one move and nothing else?)*

    Now look at what each layer believes. The board to click has the colours of the layer's belief, yellow for mine and
    green for yours: **click a square** to see it layer by layer below. Of the two pictures the left one is the truth;
    on the right one warm squares are believed to be mine, cold ones yours. *(In Jupyter change `value=` and `square`.)*
    """)
    return


@app.cell
def _(layers):
    chosen_square, choose_square = mo.state("c3")
    believed_at = mo.ui.slider(1, 31, value=12, label="plies played", show_value=True)
    of_layer = mo.ui.slider(0, len(layers) - 1, value=6, label="hook point", show_value=True)
    mo.hstack([believed_at, of_layer], wrap=True, justify="start")
    return believed_at, choose_square, chosen_square, of_layer


@app.cell
def _(believed_at, choose_square, game, layers, of_layer, test_texts, testbed):
    believed = views.believed(testbed, test_texts[0], believed_at.value, layers[of_layer.value])
    kinds = {"mine": "warn", "yours": "success", "empty": "neutral"}
    squares = mo.ui.array(
        [
            mo.ui.button(label=name, kind=kinds[content], on_change=lambda _, name=name: choose_square(name))
            for name, content in zip(game.squares, believed, strict=True)
        ]
    )
    n_columns = game.shape[1]
    rows = [mo.hstack(squares[start : start + n_columns], justify="start") for start in range(0, 36, n_columns)]
    mo.vstack(rows)
    return (squares,)


@app.cell
def _(believed_at, chosen_square, layers, of_layer, test_texts, testbed):
    square = chosen_square()
    views.believed_board(testbed, test_texts[0], believed_at.value, layers[of_layer.value], square)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 2.6: when does it lose the board?

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    An average hides where it fails. Split the accuracy by the number of plies played.

    /// details | Hint
    `right_NS[ply_N == ply].float().mean()` for ply 1, 2, ..., up to and including the largest.
    ///
    """)
    return


@app.function
def accuracy_by_ply(right_NS, ply_N):
    """(plies,) float: the share of right squares after 1 ply, after 2, and so on to the largest ply there is.

    right_NS: bool, whether a square is read correctly. ply_N: how many plies are played at each position, from 1 on.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.accuracy_by_ply(accuracy_by_ply)
    verdict_6
    return (verdict_6,)


@app.cell
def _(probes, test_acts, test_mine_NS, test_texts, verdict_6):
    best = "blocks.5.hook_resid_post"
    outputs_NSC = torch.einsum("nd,dsc->nsc", test_acts[best], probes[best][:-1]) + probes[best][-1]
    ply_N = torch.arange(1, 32).repeat(len(test_texts))
    by_ply = verdict_6.function(outputs_NSC.argmax(-1) == test_mine_NS, ply_N)
    mo.md("At block 5: " + ", ".join(f"ply {ply}: {by_ply[ply - 1]:.1%}" for ply in (1, 5, 10, 15, 20, 25, 31)))
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Bonus: open research

    The board fades late in the game. With few empty squares left the GPT does not need the whole board: does legality
    (lesson 1) fade with it, or does the GPT keep just what decides legal moves? Probe only discs that lie on a line to
    an empty square (`game.labels(text, ["line"])`) against those that do not. Whether a network's "world model" is a
    model of the world or of what it needs next is an open question.

    ## What to take home

    - A probe's accuracy needs its majority baseline, chosen on train, and games it was not fitted on.
    - Whether something is "linearly represented" depends on the terms you ask in.
    - A probe shows that information is *there*. Whether it is *used* is lesson 3.
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
