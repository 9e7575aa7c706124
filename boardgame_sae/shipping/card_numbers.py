"""The numbers on a shipped testbed's card, measured on the testbed as it ships: when it is packed, and by `check`."""

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.files import read_json
from boardgame_sae.metrics.baselines.registry import baselines
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import measure_legality
from boardgame_sae.pipeline.study_folder import SWEEP_FILE
from boardgame_sae.probes.data import ProbeData, Reading
from boardgame_sae.probes.fit import PROBES_FILE, load_probe, probe_results
from boardgame_sae.resampling import bootstrap_interval
from boardgame_sae.runs import progress
from boardgame_sae.testbeds.shipped import CARD_FILE, PROBES, shipped_saes, shipped_testbeds
from boardgame_sae.testbeds.testbed import GAMES_AT_ONCE, Testbed, load_testbed
from boardgame_sae.transcripts.corpus import Corpus

NUMBERS_FILE = "card.json"
SCORED = ("coverage", "board_reconstruction")
"""Scores of SAEs and baselines that the card gives with their intervals."""
PLIES_TOGETHER = 10
"""Plies of a stretch of the game whose boards the card says are read so and so well."""


class Number(NamedTuple):
    """One number of a card."""

    value: float
    low: float
    """95% interval over games."""
    high: float


def numbers(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number]]:
    """Measure every number of a packed testbed's card, one after the other, each by its name.

    `legality`; `probe/NAME/HOOK_POINT` for each of its probes, at the testbed's hook point by stretches of the game too
    (`probe/NAME/HOOK_POINT/plies 10-19`); `NAME/coverage`, `NAME/board_reconstruction` for each SAE and each baseline.
    """
    testbed = load_testbed(folder, device)
    saes = shipped_saes(Path(folder))
    probes = sorted(path.parent for path in (Path(folder) / PROBES).glob(f"*/{PROBES_FILE}"))
    games_B = testbed.corpus.games("test")[: testbed.n_games]
    with progress(2 + len(probes) + len(saes), "measure", "parts") as bar:
        yield "legality", legality_number(testbed)
        bar.update(1)
        for each in probes:
            for hook_name, found in probe_numbers(testbed.model, testbed.corpus, each, games_B).items():
                yield f"probe/{each.name}/{hook_name}", found.pop("")
                if hook_name == testbed.hook_name:
                    yield from ((f"probe/{each.name}/{hook_name}/{plies}", number) for plies, number in found.items())
            bar.update(1)
        for name, sae in saes.items():
            yield from _score_numbers(evaluate(sae, testbed, "quick", name=name))
            bar.update(1)
        for kind, baseline in baselines().items():
            if baseline.of_testbed is not None:
                made = baseline.of_testbed(testbed)
                yield from _score_numbers(evaluate(made.latents, made.testbed, "quick", name=made.name, kind=kind))
        bar.update(1)


def _score_numbers(scores: Scores) -> Iterator[tuple[str, Number]]:
    for score in SCORED:
        interval = scores[score].interval if score in scores else None
        if interval:
            yield f"{scores.subject['name']}/{score}", Number(scores[score].value, *interval)


def legality_number(testbed: Testbed) -> Number:
    """How often the GPT's most probable move is legal on the testbed's test games."""
    found = measure_legality(testbed.model, testbed.corpus, "test", testbed.n_games)
    return Number(found["legal_rate"], *found["interval"])


@torch.no_grad()
def probe_numbers(
    model: GameModel, corpus: Corpus, folder: str | Path, games_B: np.ndarray
) -> dict[str, dict[str, Number]]:
    """Accuracy on some games of a probe, at each of its hook points: overall (``""``) and by stretches of the game."""
    about = probe_results(folder)
    names = tuple(about["hook_points"])
    probes = [load_probe(folder, name) for name in names]
    reading = Reading(model, corpus, names, about["positions"])
    data = ProbeData(reading, corpus.game.property(about["property"]), about["min_ply"])
    hits: list[dict[int, np.ndarray]] = [{} for _ in names]
    for start in range(0, len(games_B), GAMES_AT_ONCE):
        acts, classes_NS, game_N, ply_N = data.with_places(games_B[start : start + GAMES_AT_ONCE])
        for counts, acts_ND, probe in zip(hits, acts, probes, strict=True):
            right_N = (probe.logits(acts_ND).argmax(-1) == classes_NS).sum(-1).cpu().numpy()
            for stretch in np.unique(ply_N // PLIES_TOGETHER).tolist():
                here_N = ply_N // PLIES_TOGETHER == stretch
                counts_B2 = counts.setdefault(stretch, np.zeros((len(games_B), 2)))
                np.add.at(counts_B2[:, 0], start + game_N[here_N], right_N[here_N])
                np.add.at(counts_B2[:, 1], start + game_N[here_N], classes_NS.shape[1])
    return {name: _shares(counts) for name, counts in zip(names, hits, strict=True)}


def _shares(counts: Mapping[int, np.ndarray]) -> dict[str, Number]:
    """Counts, (games, 2) of hits and questions by stretch of the game, as shares."""
    found = {"": _share(sum(counts.values(), np.zeros(2)))}
    for stretch, counts_B2 in sorted(counts.items()):
        first, reached_B = stretch * PLIES_TOGETHER, counts_B2[:, 1] > 0
        if reached_B.mean() > 0.5:  # of a few long games there is little to say
            found[f"plies {first}-{first + PLIES_TOGETHER - 1}"] = _share(counts_B2)
    return found


def _share(counts_B2: np.ndarray) -> Number:
    hits, n = counts_B2.sum(0)
    return Number(float(hits / n), *bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], counts_B2))


def differing(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number, float, bool]]:
    """Measure a packed testbed's numbers again: each one's name, what its card says, what it is now, whether that fits.

    It fits where it lies in the card's interval; a number that only one of the two has is NaN in the other, and does
    not fit. Raises RunError when the folder has no card.
    """
    card: Mapping[str, Any] = read_json(Path(folder) / NUMBERS_FILE)["numbers"]
    unknown, seen = (nan, nan, nan), set[str]()
    for name, now in numbers(folder, device):
        seen.add(name)
        said = Number(*card.get(name, unknown))
        yield name, said, now.value, said.low <= now.value <= said.high
    for name in sorted(card.keys() - seen):
        yield name, Number(*card[name]), nan, False


def shipped_table() -> str:
    """The testbeds that ship, each with its SAEs and what their cards say of them, as text."""
    testbeds = {name: (folder, shipped_saes(folder)) for name, folder in shipped_testbeds().items()}
    width = max((len(f"{name}/{sae}") for name, (_, saes) in testbeds.items() for sae in ("", *saes)), default=0)
    lines = []
    for name, (folder, saes) in testbeds.items():
        card = read_json(folder / NUMBERS_FILE) if (folder / NUMBERS_FILE).exists() else {"numbers": {}}
        about, found = read_json(folder / CARD_FILE), card["numbers"]
        first = Path(read_json(folder / SWEEP_FILE)["probes"][0]).name if found else ""
        reads = found.get(f"probe/{first}/{about['hook_name']}")
        best = [f"legal {found['legality'][0]:.1%}"] if "legality" in found else []
        best += [f"{first} probe {reads[0]:.1%}"] if reads else []
        lines.append(f"testbed {name:{width}} {about['hook_name']}  {'  '.join(best)}  {folder}")
        for sae in saes:
            said = [f"{score} {found[key][0]:.3f}" for score in SCORED if (key := f"{sae}/{score}") in found]
            lines.append(f"SAE     {name + '/' + sae:{width}} {'  '.join(said)}")
    return "\n".join(lines) or "no testbed ships here"
