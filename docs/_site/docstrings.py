"""Docstrings as they are written here, laid out for the reference: each argument a line of a list, errors apart.

    hook_name: default the residual stream. n_games: games per split;
    fewer if the split has fewer.
    Raises HookError for a bad hook point.

becomes a list of two arguments, and a paragraph. Names that no argument has are left as they are.
"""

import re
from collections.abc import Sequence

import griffe

APART = re.compile(r"^(Raises|Returns|Source|Sources|Shapes)\b", re.MULTILINE)


class ArgumentsAsLists(griffe.Extension):
    """Lays out the docstrings of functions and methods."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Called for each function that is read."""
        if func.docstring:
            func.docstring.value = laid_out(func.docstring.value, [parameter.name for parameter in func.parameters])


def laid_out(docstring: str, arguments: Sequence[str]) -> str:
    """A docstring with its arguments as a list. arguments: their names, with `*` or without."""
    names = [re.escape(name.lstrip("*")) for name in arguments if name not in ("self", "cls")]
    text = APART.sub(r"\n\1", docstring)
    if not names:
        return text
    one = "|".join(sorted(names, key=len, reverse=True))
    argument = re.compile(rf"(?:^[ ]*|(?<=[.;)]) |(?<=[.;)])\n[ ]*)((?:{one})(?:, (?:{one}))*): ", re.MULTILINE)
    paragraphs = [_listed(paragraph, argument) for paragraph in re.split(r"\n\s*\n", text)]
    return "\n\n".join(paragraphs)


def _listed(paragraph: str, argument: re.Pattern[str]) -> str:
    first = argument.search(paragraph)
    if first is None:
        return paragraph
    before, rest = paragraph[: first.start()].rstrip(), paragraph[first.start() :]
    items = argument.split(rest)[1:]
    lines = [
        f"- **{', '.join(f'`{name}`' for name in names.split(', '))}**: {' '.join(text.split())}"
        for names, text in zip(items[::2], items[1::2], strict=True)
    ]
    return "\n\n".join(filter(None, [before, "\n".join(lines)]))
