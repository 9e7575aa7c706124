import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 5: is this SAE any good?")

with app.setup:
    import marimo as mo
    import torch

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson5 as check
    from boardgame_sae.workshop.material import scored


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 5: is this SAE any good?

    **Goal.** Write the two scores of Karvonen et al. ([2408.00113](https://arxiv.org/abs/2408.00113)), coverage and
    board reconstruction, and see for yourself why thresholds are held out and why every score needs its chance level.
    75 minutes.

    A latent that *means* a property should be on where the property is true, and off elsewhere: it is a classifier, and
    classifiers can be scored. Here the truth is known for every latent and every position.
    """)
    return


@app.cell
def _():
    shipped = bgs.load_testbed("othello6-tiny")
    testbed = bgs.Testbed(shipped.model, shipped.corpus, shipped.hook_name, properties=["mine_yours"], n_games=150)
    sae = bgs.load_sae("othello6-tiny/topk-16")
    train, test = (scored.read(sae, testbed, split) for split in ("train", "test"))
    labels = testbed.columns[0].class_names
    mo.md(
        f"{train.z_NF.shape[1]} latents, {len(labels)} properties such as *{labels[10]}*; "
        f"{len(train.z_NF):,} positions of train games, {len(test.z_NF):,} of test games."
    )
    return labels, sae, test, testbed, train


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.1: precision and recall

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    When the latent is on, is the property true? And when the property is true, is the latent on?

    /// details | Hint
    `(on_N & true_N).sum()` is the numerator of both. `max(1, n)` keeps you from dividing by zero.
    ///
    """)
    return


@app.function
def precision_recall(on_N, true_N):
    """(precision, recall) of a latent as a classifier: on_N says where it is on, true_N where the property is true.

    Precision: of the positions where it is on, the share where the property is true. Recall: of the positions where the
    property is true, the share where it is on. 0 where the share is of nothing.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.precision_recall(precision_recall)
    verdict_1
    return (verdict_1,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Move the threshold: a latent counts as on above it. Which way does precision go, which way recall? Are there latents
    for which no threshold is good? *(In Jupyter: change `value=`.)*
    """)
    return


@app.cell
def _(train):
    chosen_latent = mo.ui.slider(0, train.z_NF.shape[1] - 1, value=17, label="latent", show_value=True)
    share_of_largest = mo.ui.slider(0.0, 0.95, value=0.2, step=0.05, label="threshold", show_value=True)
    mo.hstack([chosen_latent, share_of_largest])
    return chosen_latent, share_of_largest


@app.cell
def _(chosen_latent, labels, share_of_largest, test, train, verdict_1):
    f, share = int(chosen_latent.value), float(share_of_largest.value)
    property_ = scored.best_property(train, f)
    on_N = test.z_NF[:, f] > share * train.largest_F[f]
    precision, recall = verdict_1.function(on_N, test.true_NP[:, property_])
    mo.md(f"""
    Latent {f} goes best with *{labels[property_]}* (true at {test.true_NP[:, property_].float().mean():.1%} of
    positions). Above {share:.2f} of its largest activation it is on at {on_N.float().mean():.2%}: precision
    **{precision:.3f}**, recall **{recall:.3f}**.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.2: F1 at every threshold

    *Difficulty ●●●○○ · Importance ●●●●○ · 10 minutes*

    F1 combines the two: 2 · both / (on + true). Thresholds are shares of the latent's largest activation on train
    games.

    /// details | Hint
    `z_N > share * largest` for each share; `max(1, ...)` in the denominator; `.item()` makes a number.
    ///
    """)
    return


@app.function
def f1_by_threshold(z_N, true_N, largest, shares):
    """F1 at each threshold: a latent counts as on where it is above share * largest (strictly).

    largest: its largest activation on *train* games, which these need not be. F1 is 2 both / (on + true); 0
    where the latent is never on and the property never true.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.f1_by_threshold(f1_by_threshold)
    verdict_2
    return (verdict_2,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.3: chance

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    A latent that is always on knows nothing. What is its F1, of a property that is true at a share p of positions?

    /// details | Hint
    Precision is p and recall 1. F1 is their harmonic mean.
    ///
    """)
    return


@app.function
def always_on_f1(true_N):
    """F1 of a latent that is on at every position: what a score should be compared with."""
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.always_on_f1(always_on_f1)
    verdict_3
    return (verdict_3,)


@app.cell
def _(test, verdict_3):
    chance_P = torch.tensor([verdict_3.function(true_N) for true_N in test.true_NP.T])
    mo.md(f"On average over the properties, a latent that is always on has F1 **{chance_P.mean():.3f}**.")
    return (chance_P,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.4: coverage, held out

    *Difficulty ●●●○○ · Importance ●●●●● · 15 minutes*

    Coverage asks: for each property, is there *any* latent that predicts it? Take the best latent of each, and average
    their F1 over properties. But the best of a thousand latents is also the luckiest. Choose it on train games, report
    it on test.

    /// details | Hint
    `train_f1_FP.argmax(0)` is the best latent of each property.
    ///

    /// details | Second hint
    `test_f1_FP[best_P, torch.arange(P)]` looks up the F1 of each on test.
    ///
    """)
    return


@app.function
def held_out_coverage(train_f1_FP, test_f1_FP):
    """Coverage: for each property the latent of best F1 on train games; the mean over properties of its F1 on test."""
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.held_out_coverage(held_out_coverage)
    verdict_4
    return (verdict_4,)


@app.cell
def _(chance_P, test, train, verdict_4):
    # F1 at the threshold that is best on train, for all pairs at once (your f1_by_threshold, on matrices).
    train_f1_FP, test_f1_FP = scored.f1_at_best_threshold(train, test)
    coverage = verdict_4.function(train_f1_FP, test_f1_FP)

    # The same latents with the boards shuffled: they know nothing. 200 positions, so that luck has its chance.
    few_train, few_test = (scored.shuffled(part, n=200) for part in (train, test))
    few_train_FP, few_test_FP = scored.f1_at_best_threshold(few_train, few_test)
    mo.md(f"""
    | | latents chosen on train | latents chosen on test |
    | --- | ---: | ---: |
    | this SAE | **{coverage:.3f}** | {test_f1_FP.max(0).values.mean():.3f} |
    | the same, boards shuffled, 200 positions | {verdict_4.function(few_train_FP, few_test_FP):.3f} | {few_test_FP.max(0).values.mean():.3f} |
    | always on | {chance_P.mean():.3f} | {chance_P.mean():.3f} |

    The last column is what you would publish if you chose on test. Is this SAE better than a latent that is always on?
    """)  # noqa: E501
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.5: latents that can be relied on

    *Difficulty ●●●○○ · Importance ●●●○○ · 10 minutes*

    Coverage wants one latent per property. An SAE may spread a property over many latents, each precise about a part:
    "my disc on c3, early, after a move on b2". Board reconstruction gives those credit. First find them.

    /// details | Hint
    `on_NF.double().T @ true_NP.double()` counts where both are true, for all pairs.
    ///

    /// details | Second hint
    Precise: `both >= min_precision * n_on[:, None]`. Often enough: `both >= min_count`.
    ///
    """)
    return


@app.function
def classifiers(on_NF, true_NP, min_precision, min_count):
    """bool (F, P): whether a latent is a classifier of a property, on train games.

    It is one where its precision is at least min_precision, and both are true at least min_count times.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.classifiers(classifiers)
    verdict_5
    return (verdict_5,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 5.6: rebuild the board

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    A board, from nothing but which latents are on.

    /// details | Hint
    A matrix product counts how many classifiers of each property are on.
    ///
    """)
    return


@app.function
def rebuild(on_NF, classifiers_FP):
    """bool (N, P): the boards rebuilt: a property is predicted where any latent that is on is a classifier of it."""
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.rebuild(rebuild)
    verdict_6
    return (verdict_6,)


@app.cell
def _(test, train, verdict_5, verdict_6):
    lines = []
    for at in (0.0, 0.2, 0.4, 0.6):
        on_train_NF, on_test_NF = (part.z_NF > at * train.largest_F for part in (train, test))
        precise_FP = verdict_5.function(on_train_NF, train.true_NP, 0.95, 10)
        predicted_NP = verdict_6.function(on_test_NF, precise_FP)
        both = (predicted_NP & test.true_NP).sum().item()
        rebuilt_f1 = 2 * both / (predicted_NP.sum() + test.true_NP.sum()).item()
        lines.append(
            f"| {at} | {int(precise_FP.any(1).sum())} | {both / max(1, predicted_NP.sum().item()):.3f} | "
            f"{both / test.true_NP.sum().item():.3f} | {rebuilt_f1:.3f} |"
        )
    head = (
        "| threshold | latents that are classifiers | precision | recall | F1 |\n| --- | ---: | ---: | ---: | ---: |\n"
    )
    mo.md(head + "\n".join(lines) + "\n\nThe project's own code chooses the threshold on validation games.")
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Browse the latents

    With scores in mind, look again. Find a latent that covers a property, one that is precise about a part, and one
    that looked meaningful on its top boards and is not. *(In Jupyter: change `value=`.)*
    """)
    return


@app.cell
def _(train):
    alive = torch.nonzero(train.largest_F > 0).flatten().tolist()
    browsed = mo.ui.slider(0, len(alive) - 1, value=40, label="latent that is ever on", show_value=True)
    browsed
    return alive, browsed


@app.cell
def _(alive, browsed, sae, testbed):
    latent = bgs.latent(sae, testbed, alive[int(browsed.value)], name="topk-16")
    latent
    return (latent,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    `bgs.evaluate(sae, testbed, "quick")` computes these scores and more on all games, with intervals.

    ## Bonus: open research

    Coverage likes one latent per property, reconstruction likes many precise ones, and the two rank SAEs differently.
    Is there a score that agrees with what an SAE is *for*? Pick a use (finding a concept, removing it, steering),
    measure it directly with `bgs.ablate` or `bgs.set_latents`, and see which score predicts it over the shipped SAEs.

    ## What to take home

    - Whatever is chosen (latent, threshold) is chosen on other games than those reported.
    - Chance is a number, not zero: the always-on latent here, shuffled labels anywhere.
    - Different scores answer different questions; one number is not "how good an SAE is".
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
