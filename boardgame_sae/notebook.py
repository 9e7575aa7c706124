"""How things show themselves in a notebook, as HTML: tables, and pictures side by side."""

import html
from collections.abc import Iterable, Sequence

_APART = 'style="padding:.1em .8em .1em 0;text-align:left"'
"""Of every cell: marimo takes all space between them away."""


class Picture(str):
    """An SVG image: text that a notebook draws."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<SVG image of {len(self):,} characters>"


def table(title: str, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table under a title; every cell is escaped, but for pictures. head: names of the columns."""
    lines = [f"<tr>{''.join(f'<th {_APART}>{html.escape(name)}</th>' for name in head)}</tr>"] if head else []
    lines += [f"<tr>{''.join(f'<td {_APART}>{_cell(value)}</td>' for value in row)}</tr>" for row in rows]
    whole = f"<table><caption><b>{html.escape(title)}</b></caption>{''.join(lines)}</table>"
    return f'<div style="overflow-x:auto">{whole}</div>'


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
