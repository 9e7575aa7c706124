"""Sparse autoencoders measured against the known truth of a board game.

Games make transcripts, a GPT learns them, properties say what is true at every position, SAEs decompose the GPT's
activations, scores say how much of the truth an SAE found, a report shows it.

Shapes are written as capital suffixes, one letter an axis: `B` games, `L` tokens of a game, `N` positions (flattened),
`D` model width, `F` latents, `T` thresholds, `P` properties (flattened classes), `S` squares, `C` classes,
`V` alphabet, `H` heads, `K` kept latents, `M` moves of many games one after another. `acts_NF`, `labels_NP`, `f1_TFP`.
"""

import ast
import importlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 (pip refuses another; a clone on its path is imported all the same)
    raise SystemExit(f"boardgame_sae needs Python 3.11 or newer; this is Python {sys.version.split()[0]}")

from boardgame_sae.kernel_cache import choose_kernel_cache

__version__ = "0.1.0"


def _let_idle_threads_sleep() -> None:
    """Worker threads that spin while they wait make a training step on a busy machine ten times slower.

    OpenMP reads this when torch is imported. Where torch came first, GNU's OpenMP, that of torch on Linux, still lets
    threads sleep as soon as there are more of them than processors: some that are never used do that.
    """
    said = os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = sys.modules.get("torch")
    if torch is None or said != "PASSIVE" or (n_threads := torch.get_num_threads()) == 1:
        return
    started, n_idle = threading.Event(), (os.cpu_count() or 1) + 1

    def start_and_stay() -> None:
        torch.set_num_threads(n_idle)
        torch.zeros(n_idle << 15).neg()  # enough numbers for each thread to get some
        started.set()
        threading.Event().wait()

    threading.Thread(target=start_and_stay, daemon=True).start()
    started.wait()
    torch.set_num_threads(n_threads)  # the default of threads to come


_let_idle_threads_sleep()
choose_kernel_cache()


def front_door(package: str, file: str) -> tuple[list[str], Callable[[str], Any]]:
    """The names that a package's `__init__.pyi` lists for type checkers, and a `__getattr__` that imports them.

    Each is imported when it is first used: torch takes seconds. package, file: its `__name__` and `__file__`.
    """
    listed = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")).body
    imports = [node for node in listed if isinstance(node, ast.ImportFrom) and node.module]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names if alias.asname}
    names = sorted(homes)

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'; it has {', '.join(names)}")
        return getattr(importlib.import_module(homes[name]), name)

    return names, find


_NAMES, __getattr__ = front_door(__name__, __file__)
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
