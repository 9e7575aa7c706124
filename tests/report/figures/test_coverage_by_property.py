"""A marker for every subject, property by property, none hidden."""

from boardgame_sae.metrics.score import main_scores
from boardgame_sae.report.best import best_sae
from boardgame_sae.report.figures.coverage_by_property import coverage_by_property
from boardgame_sae.report.rows import rows_of

PROPERTIES = ("mine_yours", "legal_move", "flipped")


def test_coverage_by_property_has_a_marker_per_subject_in_the_testbeds_order(study):
    (axes,) = coverage_by_property(main_scores()[0], rows_of([study]), PROPERTIES, PROPERTIES[1:]).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["mine yours", "legal move ·", "flipped ·"]
    assert (axes.get_title(), axes.get_xlabel()) == ("Coverage by property (·: high level)", "mean F1 on test")
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    best = best_sae(study.testbeds[0])
    assert best is not None
    by_property = best["coverage"].details["by_property"]
    assert [x for x, _ in drawn["best SAE"]] == [by_property[name]["value"] for name in PROPERTIES]
    assert [round(y) for _, y in drawn["best SAE"]] == [0, 1, 2], "near its own line"
    baselines = {"linear probe", "linear probe as sparse as the best SAE", "random-GPT SAE"}
    baselines |= {"linear probe as an SAE", "MLP neurons", "residual channels"}
    assert set(drawn) == baselines | {"best SAE", "always on (chance)"}
    heights = [points[0][1] for label, points in drawn.items() if label != "always on (chance)"]
    assert len(set(heights)) == len(heights), "no marker hides another"
    chances = [line.get_xdata()[0] for line in axes.lines if line.get_label() == "always on (chance)"]
    assert chances == [by_property[name]["parts"]["always_on"] for name in PROPERTIES]
