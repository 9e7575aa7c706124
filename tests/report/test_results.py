"""Anything that was scored, in any mix, stands in one table and one plot."""

import shutil

import numpy as np
import pytest

import boardgame_sae as bgs
from boardgame_sae.cli import main
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.sources import read_sources
from boardgame_sae.report.figures.plot import plot
from boardgame_sae.report.results import results
from boardgame_sae.report.rows import collect
from boardgame_sae.saes.exchange import to_sae_lens
from boardgame_sae.testbeds.testbed import load_testbed


class Object:
    """An SAE of nobody's library: the sweep's first, by its `encode`, `decode` and `W_dec` alone."""

    def __init__(self, folder):
        sae = bgs.load_sae(folder)
        self.encode, self.decode, self.W_dec = sae.encode, sae.decode, sae.W_dec


@pytest.fixture(scope="module")
def mine(study):
    listed = study.testbeds[0]
    return bgs.evaluate(Object(listed.saes[0]), load_testbed(listed.folder, "cpu"), suite="supervised", name="mine")


@pytest.fixture(scope="module")
def saved(mine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "mine"
    mine.save(folder)
    return folder


def own(rows):
    return [row for row in rows if row["own"]]


def test_ones_own_stands_beside_the_sweeps_whatever_holds_it(sweep, mine, saved):
    n = len(collect([sweep]))
    for source in (mine, saved, str(saved), saved / "scores.json", saved.parent, [mine]):
        rows = collect([sweep, source])
        assert len(rows) == n + 1, source
        (row,) = own(rows)
        same = next(one for one in rows if one["kind"] == "sae" and not one["own"])
        assert (row["sweep"], row["hook_name"], row["game"]) == (same["sweep"], same["hook_name"], "othello4")
        assert (row["name"], row["n_latents"], row["n_seeds"], row["architecture"]) == ("mine", 32, 1, None)
        assert row["coverage"] == mine["coverage"].value
        assert row["coverage_low"] == mine["coverage"].interval[0]


def test_the_same_folder_or_object_counts_once_and_names_are_made_distinct(sweep, mine, saved):
    assert len(own(collect([sweep, mine, mine]))) == 1
    assert len(own(collect([sweep, saved, saved / ".." / "mine"]))) == 1
    for same in ([mine, saved], [saved, mine], [saved, saved / "scores.json"], [saved / "scores.json", mine, saved]):
        assert [row["name"] for row in own(collect([sweep, *same]))] == ["mine"], "however they are given"
    other = Scores({**mine.subject, "l0": 3.0}, dict(mine))
    assert [row["name"] for row in own(collect([sweep, mine, other]))] == ["mine", "mine (2)"]
    n = len(collect([sweep]))
    listed = read_sources([sweep])[0].testbeds[0].score_folders[0]
    assert len(collect([sweep, listed])) == n, "the sweep lists it already"


def test_scores_alone_make_a_study_of_their_own(mine, study):
    (alone,) = read_sources([mine])
    assert alone.label.startswith("othello4 (") and alone.game is not None
    assert (alone.folder, alone.legality, alone.probe_results) == (None, None, ())
    assert [row["name"] for row in collect([mine])] == ["mine"]
    assert alone.content == read_sources([mine])[0].content != study.content


def test_scores_of_other_games_or_another_hook_point_stand_apart(sweep, mine):
    about = mine.subject["testbed"]
    elsewhere = Scores({**mine.subject, "testbed": {**about, "hook_name": "blocks.0.hook_resid_post"}}, dict(mine))
    (one,) = read_sources([sweep, elsewhere])
    assert [testbed.hook_name for testbed in one.testbeds] == [about["hook_name"], "blocks.0.hook_resid_post"]
    fewer = Scores({**mine.subject, "testbed": {**about, "n_games": 7}}, dict(mine))
    _, second = read_sources([sweep, fewer])
    assert (len(second.testbeds), len(own(collect([sweep, fewer])))) == (1, 1)
    other = Scores({**mine.subject, "testbed": {**about, "content": {"corpus": "x", "model": "y"}}}, dict(mine))
    assert len({row["sweep"] for row in collect([sweep, fewer, other])}) == 3


def test_shipped_names_hold_what_ships():
    by_name = collect(["othello6-tiny/topk-16", "othello6-tiny/probe-16", "othello6-tiny/neurons"])
    assert [row["kind"] for row in by_name] == ["sae", "sparse_probe", "neurons"]
    assert {(row["sweep"], row["own"], row["game"]) for row in by_name} == {("othello6-tiny", 0, "othello6")}
    whole = collect(["othello6-tiny", "othello6-tiny/topk-16"])
    assert len(whole) == len(collect(["othello6-tiny"]))
    row = next(row for row in whole if row["name"] == "topk-16")
    assert row["coverage"] == by_name[0]["coverage"]


def test_an_own_seed_of_a_sweeps_sae_is_pooled_where_its_sums_are_known(sweep, study):
    first = next(one for one in study.testbeds[0].subjects if one.scores.subject.get("sae", {}).get("k") == 2)
    third = Scores.load(first.folder)
    third.subject |= {"name": "third", "sae": {**third.subject["sae"], "seed": 7}}

    def pooled(*sources):
        return [row for row in collect(sources) if (row["kind"], row["n_seeds"], row["k"]) == ("sae", 2, 2)]

    (row,) = pooled(sweep, third)
    assert row["coverage"] == pytest.approx(third["coverage"].value) and row["coverage_low"] is not None
    assert not pooled(sweep)
    assert not pooled(sweep, Scores(third.subject, {name: value._replace(sums=None) for name, value in third.items()}))


def test_results_are_a_duckdb_table(sweep, mine, tmp_path):
    table = results(sweep, mine)
    rows = collect([sweep, mine])
    assert table.columns == list(rows[0])
    assert [dict(zip(table.columns, line, strict=True)) for line in table.fetchall()] == rows
    assert table.filter("own = 1").select("name").fetchall() == [("mine",)]
    assert table.query("results", "SELECT count(*) FROM results").fetchall() == [(len(rows),)]
    table.to_csv(str(tmp_path / "t.csv")), table.to_parquet(str(tmp_path / "t.parquet"))
    assert (tmp_path / "t.csv").read_text().splitlines()[0].split(",")[:2] == ["sweep", "game"]
    pandas = pytest.importorskip("pandas")
    assert isinstance(table.df(), pandas.DataFrame) and len(table.df()) == len(rows)


def test_a_plot_has_ones_own_as_a_star_with_its_name(sweep, mine):
    figure = plot(sweep, mine, y=["coverage", "board_reconstruction"])
    assert figure._repr_png_().startswith(b"\x89PNG")
    for axes, score in zip(figure.axes, ("coverage", "board_reconstruction"), strict=True):
        lines = [c for c in axes.containers if c.get_label() == "mine"]
        assert [line[0].get_marker() for line in lines] == ["*"]
        assert np.allclose(lines[0][0].get_xydata(), [[mine.subject["l0"], mine[score].value]])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "mine" in texts and "topk" in texts and "linear probe" in texts
    bare = plot(sweep, mine, x="n_latents", y="coverage.high", baselines=False)
    assert "linear probe" not in [text.get_text() for text in bare.legends[0].get_texts()]
    assert bare.axes[0].get_xlabel() == "n latents"


def test_a_column_without_numbers_is_named_with_the_closest(sweep):
    for column in ("coverag", "name", "nothing"):
        with pytest.raises(ConfigError, match=f"no numbers in a column '{column}'"):
            plot(sweep, y=column)
    with pytest.raises(ConfigError, match="did you mean 'coverage'"):
        plot(sweep, y="coverag")
    for foreign, here in (("L0", "l0"), ("width", "n_latents"), ("d_sae", "n_latents"), ("Coverage", "coverage")):
        with pytest.raises(ConfigError, match=f"did you mean '{here}'"):
            plot(sweep, x=foreign)
    with pytest.raises(ConfigError, match="y: names no column"):
        plot(sweep, y=[])


def test_what_holds_no_scores_is_named(sweep, study, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "text.json").write_text("{}")
    for name, held in (("a.txt", b"hello"), ("a.csv", b"name,l0\n"), ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")):
        (tmp_path / name).write_bytes(held)
    theirs = tmp_path / "theirs"
    bgs.make_sae("topk", d_model=16, n_latents=8, k=2).save(tmp_path / "ours")
    to_sae_lens(bgs.load_sae(tmp_path / "ours"), theirs)
    for source, message in (
        (empty, "holds neither a finished sweep"),
        (study.testbeds[0].saes[0], "an SAE that was not scored"),
        ("othello6-tinny", "did you mean 'othello6-tiny'"),
        ("othello6-tiny/topk-61", "holds no scores of 'topk-61'; did you mean 'othello6-tiny/topk"),
        (tmp_path / "nowhere", "no such folder or file"),
        (tmp_path / "text.json", "field 'subject' is required"),
        (tmp_path / "a.txt", r"a\.txt: no file of scores"),
        (tmp_path / "a.csv", r"a\.csv: no file of scores"),
        (tmp_path / "a.safetensors", r"a\.safetensors: no file of scores"),
        (theirs, "an SAE that was not scored"),
    ):
        with pytest.raises(RunError, match=message):
            collect([sweep, source])
    for thing in (3, None, {"coverage": 1.0}, b"x"):
        with pytest.raises(ValueError, match="holds no scores that can be read"):
            collect([thing])
    with pytest.raises(
        ValueError, match=r"TopKSAE: holds no scores .*; score it first, `bgs\.evaluate\(sae, testbed\)`"
    ):
        collect([bgs.load_sae(tmp_path / "ours")])
    with pytest.raises(RunError, match="at least one"):
        collect([[]])


def test_the_command_line_reports_and_compares_any_mix(sweep, study, saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    report = tmp_path / "r"
    assert main(["report", str(sweep), str(saved), "--out", str(report), "--device", "cpu"]) == 0
    assert "| mine | SAE |" in (report / "table.md").read_text()
    page = (report / "index.html").read_text(encoding="utf-8")
    assert '"mine"' in page and "Of 5 SAEs at block 1" in page
    other = study.testbeds[0].score_folders[0]
    assert main(["compare", str(saved), "--against", str(other)]) == 0
    assert "coverage: mine_yours" in capsys.readouterr().out
    first = read_json(next((tmp_path / "compare").glob("*/differences.json")))[0]
    assert first["difference"] == pytest.approx(0, abs=1e-12), "they are the same SAE"
    assert main(["compare", str(saved), "--against", str(sweep)]) == 2
    assert "holds 4 SAEs; name one of them" in capsys.readouterr().err


def test_an_unfinished_run_of_scores_is_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "open")
    (tmp_path / "open" / "run.json").write_text('{"hash": "0"}')
    with pytest.raises(RunError, match="not finished"):
        collect([tmp_path / "open"])
