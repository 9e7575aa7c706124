"""The numbers on a shipped testbed's card, measured on the testbed as it ships: when it is packed, and by `check`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.activations.probe_data import ProbeData, Reading
from boardgame_sae.activations.probes import PROBES_FILE, load_probe, probe_results
from boardgame_sae.activations.shipped import CARD_FILE, PROBES, shipped_saes, shipped_testbeds
from boardgame_sae.activations.testbed import GAMES_AT_ONCE, Testbed, load_testbed
from boardgame_sae.metrics.bootstrap import bootstrap_interval
from boardgame_sae.metrics.score import evaluate
from boardgame_sae.model.train import measure_legality
from boardgame_sae.report.table import SWEEP_FILE
from boardgame_sae.runs import progress, read_json

NUMBERS_FILE = "card.json"
SCORED = ("coverage", "board_reconstruction")
"""Scores of shipped SAEs that the card gives."""


class Number(NamedTuple):
    """One number of a card."""

    value: float
    low: float
    """95% interval over games."""
    high: float


def numbers(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number]]:
    """Measure every number of a packed testbed's card, one after the other, each by its name.

    `legality`; `probe/NAME/HOOK_POINT` for each of its probes; `SAE/coverage`, `SAE/board_reconstruction` for each SAE.
    """
    testbed = load_testbed(folder, device)
    saes = shipped_saes(Path(folder))
    probes = sorted(path.parent for path in (Path(folder) / PROBES).glob(f"*/{PROBES_FILE}"))
    with progress(1 + len(probes) + len(saes), "measure", "parts") as bar:
        yield "legality", legality_number(testbed)
        bar.update(1)
        for each in probes:
            for hook_name, found in probe_numbers(testbed, each):
                yield f"probe/{each.name}/{hook_name}", found
            bar.update(1)
        for name, sae in saes.items():
            scores = evaluate(sae, testbed, "quick", name=name)
            for score in SCORED:
                interval = scores[score].interval if score in scores else None
                if interval:
                    yield f"{name}/{score}", Number(scores[score].value, *interval)
            bar.update(1)


def legality_number(testbed: Testbed) -> Number:
    """How often the GPT's most probable move is legal on the testbed's test games."""
    found = measure_legality(testbed.model, testbed.corpus, "test", testbed.n_games)
    return Number(found["legal_rate"], *found["interval"])


@torch.no_grad()
def probe_numbers(testbed: Testbed, folder: Path) -> list[tuple[str, Number]]:
    """Accuracy, on the testbed's test games, of a probe at each of its hook points."""
    about = probe_results(folder)
    names = tuple(about["hook_points"])
    probes = [load_probe(folder, name) for name in names]
    reading = Reading(testbed.model, testbed.corpus, names, about["positions"])
    data = ProbeData(reading, testbed.corpus.game.property(about["property"]), about["min_ply"])
    games_B = testbed.corpus.games("test")[: testbed.n_games]
    counts_HB2 = np.zeros((len(names), len(games_B), 2))
    for start in range(0, len(games_B), GAMES_AT_ONCE):
        acts, classes_NS, game_N = data.with_games(games_B[start : start + GAMES_AT_ONCE])
        for counts_B2, acts_ND, probe in zip(counts_HB2, acts, probes, strict=True):
            hits_N = (probe.logits(acts_ND).argmax(-1) == classes_NS).sum(-1).cpu().numpy()
            np.add.at(counts_B2[:, 0], start + game_N, hits_N)
            np.add.at(counts_B2[:, 1], start + game_N, classes_NS.shape[1])
    return [(name, _share(counts_B2)) for name, counts_B2 in zip(names, counts_HB2, strict=True)]


def _share(counts_B2: np.ndarray) -> Number:
    hits, n = counts_B2.sum(0)
    return Number(float(hits / n), *bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], counts_B2))


def differing(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number, float, bool]]:
    """Measure a packed testbed's numbers again: each one's name, what its card says, what it is now, whether that fits.

    It fits where it lies in the card's interval. Raises RunError when the folder has no card.
    """
    card: Mapping[str, Any] = read_json(Path(folder) / NUMBERS_FILE)["numbers"]
    for name, now in numbers(folder, device):
        said = Number(*card[name])
        yield name, said, now.value, said.low <= now.value <= said.high


def shipped_table() -> str:
    """The testbeds that ship, each with its SAEs and what their cards say of them, as text."""
    lines = []
    for name, folder in shipped_testbeds().items():
        card = read_json(folder / NUMBERS_FILE) if (folder / NUMBERS_FILE).exists() else {"numbers": {}}
        about, found = read_json(folder / CARD_FILE), card["numbers"]
        first = Path(read_json(folder / SWEEP_FILE)["probes"][0]).name if found else ""
        reads = found.get(f"probe/{first}/{about['hook_name']}")
        best = [f"legal {found['legality'][0]:.1%}"] if "legality" in found else []
        best += [f"{first} probe {reads[0]:.1%}"] if reads else []
        lines.append(f"testbed {name:30} {about['hook_name']}  {'  '.join(best)}  {folder}")
        for sae in shipped_saes(folder):
            said = [f"{score} {found[key][0]:.3f}" for score in SCORED if (key := f"{sae}/{score}") in found]
            lines.append(f"SAE     {name + '/' + sae:30} {'  '.join(said)}")
    return "\n".join(lines) or "no testbed ships here"
