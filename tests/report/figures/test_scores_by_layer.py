"""Every recipe and every baseline has a line through the hook points where it was scored."""

from matplotlib.colors import to_hex

from boardgame_sae.metrics.baselines.registry import find_baseline
from boardgame_sae.report.figures.scores_by_layer import scores_by_layer
from boardgame_sae.report.figures.style import hook_title
from boardgame_sae.report.rows import rows_of
from boardgame_sae.report.titles import recipe


def test_scores_by_layer_has_a_line_per_recipe_through_its_hook_points(study):
    rows = [row for row in rows_of([study]) if row["pooled_as"] is None]
    later = [
        {**row, "hook_name": "blocks.7.hook_resid_post", "coverage": 0.5} for row in rows if row["kind"] != "neurons"
    ]
    coverage, reconstruction = scores_by_layer([*later, *rows]).axes
    assert (coverage.get_title(), coverage.get_ylabel()) == ("Coverage", "F1 on test")
    first = rows[0]["hook_name"]
    assert [tick.get_text() for tick in coverage.get_xticklabels()] == [hook_title(first), "block 7"]
    lines = {line.get_label(): line for line in coverage.lines}
    shown = [row for row in rows if row["kind"] != "sparse_probe"]
    assert len(lines) == len(shown) == len(reconstruction.lines)
    for row in shown:
        text = {"random_gpt_sae": "random-GPT SAE: "}.get(row["kind"], "") + recipe(row)
        expected = [[0, row["coverage"]], *([] if row["kind"] == "neurons" else [[1, 0.5]])]
        assert lines[text].get_xydata().tolist() == expected
    assert to_hex(lines["MLP neurons"].get_color()) == find_baseline("neurons").look.colour
