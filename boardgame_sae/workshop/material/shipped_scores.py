"""The scores of the SAEs that ship with a testbed, as plain columns: what lesson 6 compares."""

from typing import NamedTuple

import numpy as np
import torch

from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.results import Scores
from boardgame_sae.saes.sae import SAE
from boardgame_sae.testbeds.shipped import find_testbed
from boardgame_sae.testbeds.testbed import Testbed

PROBE = "baselines/probe"


class Row(NamedTuple):
    """One SAE, on test games."""

    name: str
    architecture: str
    n_activations: int
    """It was trained on."""
    l0: float
    coverage: float
    reconstruction: float


class Levels(NamedTuple):
    """What coverage is compared with."""

    chance: float
    """A latent that is always on."""
    ceiling: float
    """Linear probes, which have seen the truth."""


def rows(testbed: str) -> list[Row]:
    """Every SAE whose scores ship with a testbed, by name, whether or not its weights do."""
    found = []
    for folder in sorted(path.parent for path in (find_testbed(testbed) / "scores").glob("*/scores.json")):
        scores = Scores.load(folder)
        if scores.subject["kind"] == SAE_KIND:
            sae = scores.subject["sae"]
            values = (scores["coverage"].value, scores["board_reconstruction"].value)
            found.append(Row(folder.name, sae["architecture"], sae["n_activations"], scores.subject["l0"], *values))
    return found


def levels(testbed: str) -> Levels:
    """Chance and ceiling of coverage on a testbed."""
    folder = find_testbed(testbed) / "scores"
    probe = Scores.load(folder / PROBE)["coverage"]
    return Levels(probe.parts["always_on"], probe.value)


@torch.no_grad()
def errors_by_game(sae: SAE, testbed: Testbed) -> np.ndarray:
    """(games,): the mean squared error of an SAE's reconstruction in each test game."""
    x_ND, where = testbed.activations("test"), testbed.positions("test")
    error_N = (x_ND - sae.decode(sae.encode(x_ND))).pow(2).sum(-1).numpy()
    return np.bincount(where.game_N, error_N) / np.bincount(where.game_N)
