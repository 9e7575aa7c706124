"""The table says what the scores.json files say, and says it the same way twice."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from boardgame_sae.report.table import (
    collect,
    column_titles,
    find_run,
    markdown,
    read_studies,
    recipe,
    write_table,
)
from boardgame_sae.runs import RunError, read_json


def test_a_row_for_every_scored_subject(sweep, study):
    rows = collect([sweep])
    kinds = sorted(row["kind"] for row in rows)
    assert kinds == ["neurons", "probe", "random_gpt_sae", "residual", "sae", "sae", "sae"]
    assert {row["hook_name"] for row in rows} == {study.beds[0].hook_name}
    assert {tuple(row) for row in rows} == {tuple(rows[0])}, "every row has every column"


def test_every_number_is_that_of_the_json(sweep, study):
    rows = collect([sweep])
    for folder, row in zip(study.beds[0].score_folders, rows, strict=True):
        found = json.loads((folder / "scores.json").read_text())
        assert row["name"] == found["subject"]["name"]
        for name, value in found["scores"].items():
            assert row[name] == value["value"]
            if value["interval"]:
                assert [row[f"{name}_low"], row[f"{name}_high"]] == value["interval"]
            by_property = value["details"].get("by_property", {})
            for part, number in value["parts"].items():
                column = f"{name}.{part}" if part in (*by_property, "high") else f"{name}_{part}"
                assert row[column] == number, column
            for prop in ("legal_move", "flipped"):
                if prop in by_property:
                    assert row[f"{name}.{prop}_low"] == by_property[prop]["interval"][0]
        if "core" in found["scores"]:
            assert row["l0"] == found["scores"]["core"]["parts"]["l0"]
        else:
            assert row["l0"] is None
        if "sae" in found["subject"]:
            assert row["k"] == found["subject"]["sae"].get("k")
            assert row["architecture"] == found["subject"]["sae"]["architecture"]


def test_parquet_and_csv_hold_the_rows(sweep, tmp_path):
    rows = collect([sweep])
    for path in write_table(rows, tmp_path):
        back = duckdb.sql(f"SELECT * FROM '{path}'")
        assert back.columns == list(rows[0])
        assert [dict(zip(back.columns, line, strict=True)) for line in back.fetchall()] == rows


def test_the_same_rows_give_the_same_bytes(sweep, tmp_path):
    rows = collect([sweep])
    first = [path.read_bytes() for path in write_table(rows, tmp_path / "a")]
    assert first == [path.read_bytes() for path in write_table(collect([sweep]), tmp_path / "b")]
    assert markdown(rows) == markdown(collect([sweep]))


def test_markdown_has_a_line_a_row_and_its_numbers(sweep):
    rows = collect([sweep])
    lines = markdown(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert len({line.count("|") for line in lines}) == 1
    best = max((row for row in rows if row["kind"] == "sae"), key=lambda row: row["coverage"])
    line = next(line for line in lines if recipe(best) in line and "random" not in line)
    assert f"{best['coverage']:.3f} [{best['coverage_low']:.3f}, {best['coverage_high']:.3f}]" in line
    high = [best[f"{score}.high"] for score in ("coverage", "board_reconstruction")]
    assert best["coverage.high"] == pytest.approx((best["coverage.legal_move"] + best["coverage.flipped"]) / 2)
    assert [cell.strip() for cell in line.split("|")][9::2] == [f"{value:.3f}" for value in high]


def test_titles_of_columns(sweep):
    titles = column_titles(collect([sweep]))
    assert titles["coverage"] == "Coverage"
    assert titles["coverage_above_chance"] == "Coverage: above chance"
    assert titles["core"] == "Loss recovered"
    assert titles["core_explained_variance"] == "Core: explained variance"
    assert "name" not in titles
    assert "l0" not in titles


def test_a_missing_run_is_named(sweep, tmp_path):
    root = copied(sweep, tmp_path)
    gone = next((root / "scores").glob("topk*"))
    shutil.rmtree(gone)
    with pytest.raises(RunError, match=gone.name):
        collect([root / "sweep" / sweep.name])


def test_a_missing_sweep_or_an_empty_list_is_an_error(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="at least one"):
        collect([])


def test_a_listing_without_its_keys_is_named(tmp_path):
    (tmp_path / "sweep.json").write_text('{"name": "x"}')
    with pytest.raises(RunError, match=r"sweep\.json: has no 'corpus'"):
        collect([tmp_path])


def test_a_moved_study_is_found_beside_its_sweep(sweep, tmp_path):
    root = copied(sweep, tmp_path)
    (study,) = read_studies([root / "sweep" / sweep.name])
    assert study.corpus.parent == root / "corpus"
    assert collect([root / "sweep" / sweep.name]) == collect([sweep])


def test_paths_may_be_relative_to_the_runs_root(sweep):
    model = read_json(sweep / "sweep.json")["model"]
    assert find_run(f"gpt/{Path(model).name}", sweep).samefile(model)


def test_a_sweep_named_twice_counts_once_and_namesakes_differ(sweep, tmp_path):
    assert len(read_studies([sweep, sweep])) == 1
    root = copied(sweep, tmp_path)
    other = (root / "sweep" / sweep.name).rename(root / "sweep" / "tiny-other")
    assert [study.label for study in read_studies([sweep, other])] == [sweep.name, "tiny-other"]


def copied(sweep: Path, tmp_path: Path) -> Path:
    """A copy of the study's runs, whose sweep.json names folders of a machine that is no more."""
    root = tmp_path / "runs"
    shutil.copytree(sweep.parent.parent, root, ignore=shutil.ignore_patterns("activations"))
    listing = root / "sweep" / sweep.name / "sweep.json"
    listing.write_text(listing.read_text().replace(str(sweep.parent.parent), "/gone/data/runs"))
    return root
