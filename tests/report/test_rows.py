"""The table says what the scores.json files say, and says it the same way twice."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from sealed import seal_again

from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.baselines.registry import has_l0
from boardgame_sae.pipeline.study_folder import find_run, read_studies
from boardgame_sae.report.results import write_table
from boardgame_sae.report.rows import collect


def test_a_row_for_every_scored_subject(sweep, study):
    rows = collect([sweep])
    kinds = sorted(row["kind"] for row in rows)
    assert kinds == ["neurons", "probe", "probe_sae", "random_gpt_sae", "residual", *["sae"] * 5, *["sparse_probe"] * 3]
    assert [row["l0"] for row in rows if row["kind"] == "sparse_probe"] == sorted(
        {round(row["l0"]) for row in rows if row["kind"] == "sae"}
    )
    assert {row["hook_name"] for row in rows} == {study.testbeds[0].hook_name}
    assert {tuple(row) for row in rows} == {tuple(rows[0])}, "every row has every column"


def test_every_number_is_that_of_the_json(sweep, study):
    rows = collect([sweep])
    folders = study.testbeds[0].score_folders
    assert [row["n_seeds"] for row in rows[len(folders) :]] == [2]
    for folder, row in zip(folders, rows[: len(folders)], strict=True):
        found = json.loads((folder / "scores.json").read_text())
        assert row["name"] == found["subject"]["name"]
        for name, value in found["scores"].items():
            assert_score(row, name, value)
        if "core" in found["scores"] and has_l0(row["kind"]):
            assert row["l0"] == found["scores"]["core"]["parts"]["l0"]
        elif row["kind"] == "sparse_probe":
            assert row["name"] == f"linear probe, {row['l0']:g} on"
        else:
            assert row["l0"] is None
        if "sae" in found["subject"]:
            assert row["k"] == found["subject"]["sae"].get("k")
            assert row["architecture"] == found["subject"]["sae"]["architecture"]


def assert_score(row, name, value):
    """A row has all that scores.json says of a score."""
    by_property, groups = value["details"].get("by_property", {}), value["details"].get("groups", {})
    others = {prop: about for prop, about in by_property.items() if prop != row["headline"]}
    for column, about in {"": value, **{f".{part}": numbers for part, numbers in (groups | others).items()}}.items():
        assert row[f"{name}{column}"] == about["value"], column
        if about["interval"]:
            assert [row[f"{name}{column}_low"], row[f"{name}{column}_high"]] == about["interval"], column
    for part, number in value["parts"].items():
        assert row[f"{name}.{part}" if part in groups or part in others else f"{name}_{part}"] == number, part


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


def test_what_an_older_study_lacks_is_named(sweep, tmp_path):
    root = copied(sweep, tmp_path)
    listing = root / "sweep" / sweep.name / "sweep.json"
    listed = read_json(listing)
    of_sae = next((root / "scores").glob("topk*")) / "scores.json"
    for done in root.glob("s*/*/DONE"):
        done.unlink()  # as if an older version had written all that
    scored = of_sae.read_text()
    found = json.loads(scored)
    del found["scores"]["coverage"]["details"]["groups"]
    of_sae.write_text(json.dumps(found))
    with pytest.raises(RunError, match=r"scores\.json: has no 'coverage: groups'; .*score the SAE again"):
        collect([listing.parent])
    of_sae.write_text(scored)
    for counts in (root / "scores").glob("topk*/coverage.sums.safetensors"):
        counts.unlink()
    with pytest.raises(RunError, match=r"coverage\.sums\.safetensors: no such file"):
        collect([listing.parent])
    del listed["testbeds"][0]["ceilings"]
    listing.write_text(json.dumps(listed))
    with pytest.raises(RunError, match=r"sweep\.json: field 'testbeds.0.ceilings' is required; .*run the sweep again"):
        collect([listing.parent])


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
    with pytest.raises(RunError, match=r"sweep\.json: field 'corpus' is required"):
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
    seal_again(listing.parent)
    return root
