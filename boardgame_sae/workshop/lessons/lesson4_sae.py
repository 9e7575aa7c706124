import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 4: train your first SAE")

with app.setup:
    import marimo as mo

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson4 as check
    from boardgame_sae.workshop.material import views
    from boardgame_sae.workshop.material.own_sae import OwnSAE, Parts


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 4: train your first SAE

    **Goal.** Write a sparse autoencoder from its equations, train it on the GPT's activations, and look at what its
    latents stand for, with the truth beside each. 75 minutes.

    In lesson 2 you knew what to look for: you had labels. In a language model nobody has them. A **sparse autoencoder**
    looks for directions without labels: it writes each activation as a sum of a few rows out of many,

    z = TopK(ReLU((x - b_dec) W_enc + b_enc)),  x̂ = z W_dec + b_dec,

    in the hope that what is seldom on means one thing. Each entry of z is a **latent**; its row of W_dec is the
    direction it adds. Here, and only here, you can check that hope: the truth about the board is known.
    """)
    return


@app.cell
def _():
    shipped = bgs.load_testbed("othello6-tiny")
    testbed = bgs.Testbed(shipped.model, shipped.corpus, shipped.hook_name, properties=["mine_yours"], n_games=300)
    hook = testbed.hook_name
    x_train_ND, x_test_ND = (
        views.acts_of(testbed, views.whole_games(testbed, split, n_games), [hook])[hook]
        for split, n_games in (("train", 800), ("test", 100))
    )
    mo.md(f"At {hook}: {tuple(x_train_ND.shape)} activations to train on, {tuple(x_test_ND.shape)} to test on.")
    return testbed, x_test_ND, x_train_ND


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.1: the encoder

    *Difficulty ●○○○○ · Importance ●●●●○ · 5 minutes*

    How strongly is each latent on? Write the inner part of the formula, without TopK.

    /// details | Hint
    `@` is the matrix product; biases broadcast over positions.
    ///
    """)
    return


@app.function
def encode(x_ND, W_enc_DF, b_enc_F, b_dec_D):
    """(N, F): how strongly each latent is on: ReLU((x - b_dec) W_enc + b_enc)."""
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.encode(encode)
    verdict_1
    return (verdict_1,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.2: sparsity

    *Difficulty ●●●○○ · Importance ●●●●○ · 10 minutes*

    Keep the k largest latents of each position and set the others to zero. Gradients must flow through those that stay.

    /// details | Hint
    `z_NF.topk(k, dim=-1)` has `.values` and `.indices`.
    ///

    /// details | Second hint
    `torch.zeros_like(z_NF).scatter(-1, indices, values)` puts values in their places.
    ///
    """)
    return


@app.function
def keep_largest(z_NF, k):
    """(N, F): the k largest latents of each position, in their places; zero elsewhere."""
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.keep_largest(keep_largest)
    verdict_2
    return (verdict_2,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.3: the decoder

    *Difficulty ●○○○○ · Importance ●●●●○ · 5 minutes*

    /// details | Hint
    What the encoder subtracted first is added back last.
    ///
    """)
    return


@app.function
def decode(z_NF, W_dec_FD, b_dec_D):
    """(N, D): the activations that latents stand for: each latent adds its row of W_dec, times its value."""
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.decode(decode)
    verdict_3
    return (verdict_3,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.4: the loss

    *Difficulty ●●○○○ · Importance ●●●○○ · 10 minutes*

    TopK makes latents sparse by itself, so the loss is the error alone. Papers differ in what they average over, and so
    in what their learning rates and penalties mean. Here: squared *length*, averaged over positions.

    /// details | Hint
    `sum(-1)` over the width, then `mean()` over positions.
    ///
    """)
    return


@app.function
def squared_error(x_ND, x_hat_ND):
    """The loss, a tensor without axes: the squared length of x - x_hat, on average over positions."""
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.squared_error(squared_error)
    verdict_4
    return (verdict_4,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.5: rows of length 1

    *Difficulty ●●○○○ · Importance ●●●○○ · 5 minutes*

    Twice the row and half the latent give the same sum. To give a latent's activation a meaning, every row of W_dec is
    kept at length 1.

    /// details | Hint
    `norm(dim=-1, keepdim=True)`.
    ///
    """)
    return


@app.function
def unit_rows(W_dec_FD):
    """(F, D): the decoder with every row scaled to length 1."""
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.unit_rows(unit_rows)
    verdict_5
    return (verdict_5,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.6: how much of it is explained?

    *Difficulty ●●●○○ · Importance ●●●●○ · 10 minutes*

    Whether an error of 400 is large depends on how far activations spread. Compare with the simplest possible
    reconstruction: always the mean.

    /// details | Hint
    Add up all squared errors; add up all squared distances from `x_ND.mean(0)`; divide; subtract from 1.
    ///
    """)
    return


@app.function
def explained_variance(x_ND, x_hat_ND):
    """1 minus the squared error as a share of the error of always giving the mean activation."""
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.explained_variance(explained_variance)
    verdict_6
    return (verdict_6,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 4.7: L0, and the dead

    *Difficulty ●●○○○ · Importance ●●●●○ · 10 minutes*

    Two numbers to state with every SAE: how many latents are on per position (**L0**), and what share of latents is
    never on (**dead**): those cost memory and explain nothing.

    /// details | Hint
    With `on = z_NF > 0`: sums over latents for L0, `any` over positions for the dead.
    ///
    """)
    return


@app.function
def sparsity(z_NF):
    """(L0, dead): how many latents are on per position on average, and the share of latents that are never on."""
    raise NotImplementedError


@app.cell
def _():
    verdict_7 = check.sparsity(sparsity)
    verdict_7
    return (verdict_7,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Train it

    With your functions (ours where yours are not right yet). Seconds, on any laptop. *(In Jupyter: change `value=`.)*
    """)
    return


@app.cell
def _():
    k = mo.ui.slider(2, 32, value=16, step=2, label="k", show_value=True)
    n_latents = mo.ui.dropdown({"128": 128, "256": 256, "512": 512}, value="256", label="latents")
    mo.hstack([k, n_latents], justify="start")
    return k, n_latents


@app.cell
def _(
    k, n_latents, verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6, verdict_7, x_test_ND, x_train_ND
):  # fmt: skip
    parts = Parts(*(verdict.function for verdict in (verdict_1, verdict_2, verdict_3, verdict_4, verdict_5)))
    sae = OwnSAE(parts, x_train_ND, int(n_latents.value), int(k.value))
    losses = sae.train(x_train_ND, 600)
    z_test_NF = sae.encode(x_test_ND)
    explained = verdict_6.function(x_test_ND, sae.decode(z_test_NF))
    l0, dead = verdict_7.function(z_test_NF)
    mo.md(f"""
    Loss {losses[0]:.1f} at the first step, {losses[-1]:.1f} at the last. On test games: explained variance
    **{explained:.3f}**, L0 **{l0:.1f}**, dead **{dead:.1%}**.
    """)
    return sae, z_test_NF


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## What do latents stand for?

    Here is one of yours: the boards on which it is most active and, since the truth is known, what it predicts best.
    Try a few. Some come close to a disc on one square; many are something else, or several things at once. *(In Jupyter
    change `value=`.)*
    """)
    return


@app.cell
def _(z_test_NF):
    busiest = (z_test_NF > 0).float().mean(0).argsort(descending=True)
    rank = mo.ui.slider(0, 100, value=20, label="latent, by how often it is on", show_value=True)
    rank
    return busiest, rank


@app.cell
def _(busiest, rank, sae, testbed):
    latent = bgs.latent(sae, testbed, int(busiest[int(rank.value)]), name="my SAE")
    latent
    return (latent,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Bonus: open research

    Train the same SAE with two seeds (`OwnSAE(..., seed=1)` and `.train(..., seed=1)`). For each row of one decoder
    find the closest row of the other (largest cosine). How many latents do both have? Which: those that predict a
    square, or those that predict nothing? If two trainings find different latents, in what sense were they *in* the
    GPT?

    ## What to take home

    - An SAE is two matrices and a rule for sparsity; the loss knows nothing of meaning.
    - State explained variance with L0 and dead latents; each by itself can be made as good as you like.
    - That a latent looks meaningful on its top boards is a start. Lesson 5 measures it.
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6, verdict_7):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6, verdict_7])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
