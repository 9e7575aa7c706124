"""Links lead to files, and to headings, that there are; on the site they stay inside it."""

import re

import pytest
from links import FENCED, LINK, PAGES, ROOT, BrokenLinkError, mounted, on_site, resolved, rewritten

WRITTEN = [
    "README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for pattern in PAGES for path in sorted(ROOT.glob(pattern))),
]


def headings(path):
    """The anchors of a page's headings, as GitHub and the site make them."""
    lines = FENCED.sub("", (ROOT / path).read_text()).splitlines()
    titles = [re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()) for line in lines if line.startswith("#")]
    return {title.replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", WRITTEN)
def test_every_link_of_a_page_resolves(page):
    for link in LINK.finditer(FENCED.sub("", (ROOT / page).read_text())):
        path, anchor = resolved(link["target"], page)
        generated = path == "docs/reference/command_line.md"
        if anchor and not generated:
            assert anchor[1:] in headings(path or page), f"{page}: {link['target']}"


@pytest.mark.parametrize("page", WRITTEN)
def test_pictures_are_on_the_site_and_links_stay_inside(page):
    for link in LINK.finditer(FENCED.sub("", rewritten((ROOT / page).read_text(), page))):
        assert not link["target"].startswith("/")
    for link in LINK.finditer(FENCED.sub("", (ROOT / page).read_text())):
        if link["image"]:
            assert on_site(resolved(link["target"], page)[0]), link["target"]


def test_a_link_on_the_site_is_relative_to_where_the_page_is_there():
    text = "[card](../../data/testbeds/othello6-tiny/README.md#the-gpt) [code](../../boardgame_sae/cli/runs.py)"
    shown = "[card](../data/testbeds/othello6-tiny/README.md#the-gpt) code"
    assert rewritten(text, "docs/concepts/scores.md") == shown
    assert rewritten("[home](../README.md)", "docs/studies.md") == "[home](index.md)"
    assert rewritten("[x](../first-look)", "experiments/saebench/README.md") == "[x](../first-look/README.md)"
    assert (
        rewritten("[web](https://example.org/a) [here](#b)", "README.md") == "[web](https://example.org/a) [here](#b)"
    )
    code = "```python\nnames[0](missing)\n```\n"
    assert rewritten(code, "README.md") == code


def test_a_link_to_nothing_is_an_error_that_names_the_page_and_the_target():
    with pytest.raises(BrokenLinkError, match=r"docs/studies.md: links to none.md"):
        rewritten("[x](none.md)", "docs/studies.md")


def test_the_site_holds_every_study_and_card():
    assert {"experiments/saebench/README.md", "data/testbeds/othello6-tiny/README.md"} <= mounted().keys()


def test_the_glossary_is_in_alphabetical_order_and_explains_a_word_once():
    parts = re.split(r"^## ", (ROOT / "docs/glossary.md").read_text(), flags=re.MULTILINE)[1:]
    words = [
        [re.sub(r"[`*]", "", word).lower() for word in re.findall(r"^\*\*(.+?)\.\*\*", part, re.MULTILINE)]
        for part in parts
    ]
    assert all(part == sorted(part) and len(part) > 4 for part in words)
    assert len({word for part in words for word in part}) == sum(map(len, words))
