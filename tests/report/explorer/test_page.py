"""The page: one file that loads nothing, whose data cannot break out, and that is the same twice."""

import json
import re
from dataclasses import replace

import pytest
from plotly.offline import get_plotlyjs

from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.score import scores
from boardgame_sae.report.explorer.page import axes, embedded, report_run
from boardgame_sae.report.explorer.summary import summary
from boardgame_sae.report.rows import collect
from boardgame_sae.runs import damaged_files


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    return report_run([sweep], out=tmp_path_factory.mktemp("report") / "r")


@pytest.fixture(scope="module")
def page(report):
    return (report / "index.html").read_text(encoding="utf-8")


def test_a_report_holds_tables_figures_and_a_page(report):
    assert (report / "DONE").exists()
    for name in ("table.parquet", "table.csv", "table.md", "index.html", "figures/learning_curve.png"):
        assert (report / name).stat().st_size > 0
    assert read_json(report / "run.json")["name"] == "tiny"


def test_a_finished_report_is_reused_and_another_is_the_same_bytes(sweep, report, tmp_path):
    before = (report / "index.html").stat().st_mtime_ns
    assert report_run((str(sweep),), out=report) == report
    assert (report / "index.html").stat().st_mtime_ns == before
    again = report_run([sweep], out=tmp_path / "again")
    assert read_json(again / "DONE") == read_json(report / "DONE")
    assert damaged_files(again) == []


def test_the_page_loads_nothing(page):
    own = page.replace(get_plotlyjs(), "")
    assert len(own) < len(page)
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//""", own)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|<link(?![^>]*data:)", own)
    assert "{{" not in own.split('<script type="application/json"')[0]


def test_the_data_parses_and_is_the_table(page, sweep):
    data = data_of(page)
    rows = collect([sweep])
    assert [{key: row[key] for key in rows[0]} for row in data["rows"]] == rows
    assert data["columns"] == list(rows[0])
    names = {row["name"] for row in rows if row["kind"] == "sae"}
    assert {each["name"] for each in data["cards"]} <= names
    assert data["cards"]
    seeds = {row["name"] for row in rows if row["kind"] == "sae" and row["pooled_as"]}
    assert sum(each["name"] in seeds for each in data["cards"]) <= 1, "one card an SAE, whatever its seeds"
    for each in data["cards"]:
        assert all(len(board["cells"]) == 16 for card in each["cards"] for board in card["boards"])


def test_a_name_cannot_break_out_of_the_data():
    evil = {"name": "</script><script>alert(1)</script><!-- <script>"}
    text = embedded(evil)
    assert "</" not in text
    assert "<!--" not in text
    assert json.loads(text) == evil


def test_figures_are_inside_with_a_text_for_those_who_cannot_see_them(page):
    images = re.findall(r"<img [^>]*>", page.replace(get_plotlyjs(), ""))
    assert len(images) == 10
    assert all('src="data:image/png;base64,' in image and 'alt="' in image for image in images)


def test_the_summary_has_the_headline_numbers(page, study):
    legality = read_json(study.model / "legality.json")
    best = max(row["coverage"] for row in collect([study.folder]) if row["kind"] == "sae" and row["n_seeds"] == 1)
    summary = page.split('id="summary"')[1].split("</section>")[0]
    assert f"{legality['test']['legal_rate']:.2%}" in summary
    assert f"{best:.3f}" in summary
    assert "always on" in summary
    assert "Of 4 SAEs" in summary
    assert "ceiling of the same sparsity" in summary
    low, high = legality["test"]["interval"]
    assert f"[{low:.2%}, {high:.2%}]" in summary


def test_several_hook_points_are_folded_away_under_their_best_scores(sweep, study):
    rows = collect([sweep])
    (bed,) = study.beds
    assert "<details>" not in summary(study, rows)
    other = "blocks.0.hook_resid_post"
    assert other != bed.hook_name
    worse = [{**row, "hook_name": other, "coverage": row["coverage"] / 2} for row in rows]
    both = summary(replace(study, beds=(replace(bed, hook_name=other), bed)), [*worse, *rows])
    assert both.count("Its most probable move") == 1
    best = max(row["coverage"] for row in rows if row["kind"] == "sae" and row["n_seeds"] == 1)
    titles = re.findall(r"<details><summary>(.*?)</summary>", both)
    assert [f"best coverage {value:.3f}" in title for value, title in zip((best / 2, best), titles, strict=True)] == [
        True,
        True,
    ]


def test_legality_and_every_probe_stand_in_tables(page, study):
    legality = read_json(study.model / "legality.json")
    learning = page.split('id="learning"')[1].split("</section>")[0]
    assert '<th scope="col">legal</th><th scope="col">illegal</th>' in learning
    for moves in legality["test"]["kinds"].values():
        assert f"<td>{moves['legal']:.2%}</td><td>{moves['illegal']:.2%}</td>" in learning
    probes = page.split('id="probes"')[1].split("</section>")[0]
    found = read_json(study.probes[0] / "probes.json")["hook_points"]
    assert f"<td>{max(each['accuracy'] for each in found.values()):.2%}</td>" in probes
    assert "board, at each ply" in probes


def test_boards_say_how_they_lie(page):
    for each in data_of(page)["cards"]:
        assert (each["columns"], each["rows"]) == (list("abcd"), list("1234"))
        assert (each["first_row_on_top"], each["glyphs"]) == (True, {})


def test_the_axes_are_the_registered_scores_and_what_stands_beside_them(sweep):
    found = {axis["key"]: axis for axis in axes(collect([sweep]))}
    assert next(iter(found)) == "l0"
    for name, each in scores().items():
        assert (found[name]["title"], found[name]["meaning"]) == (each.title, each.meaning)
    assert found["coverage.legal_move"]["group"] == "beside them"
    assert found["coverage.high"]["title"] == "Coverage, high level"
    assert found["direction_recovery_means"]["title"] == "Direction recovery: by mean differences"
    assert not [key for key in found if key.endswith(("_low", "_high"))]


def test_a_missing_or_unfinished_sweep_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        report_run([tmp_path / "nowhere"], out=tmp_path / "r")


def test_a_study_of_a_model_alone_has_a_report(sweep, tmp_path):
    listed = read_json(sweep / "sweep.json")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "DONE").write_text("{}")
    (tmp_path / "sweep" / "run.json").write_text('{"hash": "0"}')
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({k: listed[k] for k in ("name", "corpus", "model")}))
    folder = report_run([tmp_path / "sweep"], out=tmp_path / "r")
    assert {path.name for path in (folder / "figures").iterdir()} == {"learning_curve.png", "legality.png"}
    assert data_of((folder / "index.html").read_text(encoding="utf-8"))["rows"] == []


def test_two_studies_share_a_page(sweep, tmp_path):
    other = sweep.parent / "namesake"
    other.mkdir()
    for name in ("DONE", "run.json", "sweep.json"):
        (other / name).write_bytes((sweep / name).read_bytes())
    folder = report_run([sweep, other], out=tmp_path / "r")
    data = data_of((folder / "index.html").read_text(encoding="utf-8"))
    assert {row["sweep"] for row in data["rows"]} == {sweep.name, "namesake"}
    assert {path.name for path in (folder / "figures").iterdir()} == {sweep.name, "namesake"}
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", (folder / "index.html").read_text(encoding="utf-8"))
    learned = [caption for caption in captions if "most probable next move" in caption]
    assert len(learned) == 1, "the same picture is shown once"
    assert learned[0].startswith(f"{sweep.name} and namesake. ")


def data_of(page):
    return json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
