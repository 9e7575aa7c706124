"""The house: data flows one way, no two modules need each other, rooms stay small enough to see at once."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "boardgame_sae"
MODULES = {
    ".".join(("boardgame_sae", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FRONT_DOOR = "boardgame_sae"
"""The package itself, which imports what it offers when it is first asked for."""
QUICK_HELP = "boardgame_sae.cli"
"""Verbs import what they need when they run, so that `--help` comes at once."""
LESSONS = PACKAGE / "workshop" / "lessons"
"""Notebooks, whose imports stand in their first cell; nothing imports them."""
MOST_LINES, MOST_ENTRIES, MOST_IN_METRICS = 400, 12, 15


def imports(name: str, *, inside_functions: bool) -> Iterator[str]:
    """The modules of the package that a module imports: at its top, or (also) inside functions and conditions."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


GRAPH = {name: set(imports(name, inside_functions=True)) - {name} for name in MODULES if name != FRONT_DOOR}


def layers() -> list[set[str]]:
    """The layers, the highest first, as `import-linter` reads them."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    listed = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [{part.strip() for part in layer.split("|")} for layer in listed]


def test_no_two_modules_need_each_other():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail("imports go round: " + " -> ".join(error.args[1]))


def test_every_import_points_down_or_stays_in_its_layer():
    height = {name: -place for place, layer in enumerate(layers()) for name in layer}

    def layer_of(module: str) -> str:
        return module.split(".")[1]

    up = [
        f"{module} -> {imported}"
        for module, targets in GRAPH.items()
        for imported in targets - {FRONT_DOOR}
        if height[layer_of(imported)] > height[layer_of(module)]
        or (height[layer_of(imported)] == height[layer_of(module)] and layer_of(imported) != layer_of(module))
    ]
    assert not up


def test_modules_are_imported_at_the_top_but_where_help_must_come_at_once():
    late = {
        name: hidden
        for name in GRAPH
        if not name.startswith(QUICK_HELP)
        and LESSONS not in MODULES[name].parents
        and (hidden := set(imports(name, inside_functions=True)) - set(imports(name, inside_functions=False)))
    }
    assert not late


def test_no_module_is_too_long_to_be_read_at_once():
    long = {str(path.relative_to(ROOT)): n for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.js")]
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES}  # fmt: skip
    assert not long


def test_no_folder_is_too_full_to_be_seen_at_once():
    folders = [path for path in [PACKAGE, *PACKAGE.rglob("*")] if path.is_dir() and (path / "__init__.py").exists()]
    for folder in folders:
        entries = [path.name for path in folder.iterdir() if not path.name.startswith("__") and path.name != "py.typed"]
        most = MOST_IN_METRICS if folder.name == "metrics" else 30 if folder == PACKAGE else MOST_ENTRIES
        assert len(entries) <= most, f"{folder}: {sorted(entries)}"


def test_only_exchange_folders_name_other_libraries_formats():
    named = [
        str(path.relative_to(ROOT))
        for folder in ("saes", "model")
        for path in (PACKAGE / folder).rglob("*.py")
        if "exchange" not in path.parts
        and any(word in path.read_text() for word in ("import sae_lens", "import dictionary_learning"))
    ]
    assert not named


def test_no_two_test_files_share_a_name():
    """pytest imports them by their names alone, and leaves out the second of two."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_processes_are_started_in_one_place_which_says_how():
    """Python 3.14 starts them otherwise than 3.11 where nothing is said. To ask whether one is a worker starts none."""
    words, asks = ("multiprocessing", "ProcessPool", "os.fork"), "from multiprocessing import parent_process\n"
    texts = {name: path.read_text(encoding="utf-8").replace(asks, "") for name, path in MODULES.items()}
    starters = {name for name, text in texts.items() if any(word in text for word in words)}
    assert starters == {"boardgame_sae.launch"}
    assert 'get_context("spawn")' in MODULES["boardgame_sae.launch"].read_text(encoding="utf-8")
