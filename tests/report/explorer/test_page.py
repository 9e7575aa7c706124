"""The page: one file that loads nothing, whose data cannot break out, and that is the same twice."""

import html
import json
import re

import pytest
from plotly.offline import get_plotlyjs

from boardgame_sae.files import RunError, read_json
from boardgame_sae.integrity import damaged_files
from boardgame_sae.metrics.score import scores
from boardgame_sae.report.explorer.page import embedded, report_run
from boardgame_sae.report.figures.registry import figures
from boardgame_sae.report.rows import collect


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
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|<link(?![^>]*data:)", own)
    assert "{{" not in own.split('<script type="application/json"')[0]


def test_the_data_parses_and_is_the_table(page, sweep):
    data = data_of(page)
    rows = collect([sweep])
    assert [{key: row[key] for key in rows[0]} for row in data["rows"]] == rows
    assert data["columns"] == list(rows[0])
    names = {row["name"] for row in rows if row["kind"] == "sae"}
    assert {of_sae["name"] for of_sae in data["cards"]} <= names
    assert data["cards"]
    seeds = {row["name"] for row in rows if row["kind"] == "sae" and row["pooled_as"]}
    assert sum(of_sae["name"] in seeds for of_sae in data["cards"]) <= 1, "one card per SAE, whatever its seeds"


def test_boards_are_the_games_own_pictures(page, study):
    data = data_of(page)
    cards = [card for of_sae in data["cards"] for card in of_sae["cards"]]
    boards = [board for card in cards for board in card["boards"]]
    assert len(boards) > 100
    for board in boards:
        picture = "".join(data["picture_parts"][part] for part in board["picture"])
        assert picture == study.game.picture(study.game.replay(board["text"])[-1])
    means = [
        "".join(data["picture_parts"][part] for part in mean["picture"]) for card in cards for mean in card["mean"]
    ]
    assert all(picture.startswith("<svg") and picture.endswith("</svg>") for picture in means)
    assert len(data["picture_parts"]) == len(set(data["picture_parts"])), "each part is kept once"


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
    sections = {"gpt": "learning", "saes": "explore"}
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
        report_run([tmp_path / "nowhere"], out=tmp_path / "r")


def test_a_study_of_a_model_alone_has_a_report(sweep, tmp_path):
    listed = read_json(sweep / "sweep.json")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "DONE").write_text('{"files": {}, "summary": {}}')
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
