"""Slides: Markdown in, one HTML page out, without scripts and without anything outside it."""

import html
import sys
from pathlib import Path

from markdown_it import MarkdownIt

from boardgame_sae.files import write_bytes

BREAK = "\n---\n"
"""What stands between two slides."""
STYLE = """
html{scroll-snap-type:y mandatory;font-family:sans-serif;color:#222}
body{margin:0}
section{box-sizing:border-box;min-height:100vh;padding:6vh 9vw;scroll-snap-align:start;border-bottom:1px solid #ccc;
font-size:calc(14px + 1.1vw);line-height:1.45;display:flex;flex-direction:column;justify-content:center}
section>*{max-width:58em;margin:.35em 0}
h1,h2{color:#1f5a38}
code{background:#eee;padding:0 .2em}
pre{background:#eee;padding:.6em;overflow-x:auto}
table{border-collapse:collapse}
td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}
@media print{section{break-after:page;border:0}}
"""


def slides_page(text: str, title: str) -> str:
    """A page with one screen for each slide: the parts of a Markdown text between lines of `---`."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    sections = "".join(f"<section>\n{markdown.render(part.strip())}</section>\n" for part in text.split(BREAK))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{sections}</body></html>\n'


def write_slides(folder: Path) -> Path:
    """Write `slides.html` beside a folder's `slides.md`."""
    page = slides_page((folder / "slides.md").read_text(encoding="utf-8"), "What does a GPT know of the board?")
    write_bytes(folder / "slides.html", page.encode())
    return folder / "slides.html"


if __name__ == "__main__":
    write_slides(Path(sys.argv[1]))
