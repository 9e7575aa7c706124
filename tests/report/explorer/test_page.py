"""The page: one file that loads nothing, whose data cannot break out, and that is the same twice."""

import html
import json
import re

import pytest
from plotly.offline import get_plotlyjs

from boardgame_sae.files import RunError, read_json
from boardgame_sae.metrics.score import scores
from boardgame_sae.report.explorer.page import embedded
from boardgame_sae.report.figures.registry import figures
from boardgame_sae.report.rows import collect
from boardgame_sae.report.run import make_report
from boardgame_sae.runs.integrity import damaged_files


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    return make_report([sweep], out=tmp_path_factory.mktemp("report") / "r")


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
    assert make_report((str(sweep),), out=report) == report
    assert (report / "index.html").stat().st_mtime_ns == before
    again = make_report([sweep], out=tmp_path / "again")
    assert read_json(again / "DONE") == read_json(report / "DONE")
    assert damaged_files(again) == []


def test_the_page_loads_nothing(page):
    own = page.replace(get_plotlyjs(), "")
    assert len(own) < len(page)
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//""", own)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|<link(?![^>]*data:)", own)
    assert "{{" not in own.split('<script type="application/json"')[0]


def test_the_data_parses_and_is_the_table(page, sweep):
    data, rows = data_of(page), collect([sweep])
    assert {column: data["values"][column] for column in rows[0]} == {
        column: [row[column] for row in rows] for column in rows[0]
    }


def test_every_sae_has_its_latents_in_a_file_beside_the_page(page, report):
    values = data_of(page)["values"]
    files = {file for file, kind in zip(values["file"], values["kind"], strict=True) if kind == "sae"} - {None}
    assert files == {0, 1, 2, 3}, "one for each SAE, none for pooled ones"
    assert {path.name for path in (report / "latents").iterdir()} == {
        f"{file}{ending}.js" for file in files for ending in ("", "-boards")
    }


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


def test_every_figure_stands_in_its_section_or_folded_away(page, study):
    own = page.replace(get_plotlyjs(), "")
    sections = {"gpt": "learning", "saes": "figures"}
    for figure in figures():
        if not list(figure.drawn(study)):
            continue
        section = own.split(f'id="{sections.get(figure.section, figure.section)}"')[1].split("</section>")[0]
        folded = own.split("<summary>More figures")[1].split("</details>")[0]
        alt = f'alt="{figure.title} of {study.label}"'
        assert alt in (folded if figure.folded else section), figure.name
        assert own.count(alt) == 1
    assert "This study has no such figure" not in own


def test_every_score_is_explained(page):
    reading = html.unescape(page.split('id="reading"')[1].split("</section>")[0])
    for score in scores().values():
        direction = f"{score.better.capitalize()} is better."
        assert f"<dt>{score.title}</dt><dd>{score.meaning}. {direction} <small>{score.source}</small>" in reading
    assert "<dt>Ceilings: linear probe of the same sparsity, linear probe, linear probe as an SAE</dt>" in reading


def test_a_missing_or_unfinished_sweep_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        make_report([tmp_path / "nowhere"], out=tmp_path / "r")


def test_a_study_of_a_model_alone_has_a_report(sweep, tmp_path):
    listed = read_json(sweep / "sweep.json")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "DONE").write_text('{"files": {}, "summary": {}}')
    (tmp_path / "sweep" / "run.json").write_text('{"hash": "0"}')
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({k: listed[k] for k in ("name", "corpus", "model")}))
    folder = make_report([tmp_path / "sweep"], out=tmp_path / "r")
    assert {path.name for path in (folder / "figures").iterdir()} == {"learning_curve.png", "legality.png"}
    assert data_of((folder / "index.html").read_text(encoding="utf-8"))["n_rows"] == 0


def test_two_studies_share_a_page(sweep, tmp_path):
    other = sweep.parent / "namesake"
    other.mkdir()
    for name in ("DONE", "run.json", "sweep.json"):
        (other / name).write_bytes((sweep / name).read_bytes())
    folder = make_report([sweep, other], out=tmp_path / "r")
    data = data_of((folder / "index.html").read_text(encoding="utf-8"))
    assert set(data["values"]["sweep"]) == {sweep.name, "namesake"}
    assert {path.name for path in (folder / "figures").iterdir()} == {sweep.name, "namesake"}
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", (folder / "index.html").read_text(encoding="utf-8"))
    learned = [caption for caption in captions if "most probable next move" in caption]
    assert len(learned) == 1, "the same picture is shown once"
    assert learned[0].startswith(f"{sweep.name} and namesake. ")


def data_of(page):
    return json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
