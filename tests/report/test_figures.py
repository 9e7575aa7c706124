"""Figures show the numbers they are given, in a look that does not change between them."""

import numpy as np
from matplotlib.colors import to_hex

from boardgame_sae.games import load_game
from boardgame_sae.report.figures import (
    GREY,
    best_sae,
    board_heat_maps,
    coverage_against_l0,
    hook_title,
    learning_curve,
    look,
    probe_accuracy,
    training_curves,
    write_figures,
)
from boardgame_sae.report.table import rows_of
from boardgame_sae.runs import read_json
from boardgame_sae.saes.sae import architectures


def test_every_figure_is_written_and_the_same_twice(study, tmp_path):
    first = write_figures(study, tmp_path / "a")
    names = ["learning_curve", "probe_accuracy", "f1_by_square", "coverage_vs_l0", "loss_vs_l0", "sae_training"]
    assert [path.stem for path in first] == names
    second = write_figures(study, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.read_bytes() == other.read_bytes(), one.name


def test_learning_curve_draws_what_was_logged():
    curve = [
        {"step": 10, "train_loss": 3.0},
        {"step": 10, "legal_rate": 0.5, "legal_mass": 0.4, "validation_loss": 2.5, "loss_floor": 1.5},
        {"step": 20, "legal_rate": 0.9, "legal_mass": 0.8, "validation_loss": 2.0, "loss_floor": 1.5},
    ]
    legal, loss = learning_curve(curve, {"random_weights": {"legal_rate": 0.1}}).axes
    assert legal.lines[0].get_xydata().tolist() == [[10, 0.5], [20, 0.9]]
    assert legal.lines[2].get_ydata()[0] == 0.1
    assert [line.get_ydata()[-1] for line in loss.lines] == [3.0, 2.0, 1.5]


def test_probes_stand_in_the_order_of_the_forward_pass():
    def results(low):
        names = ["blocks.10.hook_resid_post", "blocks.2.hook_resid_post", "blocks.0.hook_resid_pre"]
        points = {name: {"accuracy": low + i / 10, "majority_accuracy": 0.5} for i, name in enumerate(names)}
        return {"property": "board", "hook_points": points}

    (axes,) = probe_accuracy(results(0.7), results(0.5)).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["embedding", "block 2", "block 10"]
    assert np.allclose(axes.lines[0].get_ydata(), [0.9, 0.8, 0.7])
    assert hook_title("blocks.3.mlp.hook_post") == "3.mlp.hook_post"


def test_heat_maps_lie_as_the_board_lies():
    game = load_game("othello4")
    f1_S = np.linspace(0, 1, 16)
    f1_S[5] = np.nan
    figure = board_heat_maps([[("one", f1_S), ("two", f1_S)], [("three", f1_S)]], game)
    first = figure.axes[0]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["a", "b", "c", "d"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["1", "2", "3", "4"]
    drawn = first.images[0].get_array()
    assert np.allclose(drawn.compressed(), np.delete(f1_S, 5))
    assert drawn.mask[1, 1]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["one", "two", "three", ""]


def test_coverage_has_a_series_an_architecture_bars_and_baselines(study):
    rows = rows_of([study])
    figure = coverage_against_l0(rows)
    coverage = figure.axes[0]
    labels = coverage.get_legend_handles_labels()[1]
    assert {"relu", "topk", "random-GPT SAE", "linear probe", "MLP neurons", "residual channels"} <= set(labels)
    assert "always on (chance)" in labels
    drawn = {container.get_label(): container for container in coverage.containers}
    line, _, (bars,) = drawn["topk"]
    known = sorted((r for r in rows if r["kind"] == "sae" and r["architecture"] == "topk"), key=lambda r: r["l0"])
    assert np.allclose(line.get_xydata(), [[row["l0"], row["coverage"]] for row in known])
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert np.allclose(ends, [[row["coverage_low"], row["coverage_high"]] for row in known])
    assert to_hex(line.get_color()) == look("topk")[0].lower()
    assert to_hex(drawn["random-GPT SAE"][0].get_color()) == GREY


def test_log_axes_have_plain_numbers(study):
    figure = coverage_against_l0(rows_of([study]))
    figure.draw_without_rendering()
    texts = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert texts
    assert all(float(text) > 0 and "$" not in text for text in texts)


def test_architectures_look_different_and_unknown_ones_have_a_look():
    looks = [look(name) for name in architectures()]
    assert len(set(looks)) == len(looks)
    assert look("of tomorrow") not in looks


def test_training_curves_of_one_architecture_differ_by_line():
    curve = [{"step": 1, "explained_variance": 0.1, "l0": 5.0}, {"step": 2, "explained_variance": 0.2, "l0": 4.0}]
    variance, l0 = training_curves([("topk", "k = 2", curve), ("topk", "k = 6", curve)]).axes
    assert variance.lines[0].get_linestyle() != variance.lines[1].get_linestyle()
    assert variance.lines[0].get_color() == l0.lines[0].get_color() == look("topk")[0]


def test_the_best_sae_is_that_of_highest_coverage(study):
    best = best_sae(study.beds[0])
    values = [read_json(f / "scores.json") for f in study.beds[0].score_folders]
    saes = [v["scores"]["coverage"]["value"] for v in values if v["subject"]["kind"] == "sae"]
    assert best is not None
    assert best["coverage"].value == max(saes)
