"""Links of pages: written relative to the repository, as GitHub shows them, and followed inside the built site.

The site holds more than `docs/`: the README is its first page, and studies and testbeds' cards stand where the
repository has them. A link to any other file of the repository becomes plain text on the site.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_PAGE = "README.md"
PAGES = ("experiments/*/README.md", "data/README.md", "data/testbeds/*/README.md")
FIGURES = ("experiments/*/results/**/*.png", "data/testbeds/*/figures/*.png")
"""What the site holds besides `docs/` and the README."""
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]\n]*(?:\n[^\]\n]+)?)\]\((?P<target>[^()\s]+)\)")
FENCED = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)


class BrokenLinkError(ValueError):
    """A link to a file that there is not."""


def mounted() -> dict[str, str]:
    """Files outside `docs/` that the site holds: paths on the site, by paths in the repository."""
    found = [path.relative_to(ROOT).as_posix() for pattern in PAGES + FIGURES for path in sorted(ROOT.glob(pattern))]
    return {FIRST_PAGE: "index.md", **{path: path for path in found}}


def on_site(path: str) -> str | None:
    """Where the site has a file of the repository, if it has it."""
    if path.startswith("docs/") and not path.startswith("docs/_site/"):
        return path.removeprefix("docs/")
    return mounted().get(path)


def rewritten(markdown: str, page: str) -> str:
    """A page's text with links that work on the site. page: its path in the repository. Raises BrokenLinkError."""

    def rewrite(link: re.Match[str]) -> str:
        path, anchor = resolved(link["target"], page)
        if path is None:
            return link[0]
        place = on_site(path)
        if place is None:
            return link["text"]
        target = os.path.relpath(place, os.path.dirname(on_site(page) or "") or ".")
        return f"{link['image']}[{link['text']}]({target}{anchor})"

    return outside_code(lambda text: LINK.sub(rewrite, text), markdown)


def resolved(target: str, page: str) -> tuple[str | None, str]:
    """What a link on a page leads to: a path in the repository, and `#anchor`. None: a place elsewhere, or on the page.

    A folder stands for its README, where it has one. Raises BrokenLinkError.
    """
    target, hash_, anchor = target.partition("#")
    if not target or ":" in target:
        return None, hash_ + anchor
    path = os.path.normpath(os.path.join(os.path.dirname(page), target))
    if (ROOT / path / "README.md").is_file():
        path += "/README.md"
    if not (ROOT / path).exists():
        raise BrokenLinkError(f"{page}: links to {target}, which there is not")
    return path, hash_ + anchor


def outside_code(change: Callable[[str], str], markdown: str) -> str:
    """A page's text with everything but its code blocks changed."""
    return "".join(part if part.startswith("```") else change(part) for part in FENCED.split(markdown))
