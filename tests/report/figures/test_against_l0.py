"""Scores against L0: each SAE, baseline and level of chance where its numbers say."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from boardgame_sae.metrics import score as score_module
from boardgame_sae.metrics.baselines.registry import find_baseline
from boardgame_sae.metrics.score import Display
from boardgame_sae.report.figures.against_l0 import BUDGET, OTHERS, X_TITLES, Frame, Panel, against_l0, panels_of
from boardgame_sae.report.rows import rows_of
from boardgame_sae.saes.registry import look


@pytest.fixture(scope="module")
def rows(study):
    return rows_of([study])


def drawn(rows, figure, frame=None):
    """The panels of a figure, by title."""
    axes = against_l0(rows, panels_of(figure, rows), frame or Frame()).axes
    return {panel.get_title(): panel for panel in axes}


def single_saes(rows):
    return sorted((r for r in rows if r["kind"] == "sae" and not r["pooled_as"]), key=lambda r: r["l0"])


def test_coverage_has_a_series_per_architecture_bars_and_baselines(rows):
    coverage = drawn(rows, "coverage_vs_l0")["Coverage"]
    labels = coverage.get_legend_handles_labels()[1]
    assert {"relu", "topk", "random-GPT SAE", "linear probe", "MLP neurons", "residual channels"} <= set(labels)
    assert "always on (chance)" in labels
    containers = {container.get_label(): container for container in coverage.containers}
    line, _, (bars,) = containers["topk"]
    known = [row for row in single_saes(rows) if row["architecture"] == "topk"]
    assert [row["n_seeds"] for row in known] == [1, 2], "seeds are one point"
    assert np.allclose(line.get_xydata(), [[row["l0"], row["coverage"]] for row in known])
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert np.allclose(ends, [[row["coverage_low"], row["coverage_high"]] for row in known])
    assert to_hex(line.get_color()) == look("topk")[0].lower()
    assert to_hex(containers["random-GPT SAE"][0].get_color()) == find_baseline("random_gpt_sae").look.colour


def test_the_ceiling_of_the_same_sparsity_is_a_line_over_its_l0(rows):
    panels = drawn(rows, "coverage_vs_l0")
    for title, column in (("Coverage", "coverage"), ("Board reconstruction", "board_reconstruction")):
        (line,) = [line for line in panels[title].lines if line.get_label() == "linear probe of the same sparsity"]
        known = sorted((row["l0"], row[column]) for row in rows if row["kind"] == "sparse_probe")
        assert np.allclose(line.get_xydata(), known)


def test_only_what_has_a_level_of_chance_shows_one(rows):
    panels = drawn(rows, "coverage_vs_l0")
    levels = [[line for line in axes.lines if "chance" in line.get_label()] for axes in panels.values()]
    assert [len(lines) for lines in levels] == [1, 0]
    assert levels[0][0].get_ydata()[0] == rows[0]["coverage_always_on"]


def test_direction_recovery_stands_beside_its_random_level(rows):
    panels, known = drawn(rows, "direction_recovery", Frame(share_y=True)), single_saes(rows)
    endings = {"Directions that probes read": ("", "random"), "Differences of means": ("_means", "means_random")}
    assert list(panels) == list(endings)
    for title, (ending, random) in endings.items():
        axes = panels[title]
        (line,) = [line for line in axes.lines if line.get_label() == "random directions (chance)"]
        assert np.allclose(line.get_xydata(), [[r["l0"], r[f"direction_recovery_{random}"]] for r in known])
        topk = next(container for container in axes.containers if container.get_label() == "topk")[0]
        values = [r[f"direction_recovery{ending}"] for r in known if r["architecture"] == "topk"]
        assert np.allclose(topk.get_ydata(), values)
        low, high = axes.get_ylim()
        assert low == 0 and all(low <= y <= high for line in axes.lines for y in line.get_ydata()), "nothing is cut off"


def test_loss_is_shown_of_saes_on_the_trained_gpt_only(rows):
    panels = drawn(rows, "loss_vs_l0", Frame(baselines=False, ideal=1.0))
    assert list(panels) == ["Loss recovered", "Explained variance"]
    labels = panels["Loss recovered"].get_legend_handles_labels()[1]
    assert sorted(labels) == ["relu", "topk"]
    assert [line.get_ydata()[0] for line in panels["Explained variance"].lines if line.get_linestyle() == ":"] == [1.0]


def test_a_score_that_says_nothing_of_figures_has_a_panel_among_the_others(rows, monkeypatch):
    assert panels_of(OTHERS, rows) == []
    known = score_module.scores()["core"]
    plain = replace(known, name="plain", title="Plain accuracy", order=98, display=Display())
    display = Display(figure="of_tomorrow", panels={"_part": "A part"})
    elsewhere = replace(known, name="elsewhere", title="Elsewhere", order=99, display=display)
    registered = {**score_module._SCORES.all(), "plain": plain, "elsewhere": elsewhere}
    monkeypatch.setattr(score_module._SCORES, "_known", registered)
    more = [{**row, "plain": 0.25, "plain_low": 0.125, "plain_high": 0.5, "elsewhere_part": 0.75} for row in rows]
    panels = drawn(more, OTHERS)
    assert list(panels) == ["Plain accuracy", "A part"]
    (bars,) = next(container for container in panels["Plain accuracy"].containers if container.get_label() == "relu")[2]
    assert bars.get_segments()[0][:, 1].tolist() == [0.125, 0.5]
    labels = panels["A part"].get_legend_handles_labels()[1]
    assert {"topk", "linear probe", "random-GPT SAE"} < set(labels)


def test_log_axes_have_plain_numbers(rows):
    figure = against_l0(rows, panels_of("coverage_vs_l0", rows), Frame())
    figure.draw_without_rendering()
    texts = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert texts
    assert all(float(text) > 0 and "$" not in text for text in texts)


def test_against_budgets_saes_of_one_setting_are_joined_and_ceilings_of_one_l0_are_left_out(rows):
    first, other = single_saes(rows)[:2]
    rows = [row for row in rows if row["kind"] != "sae"]
    trained = [
        {**first, "n_activations": n, "coverage": value} for n, value in ((10**7, 0.7), (10**6, 0.5), (10**8, 0.8))
    ]
    alone = {**other, "n_activations": 3 * 10**6, "coverage": 0.6}
    panel = Panel(None, "coverage", "Coverage", x=BUDGET, x_title=X_TITLES[BUDGET])
    (axes,) = against_l0([*rows, *trained, alone], [panel], Frame(from_zero=False)).axes
    points = [container[0].get_xydata().tolist() for container in axes.containers]
    assert [[10**6, 0.5], [10**7, 0.7], [10**8, 0.8]] in points and [[3 * 10**6, 0.6]] in points
    levels = {line.get_label() for line in axes.lines}
    assert {"MLP neurons", "linear probe"} <= levels and not any("sparsity" in label for label in levels)
    assert axes.get_xlabel() == "training activations"
    assert [axes.xaxis.get_major_formatter()(n) for n in (10**6, 5 * 10**7)] == ["1M", "50M"]
