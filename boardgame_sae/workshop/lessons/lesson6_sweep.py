import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lesson 6: what would you claim?")

with app.setup:
    import marimo as mo
    import numpy as np
    import plotly.graph_objects as go

    import boardgame_sae as bgs
    from boardgame_sae.workshop.checking import Progress
    from boardgame_sae.workshop.checks import lesson6 as check
    from boardgame_sae.workshop.material import shipped_scores


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Lesson 6: what would you claim?

    **Goal.** Compare architectures as you would have to in a paper: at the same sparsity, between chance and ceiling,
    with intervals over games, paired where that is possible. Then write down one claim, and what would refute it.
    75 minutes.

    *Architecture A beats architecture B.* Papers say so every month. Here are the scores of the SAEs that ship with
    this testbed, of ten architectures, on the same games.
    """)
    return


@app.cell
def _():
    shipped = shipped_scores.rows("othello6-tiny")
    levels = shipped_scores.levels("othello6-tiny")
    # One budget: how long an SAE was trained is not its architecture.
    rows = [row for row in shipped if row.n_activations == 3_000_000]
    architectures = sorted({row.architecture for row in rows})
    mo.md(f"{len(rows)} SAEs of {len(architectures)} architectures, trained on three million activations each.")
    return architectures, levels, rows


@app.cell
def _():
    score = mo.ui.dropdown(["coverage", "reconstruction"], value="coverage", label="score")
    score
    return (score,)


@app.cell
def _(architectures, levels, rows, score):
    figure = go.Figure()
    for _name in architectures:
        _own = sorted((row for row in rows if row.architecture == _name), key=lambda row: row.l0)
        figure.add_scatter(
            x=[row.l0 for row in _own],
            y=[getattr(row, score.value) for row in _own],
            text=[row.name for row in _own],
            name=_name,
            mode="lines+markers",
        )
    if score.value == "coverage":
        figure.add_hline(levels.chance, line_dash="dot", annotation_text="always on")
        figure.add_hline(levels.ceiling, line_dash="dot", annotation_text="linear probes")
    figure.update_layout(
        xaxis_title="L0: latents that are on per position",
        yaxis_title=f"{score.value} (F1)",
        legend={"orientation": "h", "y": -0.2},
        margin={"t": 20},
        height=480,
    )
    figure
    return (figure,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.1: an interval

    *Difficulty ●●●○○ · Importance ●●●●● · 10 minutes*

    A score measured on a thousand games would differ on a thousand others. By how much? Draw games with replacement,
    many times, and see how far the mean moves. *Games*, not positions: positions of one game are alike, and treating
    them as independent makes intervals far too short.

    /// details | Hint
    `values_B[draws_RB]` has a row for each resample; `.mean(1)` is a mean for each.
    ///

    /// details | Second hint
    `np.percentile(means, [2.5, 97.5])`.
    ///
    """)
    return


@app.function
def interval(values_B, draws_RB):
    """The 95% bootstrap interval of a mean over games: where 2.5% and 97.5% of the resampled means lie.

    values_B: a number for each game. draws_RB: ints, R resamples of B games each, drawn with replacement.
    """
    raise NotImplementedError


@app.cell
def _():
    verdict_1 = check.interval(interval)
    verdict_1
    return (verdict_1,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.2: a difference

    *Difficulty ●●○○○ · Importance ●●●●● · 10 minutes*

    Overlapping intervals do not mean that two SAEs are equal. Both were measured on the *same* games, and a game that
    is hard for one is hard for the other. Take the difference game by game.

    /// details | Hint
    The interval of `a_B - b_B`. You have a function for that.
    ///
    """)
    return


@app.function
def paired_interval(a_B, b_B, draws_RB):
    """The 95% bootstrap interval of the mean of a - b, both measured on the same games."""
    raise NotImplementedError


@app.cell
def _():
    verdict_2 = check.paired_interval(paired_interval)
    verdict_2
    return (verdict_2,)


@app.cell
def _(verdict_1, verdict_2):
    whole = bgs.load_testbed("othello6-tiny")
    testbed = bgs.Testbed(whole.model, whole.corpus, whole.hook_name, properties=["mine_yours"], n_games=150)
    draws_RB = np.random.default_rng(0).integers(0, 150, (2000, 150))
    a_B, b_B = (
        shipped_scores.errors_by_game(bgs.load_sae(f"othello6-tiny/{name}"), testbed)
        for name in ("topk-16", "batch_topk-16")
    )
    lines = [
        f"| {title} | {value:.1f} | [{low:.1f}, {high:.1f}] |"
        for title, value, (low, high) in (
            ("topk, k = 16", a_B.mean(), verdict_1.function(a_B, draws_RB)),
            ("batch_topk, k = 16", b_B.mean(), verdict_1.function(b_B, draws_RB)),
            ("the difference, paired", (a_B - b_B).mean(), verdict_2.function(a_B, b_B, draws_RB)),
        )
    ]
    head = "| squared error on 150 test games | mean | 95% interval |\n| --- | ---: | ---: |\n"
    mo.md(head + "\n".join(lines) + "\n\nWhich lines still tell the two apart with 20 games?")
    return (testbed,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.3: the frontier

    *Difficulty ●●●○○ · Importance ●●●○○ · 10 minutes*

    That a denser SAE reconstructs better is nothing to be proud of. An SAE is on the *frontier* if no other is at least
    as sparse and at least as good.

    /// details | Hint
    Compare all with all: `l0_K[None] <= l0_K[:, None]` says in row i, column j whether j is at most as dense as i.
    ///
    """)
    return


@app.function
def pareto(l0_K, value_K):
    """bool (K,): which of K SAEs are on the frontier: no other is at most as dense, at least as good, and not equal."""
    raise NotImplementedError


@app.cell
def _():
    verdict_3 = check.pareto(pareto)
    verdict_3
    return (verdict_3,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.4: at the same L0

    *Difficulty ●●○○○ · Importance ●●●●○ · 10 minutes*

    Architectures reach different sparsities. Compare them at one, between their SAEs by interpolation, and say nothing
    where there are none.

    /// details | Hint
    `np.interp` needs ascending x; `left=np.nan, right=np.nan`.
    ///
    """)
    return


@app.function
def at_l0(l0_K, value_K, target):
    """The score of an architecture at a given L0, between its SAEs by linear interpolation; nan outside their range."""
    raise NotImplementedError


@app.cell
def _():
    verdict_4 = check.at_l0(at_l0)
    verdict_4
    return (verdict_4,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.5: between chance and ceiling

    *Difficulty ●○○○○ · Importance ●●●●○ · 5 minutes*

    A coverage of 0.6 sounds fair. An always-on latent has 0.42; linear probes, which were shown the truth, 0.93.

    /// details | Hint
    0 at chance, 1 at the ceiling, and a straight line between and beyond.
    ///
    """)
    return


@app.function
def share_of_the_way(value, chance, ceiling):
    """Where a score lies between chance (0) and ceiling (1); below 0 where it is worse than chance."""
    raise NotImplementedError


@app.cell
def _():
    verdict_5 = check.share_of_the_way(share_of_the_way)
    verdict_5
    return (verdict_5,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Exercise 6.6: do the scores agree?

    *Difficulty ●●○○○ · Importance ●●●●○ · 10 minutes*

    If two scores measured the same thing, "a good SAE", they would rank SAEs alike.

    /// details | Hint
    Ranks are `a.argsort().argsort()`. Then `np.corrcoef(...)[0, 1]`.
    ///
    """)
    return


@app.function
def rank_correlation(a_K, b_K):
    """Spearman's correlation of two scores over K SAEs without ties: Pearson's, of their ranks."""
    raise NotImplementedError


@app.cell
def _():
    verdict_6 = check.rank_correlation(rank_correlation)
    verdict_6
    return (verdict_6,)


@app.cell
def _(architectures, levels, rows, verdict_3, verdict_4, verdict_5, verdict_6):
    l0_K, coverage_K, reconstruction_K = (
        np.array([getattr(row, name) for row in rows]) for name in ("l0", "coverage", "reconstruction")
    )
    frontier = {
        name: {rows[i].name for i in np.flatnonzero(verdict_3.function(l0_K, value_K))}
        for name, value_K in (("coverage", coverage_K), ("reconstruction", reconstruction_K))
    }
    table = []
    for _name in architectures:
        _of = np.array([row.architecture == _name for row in rows])
        _coverage, _rebuilt = (verdict_4.function(l0_K[_of], v_K[_of], 32.0) for v_K in (coverage_K, reconstruction_K))
        _way = verdict_5.function(_coverage, levels.chance, levels.ceiling)
        table.append((_name, _coverage, _way, _rebuilt))
    mo.md(
        "| at L0 = 32 | coverage | chance 0, ceiling 1 | reconstruction |\n| --- | ---: | ---: | ---: |\n"
        + "\n".join(f"| {n} | {c:.3f} | {w:.2f} | {r:.3f} |" for n, c, w, r in sorted(table, key=lambda t: -t[1]))
        + f"\n\nOn the frontier of coverage: {', '.join(sorted(frontier['coverage']))}; of reconstruction: "
        f"{', '.join(sorted(frontier['reconstruction']))}. Rank correlation of the two scores over these {len(rows)} "
        f"SAEs: **{verdict_6.function(coverage_K, reconstruction_K):.2f}**."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## A sweep of your own

    Two architectures at two sparsities, on fifty thousand activations each: a minute or two. *(In Jupyter: change
    `value=False` to `True`.)* A YAML file does the same at any size: `boardgame-sae sweep study.yaml`, then
    `boardgame-sae report RUN`, which writes tables, figures and the **explorer**: one page with every SAE and latent.
    """)
    return


@app.cell
def _():
    wanted = mo.ui.checkbox(value=False, label="train four SAEs")
    wanted
    return (wanted,)


@app.cell
def _(testbed, wanted):
    own_rows = []
    for _architecture in ("topk", "matryoshka_batch_topk") if wanted.value else ():
        for _k in (8, 32):
            _sae = bgs.train_sae(testbed, _architecture, n_latents=256, k=_k, n_activations=50_000, n_harvested=50_000)
            _scores = bgs.evaluate(_sae, testbed, "quick", name=f"{_architecture}-{_k}")
            _coverage, _rebuilt = _scores["coverage"], _scores["board_reconstruction"]
            own_rows.append(f"| {_architecture} | {_k} | {_coverage.value:.3f} | {_rebuilt.value:.3f} |")
    mo.md(
        "| yours | k | coverage | reconstruction |\n| --- | ---: | ---: | ---: |\n" + "\n".join(own_rows)
        if own_rows
        else "Nothing trained yet."
    )
    return (own_rows,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Write down what you would claim

    One sentence. Then check it:

    - Which score, of what, on which model and games? Would it hold on chess?
    - At which L0, and for which training budget?
    - How far from chance and from the ceiling?
    - Which interval, over what: games, seeds, both? (One seed of each architecture is *one* architecture's luck.)
    - What was chosen on which games?
    - Which result would make you withdraw it? Has anybody looked?
    """)
    return


@app.cell
def _():
    claim = mo.ui.text_area(placeholder="I would claim that ...", rows=4, full_width=True)
    claim
    return (claim,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Bonus: open research

    Of the thirty SAEs only the sparsest is on both frontiers. Coverage asks for one latent per property, reconstruction
    for precise parts. Sketch an architecture (or a loss) that could do well at both, and test it: an architecture is
    one new file, and `boardgame-sae sweep` compares it with the others.

    ## What to take home

    - Same L0, same budget, same games, held out; chance and ceiling beside every number.
    - Intervals over games, paired where the games are the same; over seeds before you name an architecture.
    - A claim says what would refute it.
    """)
    return


@app.cell
def _(verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6):
    progress = Progress([verdict_1, verdict_2, verdict_3, verdict_4, verdict_5, verdict_6])
    progress
    return (progress,)


if __name__ == "__main__":
    app.run()
