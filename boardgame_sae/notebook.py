"""How things show themselves in a notebook, as HTML: tables, and pictures side by side."""

import html
from collections.abc import Iterable, Sequence


class Picture(str):
    """An SVG image: text that a notebook draws."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<SVG image of {len(self):,} characters>"


def table(title: str, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table under a title; every cell is escaped, but for pictures. head: names of the columns."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in head)}</tr>"] if head else []
    lines += [f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows]
    return f"<table><caption><b>{html.escape(title)}</b></caption>{''.join(lines)}</table>"


def pictures(shown: Iterable[tuple[str, str]]) -> str:
    """Pictures side by side, each above its caption."""
    figures = (
        f'<figure style="margin:0"><div>{picture}</div><figcaption>{html.escape(caption)}</figcaption></figure>'
        for picture, caption in shown
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(figures)}</div>'


def _cell(value: object) -> str:
    if isinstance(value, Picture):
        return value
    return html.escape(
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    )
