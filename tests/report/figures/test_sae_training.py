"""Training curves of one architecture differ by line, those of one recipe do not."""

from boardgame_sae.report.figures.sae_training import training_curves
from boardgame_sae.saes.registry import look


def test_training_curves_of_one_architecture_differ_by_line():
    curve = [{"step": 1, "explained_variance": 0.1, "l0": 5.0}, {"step": 2, "explained_variance": 0.2, "l0": 4.0}]
    variance, l0 = training_curves([("topk", "k = 2", curve), ("topk", "k = 6", curve)]).axes
    assert variance.lines[0].get_linestyle() != variance.lines[1].get_linestyle()
    assert variance.lines[0].get_color() == l0.lines[0].get_color() == look("topk")[0]
    variance, _ = training_curves([("topk", "k = 2", curve), ("topk", "k = 2", curve)]).axes
    assert variance.lines[0].get_linestyle() == variance.lines[1].get_linestyle(), "seeds look alike"
