"""All benchmarks in one table, printed and written to experiments/benchmarks/table.md. Run `make bench`.

Peers run side by side in the same process. Absolute numbers depend on what else the machine is doing: read the ratios.
"""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bench_chess
import bench_counts
import bench_demo
import bench_games
import bench_gpt

BENCHES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "games": bench_games.rows,
    "chess": bench_chess.rows,
    "counts": bench_counts.rows,
    "GPT": bench_gpt.rows,
    "demo": bench_demo.rows,
}


def _shown(value: Any) -> str:
    if value is None:
        return "not installed"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def main() -> None:
    """Run all benchmarks, print the table and write it."""
    lines = ["| what | ours | unit | target | peer | peer's |", "| --- | ---: | --- | --- | --- | ---: |"]
    print("\n".join(lines))
    for name, rows in BENCHES.items():
        print(f"measuring {name} ...", file=sys.stderr)
        for row in rows():
            target = f">= {row['target']:,}" if isinstance(row["target"], int) else row["target"]
            cells = [row["what"], _shown(row["ours"]), row["unit"], target, row["peer"], _shown(row["peer_value"])]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    Path(__file__).with_name("table.md").write_text("# Benchmarks\n\n" + "\n".join(lines) + f"\n\n{machine}\n")


if __name__ == "__main__":
    main()
