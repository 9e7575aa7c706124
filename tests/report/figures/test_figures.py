"""Figures show the numbers they are given, in a look that does not change between them."""

import numpy as np
from matplotlib.colors import to_hex

from boardgame_sae.files import read_json
from boardgame_sae.games import load_game
from boardgame_sae.report.figures.gpt_figures import learning_curve, legality_figure, probe_accuracy
from boardgame_sae.report.figures.layer_figures import scores_by_layer
from boardgame_sae.report.figures.sae_figures import (
    _probe_squares,
    best_sae,
    board_heat_maps,
    coverage_against_l0,
    coverage_by_property,
    direction_recovery,
    training_curves,
    write_figures,
)
from boardgame_sae.report.figures.style import GREY, hook_title, look
from boardgame_sae.report.rows import kind_title, recipe, rows_of
from boardgame_sae.saes.registry import architectures


def test_every_figure_is_written_and_the_same_twice(study, tmp_path):
    first = write_figures(study, tmp_path / "a")
    names = ["learning_curve", "legality", "probe_accuracy", "probe_squares", "f1_by_square", "coverage_by_property"]
    names += ["coverage_vs_l0", "direction_recovery", "loss_vs_l0", "sae_training"]
    assert [path.stem for path in first] == names
    second = write_figures(study, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.read_bytes() == other.read_bytes(), one.name


def test_only_the_figures_asked_for_are_drawn(study, tmp_path):
    found = write_figures(study, tmp_path, ("coverage_vs_l0", "learning_curve"))
    assert [path.stem for path in found] == ["learning_curve", "coverage_vs_l0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in found)


def test_probe_squares_shows_the_accuracy_of_each_square_at_each_hook_point(study):
    (figure,) = _probe_squares(study)
    found = read_json(study.probes[0] / "probes.json")["hook_points"]
    boards = [axes for axes in figure.axes if axes.images]
    assert len(boards) == len(found) == 3
    low = boards[0].images[0].get_clim()[0]
    names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    for axes, name in zip(boards, names, strict=True):
        shown = np.asarray(axes.images[0].get_array()).ravel()
        np.testing.assert_allclose(shown, found[name]["accuracy_S"])
        assert axes.get_title() == f"{hook_title(name)}: {found[name]['accuracy']:.1%}"
        assert low <= shown.min()


def test_scores_by_layer_has_a_line_a_recipe_through_its_hook_points(study):
    rows = [row for row in rows_of([study]) if row["pooled_as"] is None]
    later = [
        {**row, "hook_name": "blocks.7.hook_resid_post", "coverage": 0.5} for row in rows if row["kind"] != "neurons"
    ]
    coverage, reconstruction = scores_by_layer([*later, *rows]).axes
    first = rows[0]["hook_name"]
    assert [tick.get_text() for tick in coverage.get_xticklabels()] == [hook_title(first), "block 7"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in coverage.lines}
    shown = [row for row in rows if row["kind"] != "sparse_probe"]
    assert len(lines) == len(shown) == len(reconstruction.lines)
    for row in shown:
        text = {"random_gpt_sae": "random-GPT "}.get(row["kind"], "") + recipe(row)
        (points,) = [each for label, each in lines.items() if label in (text, kind_title(row["kind"]))]
        assert points == [[0, row["coverage"]], *([] if row["kind"] == "neurons" else [[1, 0.5]])]


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
    unknown = [{name: value for name, value in line.items() if name != "loss_floor"} for line in curve]
    _, loss = learning_curve(unknown, {"random_weights": {"legal_rate": 0.1}}).axes
    assert [line.get_ydata()[-1] for line in loss.lines] == [3.0, 2.0]


LEGALITY = {
    "legal_rate": 0.5,
    "interval": [0.4, 0.6],
    "legal_rate_ply": [1.0, None, 0.25],
    "legal_rate_phase": {"end": 0.1, "middle": 0.2, "opening": 0.7},
    "kinds": {
        "greedy": {"ambiguous": 0.1, "illegal": 0.2, "legal": 0.5, "unparsable": 0.2},
        "sampled": {"ambiguous": 0.0, "illegal": 0.3, "legal": 0.3, "unparsable": 0.4},
    },
}


def test_legality_is_shown_by_ply_by_phase_and_by_kind():
    by_ply, by_phase, kinds = legality_figure({"test": LEGALITY, "random_weights": LEGALITY}, first_ply=1).axes
    assert by_ply.lines[0].get_xydata().tolist() == [[1, 1.0], [3, 0.25]]
    assert by_ply.lines[2].get_ydata()[0] == 0.5
    assert [tick.get_text() for tick in by_phase.get_xticklabels()] == ["opening", "middle", "end"]
    assert [bar.get_height() for bar in by_phase.patches[::2]] == [0.7, 0.2, 0.1]
    assert kinds.get_legend_handles_labels()[1][:4] == ["legal", "ambiguous", "illegal", "unparsable"]
    assert np.allclose([bar.get_width() for bar in kinds.patches[:8]], [0.5, 0.1, 0.2, 0.2, 0.3, 0.0, 0.3, 0.4])
    assert np.allclose([bar.get_x() for bar in kinds.patches[:4]], [0, 0.5, 0.6, 0.8])
    names = [tick.get_text().replace("\n", " ") for tick in kinds.get_yticklabels()]
    assert names == ["trained, greedy", "trained, sampled", "random, greedy", "random, sampled"]


def test_legality_of_an_older_model_is_shown_as_far_as_it_is_known():
    old = {"legal_rate": 0.5, "legal_rate_ply": [1.0, 0.25]}
    by_ply, _ = legality_figure({"test": old, "random_weights": old}).axes
    assert by_ply.lines[0].get_xydata().tolist() == [[2, 1.0], [3, 0.25]]


def test_probes_stand_in_the_order_of_the_forward_pass():
    def results(low):
        names = ["blocks.10.hook_resid_post", "blocks.2.hook_resid_post", "blocks.0.hook_resid_pre"]
        points = {name: {"accuracy": low + i / 10, "majority_accuracy": 0.5} for i, name in enumerate(names)}
        return {"property": "board", "hook_points": points}

    (axes,) = probe_accuracy([(results(0.7), results(0.5))]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["embedding", "block 2", "block 10"]
    assert np.allclose(axes.lines[0].get_ydata(), [0.9, 0.8, 0.7])
    assert hook_title("blocks.3.mlp.hook_post") == "3.mlp.hook_post"


def test_every_probe_of_a_study_has_a_panel_and_one_of_ordered_classes_a_second():
    def results(name, accuracy, ends=None, squares=64, **about):
        found = {"accuracy": accuracy, "majority_accuracy": 0.2, "accuracy_S": [accuracy] * squares}
        found |= {"extremes": {"low": "skill 0", "high": "skill 5", "accuracy": ends, "majority_accuracy": 0.5}}
        found["extremes"] = found["extremes"] if ends else None
        return {"property": name, "positions": "dot", "hook_points": {"blocks.0.hook_resid_post": found}, **about}

    skill = [results("skill", 0.4, 0.9, 1, min_ply=48), results("skill", 0.3, 0.6, 1, min_ply=48)]
    figure = probe_accuracy([(results("piece", 0.8), results("piece", 0.5)), (skill[0], skill[1])])
    shown = {axes.get_title(): [line.get_ydata()[0] for line in axes.lines] for axes in figure.axes}
    assert shown == {
        "piece, at each dot": [0.8, 0.5, 0.2],
        "skill, at each dot, from ply 48": [0.4, 0.3, 0.2],
        "skill, at each dot, from ply 48: skill 0 or skill 5": [0.9, 0.6, 0.5],
    }
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["accuracy a square", "accuracy a position", "accuracy"]


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
    assert first.yaxis_inverted(), "row 1 on top"


def test_a_chess_board_lies_with_a1_below_on_the_left():
    f1_S = np.full(64, 0.5)
    f1_S[:2] = 0.1, 0.9
    axes = board_heat_maps([[("one", f1_S)]], load_game("chess")).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list("12345678")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("abcdefgh")
    assert not axes.yaxis_inverted()
    place = axes.transData.transform
    a1, b1, a8 = place((0, 0)), place((1, 0)), place((0, 7))
    assert a1[0] < b1[0] and a1[1] == b1[1] < a8[1]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert (texts[0, 0], texts[1, 0], texts[0, 1]) == ("10", "90", "50")


def test_coverage_by_property_has_a_sign_a_subject_in_the_testbeds_order(study):
    bed = study.beds[0]
    (axes,) = coverage_by_property(bed).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["mine yours", "legal move ·", "flipped ·"]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    best = best_sae(bed)
    assert best is not None
    by_property = best["coverage"].details["by_property"]
    names = ("mine_yours", "legal_move", "flipped")
    assert [x for x, _ in drawn["best SAE"]] == [by_property[name]["value"] for name in names]
    assert [round(y) for _, y in drawn["best SAE"]] == [0, 1, 2], "near its own line"
    others = {"linear probe", "random-GPT SAE", "MLP neurons", "residual channels"}
    assert others | {"linear probe as sparse as the best SAE", "always on (chance)"} < set(drawn)
    heights = [points[0][1] for label, points in drawn.items() if label in others | {"best SAE"}]
    assert len(set(heights)) == len(heights), "no sign hides another"


def test_coverage_has_a_series_an_architecture_bars_and_baselines(study):
    rows = rows_of([study])
    figure = coverage_against_l0(rows)
    coverage = figure.axes[0]
    labels = coverage.get_legend_handles_labels()[1]
    assert {"relu", "topk", "random-GPT SAE", "linear probe", "MLP neurons", "residual channels"} <= set(labels)
    assert "always on (chance)" in labels
    drawn = {container.get_label(): container for container in coverage.containers}
    line, _, (bars,) = drawn["topk"]
    known = [r for r in rows if r["kind"] == "sae" and r["architecture"] == "topk" and not r["pooled_as"]]
    known.sort(key=lambda r: r["l0"])
    assert [row["n_seeds"] for row in known] == [1, 2], "seeds are one point"
    assert np.allclose(line.get_xydata(), [[row["l0"], row["coverage"]] for row in known])
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert np.allclose(ends, [[row["coverage_low"], row["coverage_high"]] for row in known])
    assert to_hex(line.get_color()) == look("topk")[0].lower()
    assert to_hex(drawn["random-GPT SAE"][0].get_color()) == GREY


def test_the_ceiling_of_the_same_sparsity_is_a_line_over_its_l0(study):
    rows = rows_of([study])
    for axes, column in zip(coverage_against_l0(rows).axes, ("coverage", "board_reconstruction"), strict=True):
        (line,) = [line for line in axes.lines if line.get_label() == "linear probe of the same sparsity"]
        known = sorted((row["l0"], row[column]) for row in rows if row["kind"] == "sparse_probe")
        assert np.allclose(line.get_xydata(), known)


def test_direction_recovery_stands_beside_its_random_level(study):
    rows = rows_of([study])
    known = sorted((r for r in rows if r["kind"] == "sae" and not r["pooled_as"]), key=lambda r: r["l0"])
    columns = (("", "random"), ("_means", "means_random"))
    for axes, (ending, random) in zip(direction_recovery(rows).axes, columns, strict=True):
        (line,) = [line for line in axes.lines if line.get_label() == "random directions (chance)"]
        assert np.allclose(line.get_xydata(), [[r["l0"], r[f"direction_recovery_{random}"]] for r in known])
        topk = next(each for each in axes.containers if each.get_label() == "topk")[0]
        values = [r[f"direction_recovery{ending}"] for r in known if r["architecture"] == "topk"]
        assert np.allclose(topk.get_ydata(), values)
        low, high = axes.get_ylim()
        assert all(low <= y <= high for each in axes.lines for y in each.get_ydata()), "nothing is cut off"


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
    variance, _ = training_curves([("topk", "k = 2", curve), ("topk", "k = 2", curve)]).axes
    assert variance.lines[0].get_linestyle() == variance.lines[1].get_linestyle(), "seeds look alike"


def test_the_best_sae_is_that_of_highest_coverage(study):
    best = best_sae(study.beds[0])
    values = [read_json(f / "scores.json") for f in study.beds[0].score_folders]
    saes = [v["scores"]["coverage"]["value"] for v in values if v["subject"]["kind"] == "sae"]
    assert best is not None
    assert best["coverage"].value == max(saes)
