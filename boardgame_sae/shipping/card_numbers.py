"""The numbers on a shipped testbed's card, measured on the testbed as it ships: when it is packed, and by `check`."""

from collections.abc import Iterable, Iterator, Mapping
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from boardgame_sae.config import HookName, Name, record
from boardgame_sae.files import RunError, read_record
from boardgame_sae.intervals import bootstrap_interval
from boardgame_sae.metrics.baselines.registry import baselines
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import main_scores
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.legality import measure_legality
from boardgame_sae.pipeline.study_folder import read_sweep
from boardgame_sae.probes.data import BoardReader, ProbeData
from boardgame_sae.probes.fit import PROBES_FILE, load_probe, probe_results
from boardgame_sae.runs import progress
from boardgame_sae.runs.integrity import read_done, verified
from boardgame_sae.testbeds.shipped import PROBES, SCORES, read_manifest, shipped_saes, shipped_testbeds
from boardgame_sae.testbeds.testbed import GAMES_AT_ONCE, Testbed, load_testbed
from boardgame_sae.transcripts.corpus import Corpus

NUMBERS_FILE = "card.json"
STRETCH = 10
"""Plies of a stretch of the game; the card says how well the boards of each stretch are read."""


@record
class CardRecord:
    """What is read of card.json; there is more, for people."""

    name: Name
    game: str
    hook_name: HookName
    numbers: dict[str, tuple[float, float, float]]
    """Value, lower and upper end of the interval, by name."""
    unrounded: dict[str, float]
    notes: tuple[str, ...] = ()


def read_card(folder: str | Path) -> CardRecord:
    """The card.json of a packed testbed. Raises RunError naming the file and the field that is missing or damaged."""
    verified(folder)
    return read_record(CardRecord, Path(folder) / NUMBERS_FILE, "pack the testbed again")


class Number(NamedTuple):
    """One number of a card."""

    value: float
    low: float
    """95% interval over games."""
    high: float


def numbers(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number]]:
    """Measure every number of a packed testbed's card, one after the other, each by its name.

    `legality`; `probe/NAME/HOOK_POINT` for each of its probes, at the testbed's hook point by stretches of the game too
    (`probe/NAME/HOOK_POINT/plies 10-19`); `NAME/SCORE` of each main score with an interval, for each SAE and for each
    baseline made of the testbed alone whose scores it ships.
    """
    testbed = load_testbed(folder, device)
    saes = shipped_saes(Path(folder))
    probes = sorted(path.parent for path in (Path(folder) / PROBES).glob(f"*/{PROBES_FILE}"))
    games_B = testbed.corpus.games("test")[: testbed.n_games]
    with progress(2 + len(probes) + len(saes), "measure", "parts") as bar:
        yield "legality", legality_number(testbed)
        bar.update(1)
        for probe in probes:
            for hook_name, accuracies in probe_numbers(testbed.model, testbed.corpus, probe, games_B).items():
                name = f"probe/{probe.name}/{hook_name}"
                yield name, accuracies.pop("")
                if hook_name == testbed.hook_name:
                    yield from ((f"{name}/{plies}", accuracy) for plies, accuracy in accuracies.items())
            bar.update(1)
        for name, sae in saes.items():
            yield from _score_numbers(evaluate(sae, testbed, "supervised", name=name))
            bar.update(1)
        for kind, baseline in baselines().items():
            if baseline.of_testbed is not None and (Path(folder) / SCORES / "baselines" / kind).exists():
                made = baseline.of_testbed(testbed)
                scores = evaluate(made.latents, made.testbed, "supervised", name=made.name, kind=kind)
                yield from _score_numbers(scores)
        bar.update(1)


def _score_numbers(scores: Scores) -> Iterator[tuple[str, Number]]:
    for score in main_scores():
        value = scores.get(score.name)
        if value is not None and value.interval:
            yield f"{scores.subject['name']}/{score.name}", Number(value.value, *value.interval)


def legality_number(testbed: Testbed) -> Number:
    """How often the GPT's most probable move is legal in the testbed's test games."""
    legality = measure_legality(testbed.model, testbed.corpus, "test", testbed.n_games)
    return Number(legality["legal_rate"], *legality["interval"])


@torch.no_grad()
def probe_numbers(
    model: GameModel, corpus: Corpus, folder: str | Path, games_B: np.ndarray
) -> dict[str, dict[str, Number]]:
    """Accuracy on some games of a probe, at each of its hook points: overall (``""``) and by stretches of the game."""
    about = probe_results(folder)
    names = tuple(about["hook_points"])
    probes = [load_probe(folder, name) for name in names]
    reading = BoardReader(model, corpus, names, about["positions"])
    data = ProbeData(reading, corpus.game.property(about["property"]), about["min_ply"])
    answers: list[dict[int, np.ndarray]] = [{} for _ in names]
    for start in range(0, len(games_B), GAMES_AT_ONCE):
        acts, classes_NS, game_N, ply_N = data.with_places(games_B[start : start + GAMES_AT_ONCE])
        for by_stretch, acts_ND, probe in zip(answers, acts, probes, strict=True):
            right_N = (probe.logits(acts_ND).argmax(-1) == classes_NS).sum(-1).cpu().numpy()
            for stretch in np.unique(ply_N // STRETCH).tolist():
                here_N = ply_N // STRETCH == stretch
                counts_B2 = by_stretch.setdefault(stretch, np.zeros((len(games_B), 2)))
                np.add.at(counts_B2[:, 0], start + game_N[here_N], right_N[here_N])
                np.add.at(counts_B2[:, 1], start + game_N[here_N], classes_NS.shape[1])
    return {name: _accuracies(by_stretch) for name, by_stretch in zip(names, answers, strict=True)}


def _accuracies(answers: Mapping[int, np.ndarray]) -> dict[str, Number]:
    """Accuracy overall and by stretch of the game. answers: (games, 2) right and all answers, by stretch."""
    accuracies = {"": _accuracy(sum(answers.values(), np.zeros(2)))}
    for stretch, answers_B2 in sorted(answers.items()):
        first, reached_B = stretch * STRETCH, answers_B2[:, 1] > 0
        if reached_B.mean() > 0.5:  # a few long games say little
            accuracies[f"plies {first}-{first + STRETCH - 1}"] = _accuracy(answers_B2)
    return accuracies


def _accuracy(answers_B2: np.ndarray) -> Number:
    right, n_answers = answers_B2.sum(0)
    interval = bootstrap_interval(lambda sums: sums[:, 0] / sums[:, 1], answers_B2)
    return Number(float(right / n_answers), *interval)


def differing(folder: str | Path, device: str = "auto") -> Iterator[tuple[str, Number, float, bool]]:
    """Measure every number of a card again: its name, what the card says, what it is now, and whether that fits.

    It fits where it lies in the card's interval; a number that only one of the two has is NaN in the other, and does
    not fit. Numbers of SAEs that a copy leaves out are passed over. Raises RunError when the folder has no card.
    """
    card = read_card(folder).numbers
    unknown, seen = (nan, nan, nan), set[str]()
    for name, now in numbers(folder, device):
        seen.add(name)
        on_card = Number(*card.get(name, unknown))
        yield name, on_card, now.value, on_card.low <= now.value <= on_card.high
    left_out = tuple(f"{Path(sae).name}/" for sae in read_done(folder).left_out)
    for name in sorted(name for name in card.keys() - seen if not name.startswith(left_out)):
        yield name, Number(*card[name]), nan, False


def shipped_table() -> str:
    """The testbeds that ship, each with its SAEs and the main numbers of its card, as text; a damaged one says so."""
    testbeds = {name: (folder, shipped_saes(folder)) for name, folder in shipped_testbeds().items()}
    width = max((len(f"{name}/{sae}") for name, (_, saes) in testbeds.items() for sae in ("", *saes)), default=0)
    lines = []
    for name, (folder, saes) in testbeds.items():
        try:
            verified(folder)
            lines += _shipped_lines(name, folder, saes, width)
        except RunError as error:
            lines.append(f"DAMAGED {name:{width}} {error}")
    return "\n".join(lines) or "no testbed ships here"


def _shipped_lines(name: str, folder: Path, saes: Iterable[str], width: int) -> Iterator[str]:
    card = read_card(folder).numbers if (folder / NUMBERS_FILE).exists() else {}
    hook_name = read_manifest(folder).hook_name
    probe = next((Path(probe).name for probe in read_sweep(folder).probes), "") if card else ""
    accuracy = card.get(f"probe/{probe}/{hook_name}")
    best = [f"legal {card['legality'][0]:.1%}"] if "legality" in card else []
    best += [f"{probe} probe {accuracy[0]:.1%}"] if accuracy else []
    yield f"testbed {name:{width}} {hook_name}  {'  '.join(best)}  {folder}"
    for sae in saes:
        keys = {score.name: f"{sae}/{score.name}" for score in main_scores()}
        values = [f"{score} {card[key][0]:.3f}" for score, key in keys.items() if key in card]
        yield f"SAE     {name + '/' + sae:{width}} {'  '.join(values)}"
