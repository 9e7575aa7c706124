"""Columns, recipes and settings are called what the scores and architectures declare."""

from dataclasses import replace

from boardgame_sae.config import to_mapping
from boardgame_sae.metrics import score as score_module
from boardgame_sae.metrics.score import Chance, Display, scores
from boardgame_sae.report.rows import collect
from boardgame_sae.report.titles import chance_level, column_titles, score_of, setting, short_columns
from boardgame_sae.saes.registry import make_sae


def test_titles_of_columns(sweep):
    titles = column_titles(collect([sweep]))
    expected = {
        "coverage": "Coverage",
        "coverage_above_chance": "Coverage: above chance",
        "coverage_low": "Coverage: lower end of the interval",
        "coverage.high": "Coverage, high level",
        "coverage.high_above_chance": "Coverage, high level: above chance",
        "coverage.legal_move": "Coverage, legal move",
        "coverage.legal_move_always_on": "Coverage, legal move: always on (chance)",
        "direction_recovery_means": "Direction recovery: by mean differences",
        "core": "Loss recovered",
        "core_explained_variance": "Explained variance",
        "core_l2_ratio": "Core: l2 ratio",
    }
    assert {column: titles[column] for column in expected} == expected
    assert "name" not in titles
    assert "l0" not in titles


def test_a_column_is_of_the_score_with_the_longest_fitting_name():
    assert score_of("core_l2_ratio") is scores()["core"]
    assert score_of("board_reconstruction.high_low") is scores()["board_reconstruction"]
    assert score_of("coverages") is None
    assert score_of("l0") is None


def test_a_new_score_has_titles_columns_and_chance_as_it_declares_them_or_by_default(monkeypatch):
    display = Display(parts={"guess": "by guessing"}, columns=("_guess",), chance=Chance("guess"))
    known = scores()["core"]
    new = {
        "told": replace(known, name="told", title="Told", order=98, display=display),
        "plain": replace(known, name="plain", title="Plain", order=99, display=Display()),
    }
    monkeypatch.setattr(score_module._SCORES, "_known", {**score_module._SCORES.all(), **new})
    columns = ("plain", "plain_low", "plain_high", "plain_extra", "told", "told_guess", "told.fork", "told.fork_guess")
    rows = [dict.fromkeys(columns, 0.5), {**dict.fromkeys(columns, 0.5), "told_guess": None}]
    titles = column_titles(rows)
    assert [titles[column] for column in ("plain", "plain_extra")] == ["Plain", "Plain: extra"]
    assert [titles[column] for column in columns[-3:]] == ["Told: by guessing", "Told, fork", "Told, fork: by guessing"]
    assert short_columns(rows) == ["told", "told_guess", "plain"]
    assert short_columns(rows, [new["plain"]]) == ["plain"]
    assert chance_level(rows, "told.fork") == ("by guessing", 0.5)
    assert chance_level(rows, "plain") is None


def test_an_sae_of_any_architecture_says_what_sets_its_sparsity():
    def said(architecture, **fields):
        return setting(to_mapping(make_sae(architecture, d_model=8, n_latents=16, **fields).cfg))

    assert said("topk", k=4) == "k = 4"
    assert said("relu", sparsity_coefficient=0.25) == "sparsity_coefficient = 0.25"
    assert said("jumprelu", target_l0=8) == "target_l0 = 8"
    assert said("jumprelu", sparsity_loss="l0", sparsity_coefficient=0.5) == "sparsity_coefficient = 0.5"
    assert said("identity") == "" == setting({})
