"""A lesson's file, read without running it: which cells it has, and which of them are exercises."""

import ast
import textwrap
from pathlib import Path
from typing import Literal, NamedTuple

LESSONS = Path(__file__).parent / "lessons"


class Cell(NamedTuple):
    """One cell of a lesson."""

    kind: Literal["text", "code", "exercise"]
    source: str
    """Markdown, or Python as a notebook has it."""


def lesson_path(number: int) -> Path:
    """The file of a lesson. Raises ValueError, with the numbers there are, for another."""
    found = {int(path.stem.removeprefix("lesson")[0]): path for path in LESSONS.glob("lesson*.py")}
    if number not in found:
        raise ValueError(f"there is no lesson {number}; there are lessons {min(found)} to {max(found)}")
    return found[number]


def lesson_numbers() -> list[int]:
    """The numbers of the lessons, ascending."""
    return sorted(int(path.stem.removeprefix("lesson")[0]) for path in LESSONS.glob("lesson*.py"))


def cells(source: str) -> list[Cell]:
    """The cells of a marimo file, in order."""
    tree, lines = ast.parse(source), source.splitlines()
    found = []
    for node in tree.body:
        if isinstance(node, ast.With):
            found.append(Cell("code", _dedented(lines, node.body)))
        elif isinstance(node, ast.FunctionDef):
            found.append(_cell(node, lines))
    return found


def exercises(source: str) -> dict[str, str]:
    """The functions that a student fills, by name."""
    found = [cell.source for cell in cells(source) if cell.kind == "exercise"]
    return {ast.parse(code).body[0].name: code for code in found}  # pyright: ignore[reportAttributeAccessIssue]


def _cell(node: ast.FunctionDef, lines: list[str]) -> Cell:
    decorated = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    if "app.function" in decorated:
        code = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        return Cell("exercise" if "raise NotImplementedError" in code else "code", code)
    body = [part for part in node.body if not isinstance(part, ast.Return)]
    text = _markdown(body)
    return Cell("text", text) if text is not None else Cell("code", _dedented(lines, body))


def _markdown(body: list[ast.stmt]) -> str | None:
    """The text of a cell that shows nothing else."""
    match body:
        case [ast.Expr(ast.Call(func=ast.Attribute(attr="md"), args=[ast.Constant(value=str(text))]))]:
            return textwrap.dedent(text).strip()
    return None


def _dedented(lines: list[str], body: list[ast.stmt]) -> str:
    last = body[-1].end_lineno
    return textwrap.dedent("\n".join(lines[body[0].lineno - 1 : last]))
