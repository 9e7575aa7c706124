"""Probes stand in the order of the forward pass, one panel each."""

import numpy as np

from boardgame_sae.report.figures.probe_accuracy import extremes, probe_accuracy
from boardgame_sae.report.figures.style import hook_title


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
        point = {"accuracy": accuracy, "majority_accuracy": 0.2, "accuracy_S": [accuracy] * squares}
        between = {"low": "skill 0", "high": "skill 5", "accuracy": ends, "majority_accuracy": 0.5}
        point["extremes"] = between if ends else None
        return {"property": name, "positions": "dot", "hook_points": {"blocks.0.hook_resid_post": point}, **about}

    skill = [results("skill", 0.4, 0.9, 1, min_ply=48), results("skill", 0.3, 0.6, 1, min_ply=48)]
    figure = probe_accuracy([(results("piece", 0.8), results("piece", 0.5)), (skill[0], skill[1])])
    shown = {axes.get_title(): [line.get_ydata()[0] for line in axes.lines] for axes in figure.axes}
    assert shown == {
        "piece, at each dot": [0.8, 0.5, 0.2],
        "skill, at each dot, from ply 48": [0.4, 0.3, 0.2],
        "skill, at each dot, from ply 48: skill 0 or skill 5": [0.9, 0.6, 0.5],
    }
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["accuracy per square", "accuracy per position", "accuracy"]
    assert extremes(skill[0])["high"] == "skill 5" and extremes(results("piece", 0.8)) == {}
