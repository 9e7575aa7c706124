"""The slides are one page that opens offline, and up to date."""

from pathlib import Path

from boardgame_sae.workshop.slides import slides_page, write_slides

FOLDER = Path(__file__).parents[2] / "experiments" / "workshop"


def test_the_slides_are_up_to_date_and_need_nothing_else(tmp_path):
    (tmp_path / "slides.md").write_text((FOLDER / "slides.md").read_text(encoding="utf-8"), encoding="utf-8")
    page = write_slides(tmp_path).read_text(encoding="utf-8")
    assert page == (FOLDER / "slides.html").read_text(encoding="utf-8"), "run `make workshop-notebooks`"
    assert not any(word in page for word in ("<script", "http", "src=", "@import"))


def test_each_part_is_a_slide_and_its_html_is_escaped():
    page = slides_page("# A\n\n---\n\n| a | b |\n| --- | --- |\n| 1 | <script> |\n", "T & U")
    assert page.count("<section>") == 2 and "<td>1</td>" in page
    assert "&lt;script&gt;" in page and "<title>T &amp; U</title>" in page
