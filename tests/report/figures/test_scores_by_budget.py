"""A recipe that was trained on several budgets has a line through them; what SAEs are compared with are levels."""

from boardgame_sae.report.figures.scores_by_budget import scores_by_budget
from boardgame_sae.report.rows import rows_of
from boardgame_sae.report.titles import is_sae, recipe


def test_a_recipe_of_several_budgets_has_a_line_and_baselines_are_levels(study):
    rows = rows_of([study])
    first = next(row for row in rows if is_sae(row) and row["pooled_as"] is None)
    rows = [row for row in rows if not (is_sae(row) and recipe(row) == recipe(first))]
    trained = [
        {**first, "n_activations": n, "coverage": value} for n, value in ((10**7, 0.7), (10**6, 0.5), (10**8, 0.8))
    ]
    coverage, reconstruction = scores_by_budget([*rows, *trained]).axes
    assert coverage.get_title() == "Coverage"
    lines = {line.get_label(): line for line in coverage.lines}
    assert lines[recipe({**first, "n_activations": None})].get_xydata().tolist() == [
        [10**6, 0.5],
        [10**7, 0.7],
        [10**8, 0.8],
    ]
    neurons = next(row for row in rows if row["kind"] == "neurons")
    assert set(lines["MLP neurons"].get_ydata()) == {neurons["coverage"]}
    twins = [row["coverage"] for row in rows if row["kind"] == "random_gpt_sae"]
    assert set(lines["best random-GPT SAE"].get_ydata()) == {max(twins)}
    assert len(reconstruction.lines) == len(coverage.lines)


def test_it_is_not_drawn_where_no_recipe_has_two_budgets(study):
    rows = rows_of([study])
    assert scores_by_budget(rows) is None
    assert scores_by_budget([]) is None
