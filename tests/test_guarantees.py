"""Every promise of docs/guarantees.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "docs/guarantees.md").read_text().splitlines()
ROWS = [line.split("|")[1:3] for line in LINES if line.startswith("| ")]
PROMISES = {promise.strip(): re.findall(r"`([^`]+)::([^`]+)`", tests) for promise, tests in ROWS[2:]}


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_is_held_by_tests_that_exist(promise):
    assert PROMISES[promise]
    for path, name in PROMISES[promise]:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


def test_the_readme_leads_there():
    assert "docs/guarantees.md" in (ROOT / "README.md").read_text()
