import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 3: flip a square")

with app.setup:
    import marimo as mo
    import torch

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson3 as check
    from boardgame_sae.workshop.material import flips, views


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 3: flip a square

    **Goal.** Show that the GPT *uses* the board you read out of it: change it by hand and watch the moves follow. Then
    say what would have convinced you otherwise. 75 minutes.

    A probe finds what correlates. A GPT could hold a board and never look at it. To find out, intervene: move the
    activations so that the probe says *mine* of a disc that is *yours*, let the rest of the GPT run, and see which
    moves it plays. If it uses that board, it will play by the **edited** board, which no game led to.
    """)
    return


@app.cell
def _():
    testbed = bgs.load_testbed("othello6-tiny")
    game, model = testbed.corpus.game, testbed.model
    n_plies = 14
    validation_flips, test_flips = (
        flips.flips(game, views.whole_games(testbed, split, 60), n_plies) for split in ("validation", "test")
    )
    mo.md(
        f"{len(validation_flips)} flips to choose settings on, {len(test_flips)} to report; each after {n_plies} plies."
    )
    return game, model, test_flips, testbed, validation_flips


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.1: a direction

    *Difficulty ●●○○○ · Importance ●●●●○ · 10 minutes*

    The probe's logit of a class is a dot product with that class's weights. In which direction does its answer change
    from `old` to `new`?

    /// details | Hint
    Weights of `new` minus weights of `old`, at that square. Divide by the length.
    ///
    """)
    return


@app.function
def flip_direction(weight_DSC, square, old, new):
    """(D,), of length 1: the direction in which the probe says `new` rather than `old` of a square.

    weight_DSC: a probe's weights, (width, squares, classes). old, new: numbers of classes.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.flip_direction(flip_direction)
    verdict_1
    return (verdict_1,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.2: a push

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    A **hook** is a function that gets the activations at one place, (games, tokens, width), while the GPT runs, and
    returns what replaces them. Push the last token of each game along its own direction.

    /// details | Hint
    `clone()` first: others may still need what you were given.
    ///
    """)
    return


@app.function
def push(value_BLD, direction_BD, scale):
    """(B, L, D): the activations with each game's last token moved by `scale` along the game's own direction.

    direction_BD: a direction for each game. What is given stays as it is.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.push(push)
    verdict_2
    return (verdict_2,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.3: what it ought to play then

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    The truth on the edited board: the legal moves if something else stood on a square, with the same player to move.

    /// details | Hint
    `game.replay(text)[-1]` is the position; `game.with_square(...)` edits it; then `game.legal_moves`, as in lesson 1.
    ///
    """)
    return


@app.function
def legal_as_edited(game, text, square, content):
    """The legal moves, as written, if after these moves something else stood on a square.

    content: `mine`, `yours` or `empty`, as the player to move sees it. `game.with_square(position, square, content)`
    is the edited position, `game.move_text(position, move)` writes a move.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.legal_as_edited(legal_as_edited)
    verdict_3
    return (verdict_3,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.4: count the errors

    *Difficulty ●●●○○ · Importance ●●●○○ · 10 minutes*

    The measure of Li et al.: if n moves are legal on the edited board, take the n most probable moves of the GPT and
    count those that are wrong and those that are missing. 0 is perfect.

    /// details | Hint
    `argsort(-1, descending=True).argsort(-1)` is the rank of each move, 0 for the most probable.
    ///

    /// details | Second hint
    Played are those with a rank below the number of legal moves of that game: `rank_BV < n_legal_B[:, None]`.
    ///
    """)
    return


@app.function
def errors(logits_BV, legal_BV):
    """(B,) int64: wrong plus missing moves, when with n legal moves the n most probable ones are what the GPT plays.

    legal_BV: bool, the moves that ought to be played. So each wrong move costs 2: it is wrong, and one is missing.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.errors(errors)
    verdict_4
    return (verdict_4,)


@app.cell
def _(game, testbed, verdict_1, verdict_2, verdict_3, verdict_4):
    contents = game.contents  # mine, yours, empty: the classes of the probe

    def directions_of(some_flips, hook_name):
        """(B, D): the probe's direction for each flip."""
        weight_DSC = testbed.once(bgs.Testbed.probe, hook_name, "board").weight_DSC.cpu()
        return torch.stack(
            [verdict_1.function(weight_DSC, f.square, contents.index(f.old), contents.index(f.new)) for f in some_flips]
        )

    def logits_when_pushed(some_flips, hook_name, direction_BD, scale):
        """(B, V): what the GPT predicts next for each flip's game."""
        hooks = {hook_name: lambda value: verdict_2.function(value, direction_BD, scale)}
        return testbed.run_with_hooks([f.text for f in some_flips], hooks)[:, -1]

    def errors_when_pushed(some_flips, hook_name, direction_BD, scale):
        """(B,): errors on the edited boards."""
        legal_BV = torch.stack(
            [flips.legal_tokens(testbed, verdict_3.function(game, f.text, f.square, f.new)) for f in some_flips]
        )
        return verdict_4.function(logits_when_pushed(some_flips, hook_name, direction_BD, scale), legal_BV)

    return directions_of, errors_when_pushed, logits_when_pushed


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.5: a control

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    Any big enough push changes what a GPT plays. To say that *this direction* matters, compare it with random ones of
    the same length.

    /// details | Hint
    `random * (direction.norm(dim=-1, keepdim=True) / random.norm(dim=-1, keepdim=True))`.
    ///
    """)
    return


@app.function
def random_like(direction_BD, seed):
    """(B, D): random directions, each as long as the one given: what an edit is compared with.

    Drawn with `torch.randn(direction_BD.shape, generator=torch.Generator().manual_seed(seed))`, then rescaled.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.random_like(random_like)
    verdict_5
    return (verdict_5,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 3.6: how far to push

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    Too little does nothing, too much breaks the GPT. Choose the scale, and the layer, on validation games; report test
    games once. To choose on the games you report is to report your luck.

    /// details | Hint
    Average over games, then `argmin`; return the scale, not its place.
    ///
    """)
    return


@app.function
def best_scale(errors_KB, scales):
    """The scale with the lowest mean error; the smaller one where two are equal.

    errors_KB: (scales, games), errors on validation games. scales: ascending.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.best_scale(best_scale)
    verdict_6
    return (verdict_6,)


@app.cell
def _(directions_of, errors_when_pushed, test_flips, testbed, validation_flips, verdict_5, verdict_6):
    scales = [0.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0]
    chosen, on_validation = {}, {}
    for layer in views.residual_stream(testbed)[1:]:
        direction_BD = directions_of(validation_flips, layer)
        errors_KB = torch.stack([errors_when_pushed(validation_flips, layer, direction_BD, s) for s in scales])
        chosen[layer] = verdict_6.function(errors_KB, scales)
        on_validation[layer] = errors_KB[scales.index(chosen[layer])].float().mean().item()
    best_layer = min(on_validation, key=on_validation.get)

    test_BD = directions_of(test_flips, best_layer)
    pushed = {
        "not edited": errors_when_pushed(test_flips, best_layer, test_BD, 0.0),
        "along the probe's direction": errors_when_pushed(test_flips, best_layer, test_BD, chosen[best_layer]),
        "along random directions": errors_when_pushed(
            test_flips, best_layer, verdict_5.function(test_BD, 0), chosen[best_layer]
        ),
    }
    mo.md(
        "| layer | best scale | errors on validation |\n| --- | ---: | ---: |\n"
        + "\n".join(f"| {name} | {chosen[name]:g} | {on_validation[name]:.2f} |" for name in chosen)
        + f"\n\nAt {best_layer}, by {chosen[best_layer]:g}, on **test** games:\n\n| | errors |\n| --- | ---: |\n"
        + "\n".join(f"| {name} | {values_B.float().mean():.2f} |" for name, values_B in pushed.items())
    )
    return best_layer, chosen


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Look at single games: move the scale from 0 up and watch the moves change. *(In Jupyter: change `value=`.)*
    """)
    return


@app.cell
def _(best_layer, chosen, test_flips):
    shown_flip = mo.ui.slider(0, len(test_flips) - 1, value=0, label="game", show_value=True)
    shown_scale = mo.ui.slider(0, 64, value=chosen[best_layer], step=1, label="scale", show_value=True)
    mo.hstack([shown_flip, shown_scale])
    return shown_flip, shown_scale


@app.cell
def _(best_layer, directions_of, logits_when_pushed, shown_flip, shown_scale, test_flips, testbed):
    one = [test_flips[int(shown_flip.value)]]
    before_V, after_V = (
        logits_when_pushed(one, best_layer, directions_of(one, best_layer), scale)[0].softmax(-1)
        for scale in (0.0, float(shown_scale.value))
    )
    flips.shown(testbed, one[0], before_V, after_V)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    `bgs.edit("othello6-tiny", moves, "c3", "mine")` does all of this with more care (all layers, several ways to push,
    chosen on validation games), and sets several squares at once.

    ## Bonus: open research

    Set a square to *empty*, or move two discs at once. Why are some edits ignored? Is it the layer (too late: the moves
    are already worked out), the length, or another part of the GPT that still remembers the true board and writes it
    again? Push at layer 3, and probe at layer 6: does the edit last?

    ## What to take home

    - A probe finds what is there; an intervention shows what is used.
    - Every intervention needs a control of the same size.
    - Choose on validation, report on test.
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
