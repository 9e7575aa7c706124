"""The table of latents is checked as it is read."""

from typing import Any

import numpy as np
import pytest

from boardgame_sae.files import RunError, write_parquet
from boardgame_sae.metrics.results import LATENTS_FILE, Scores
from boardgame_sae.report.latents.tables import checked_latents, read_latents


def test_a_missing_or_damaged_table_of_latents_is_named(tmp_path):
    with pytest.raises(RunError, match=r"latents\.parquet: no such file"):
        read_latents(tmp_path)
    (tmp_path / LATENTS_FILE).write_bytes(b"PAR1 no more")
    with pytest.raises(RunError, match=r"latents\.parquet: damaged"):
        read_latents(tmp_path)


TABLE: dict[str, Any] = {
    **{name: np.arange(3) for name in ("latent", "n_precise")},
    **{name: np.array(["a", "", "b"], object) for name in ("property", "label")},
    **{name: np.ones(3) for name in ("f1", "precision", "recall", "threshold", "density")},
    **{name: np.ones(3) for name in ("max_activation", "always_on", "above_chance")},
}


def test_a_table_of_latents_may_have_further_columns_and_any_name_of_folder(tmp_path):
    folder = tmp_path / "run [1]*"
    write_parquet(folder / LATENTS_FILE, {**TABLE, "of_another_score": np.array([np.nan, 1, 2])})
    read = read_latents(folder)
    assert all(read[name].tolist() == values.tolist() for name, values in TABLE.items())


@pytest.mark.parametrize("name", list(TABLE))
def test_a_table_of_latents_without_a_column_is_named_with_it(tmp_path, name):
    write_parquet(tmp_path / LATENTS_FILE, {other: values for other, values in TABLE.items() if other != name})
    with pytest.raises(RunError, match=rf"latents\.parquet: column '{name}' is missing; score the SAE again"):
        read_latents(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("latent", np.array([0, 2, 1]), "does not number the rows from 0 on"),
        ("latent", np.arange(3.0), "does not hold whole numbers"),
        ("n_precise", np.array(["1", "2", "3"], object), "does not hold whole numbers"),
        ("property", np.arange(3), "does not hold text"),
        ("label", np.array(["a", None, "b"], object), "has empty entries"),
        ("f1", np.array(["x", "y", "z"], object), "does not hold numbers"),
        ("density", np.array([True, False, True]), "does not hold numbers"),
        ("threshold", np.array([0, np.nan, 1]), "has empty entries"),
        ("max_activation", np.array([0, np.inf, 1]), "holds NaN or infinite values"),
    ],
)
def test_a_table_of_latents_with_a_column_of_something_else_is_named_with_it(tmp_path, name, values, fault):
    write_parquet(tmp_path / LATENTS_FILE, {**TABLE, name: values})
    with pytest.raises(RunError, match=rf"latents\.parquet: column '{name}' {fault}; score the SAE again"):
        read_latents(tmp_path)


def test_the_table_in_memory_is_checked_like_the_one_of_a_folder(study, tmp_path):
    scores = Scores.load(study.testbeds[0].score_folders[0])
    table = checked_latents(scores)
    assert {name: list(column) for name, column in table.items()} == {
        name: list(column) for name, column in read_latents(study.testbeds[0].score_folders[0]).items()
    }
    for columns in ({}, {name: column for name, column in table.items() if name != "f1"}):
        with pytest.raises(RunError, match="its table of latents: has no column"):
            checked_latents(Scores(scores.subject, {}, latents=columns))
    with pytest.raises(RunError, match="does not number the rows"):
        checked_latents(Scores(scores.subject, {}, latents={**table, "latent": table["latent"][::-1]}))
