"""What mkdocs calls while it builds the site: pages from the rest of the repository, links, the reference."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from links import ROOT, BrokenLinkError, mounted, rewritten
from reference import expanded


def on_files(files: Files, *, config: Any) -> Files:
    """Add what the site holds besides `docs/`."""
    for path, place in mounted().items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Fill in the reference, and make links work on the site."""
    places = {place: path for path, place in mounted().items()}
    path = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    try:
        return rewritten(expanded(markdown), path)
    except BrokenLinkError as error:
        raise PluginError(str(error)) from error
