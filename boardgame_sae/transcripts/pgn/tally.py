"""What becomes of the games of an import: how many are kept, which are not, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from boardgame_sae.config import canonical_json
from boardgame_sae.files import RunError, append_bytes, write_bytes
from boardgame_sae.games import MoveRecord
from boardgame_sae.runs import Run
from boardgame_sae.transcripts.pgn.part import Part
from boardgame_sae.transcripts.pgn.source import STANDARD_INPUT

SKIPPED_FILE = "skipped.jsonl"
MAX_LISTED = 10_000
"""Games that are listed one by one; all are counted."""
FILTERED, KEPT = "filtered: ", "kept: "
"""How it begins, what is told of a game that was good but not wanted, or that is kept though not all of it is."""


class Tally:
    """What has been kept and what not, part by part."""

    def __init__(self, run: Run, limit: int | None) -> None:
        self.run, self.limit = run, limit
        self.paths: list[str] = []
        self.n_kept, self.n_listed = 0, 0
        self.told: Counter[str] = Counter()
        self.source: Counter[str] = Counter()
        """Of the source that is being read: games read and kept, and those that were not, by reason."""
        write_bytes(run / SKIPPED_FILE, b"")

    def add(self, part: Part) -> bool:
        """Take in the next part; False when no more games are wanted.

        Raises RunError when a source ends of which no game was kept.
        """
        told, n_read, name = part.told, part.n_read, part.batch.source
        kept = np.setdiff1d(np.arange(n_read), [number for number, why, _ in told if not why.startswith(KEPT)])
        wanted = n_read if self.limit is None else self.limit - self.n_kept
        full = self.limit is not None and len(kept) >= wanted
        if full:
            kept = kept[:wanted]
            n_read = int(kept[-1]) + 1
            told = [game for game in told if game[0] < n_read]
        self.paths.append(part.path)
        self.n_kept += len(kept)
        self._list(name, told)
        reasons = Counter(reason for _, reason, _ in told)
        self.told += reasons
        self.source += Counter({"read": n_read, "kept": len(kept)}) + reasons
        if part.batch.is_last:
            self._end(name)
        return not full

    def _list(self, name: str, told: Sequence[tuple[int, str, dict[str, Any]]]) -> None:
        """Write down the games that are skipped, not merely filtered, and those that are not kept whole."""
        before = self.source["read"]
        rows = [
            canonical_json({"source": name, "game": before + number + 1, "reason": reason, **place}) + "\n"
            for number, reason, place in told
            if not reason.startswith(FILTERED)
        ][: MAX_LISTED - self.n_listed]
        self.n_listed += len(rows)
        if rows:
            append_bytes(self.run / SKIPPED_FILE, "".join(rows).encode())

    def _end(self, name: str) -> None:
        counts, self.source = self.source, Counter()
        if counts["kept"]:
            return
        shown = "standard input" if name == STANDARD_INPUT else name
        if not counts["read"]:
            raise RunError(f"{shown}: there is no game in it; give PGN text")
        why = ", ".join(f"{reason} {n}" for reason, n in counts.most_common() if reason != "read")
        raise RunError(
            f"{shown}: none of its {counts['read']} games can be kept ({why}); "
            f"{self.run / SKIPPED_FILE} lists them; change the filters or leave the source out"
        )

    def summary(self, record: MoveRecord, warnings: Mapping[str, int]) -> dict[str, Any]:
        """The summary of the import, for DONE."""
        by_kind: dict[str, dict[str, int]] = {FILTERED: {}, KEPT: {}, "": {}}
        for why, n in sorted(self.told.items()):
            kind = next(kind for kind in by_kind if why.startswith(kind))
            by_kind[kind][why.removeprefix(kind)] = n
        return {
            "n_games": len(record),
            "n_moves": len(record.moves_M),
            "skipped": by_kind[""],
            "filtered": by_kind[FILTERED],
            "warnings": {**warnings, **by_kind[KEPT]},
        }
