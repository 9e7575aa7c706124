"""Figures of a GPT show the numbers they are given."""

import numpy as np

from boardgame_sae.report.figures.gpt import first_predicted_ply, learning_curve, legality_figure


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


def test_the_first_move_of_a_game_without_a_start_character_is_not_predicted(study):
    assert first_predicted_ply(study.corpus) == 2
