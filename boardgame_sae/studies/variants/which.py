"""Which game is being played: a linear probe of it, layer by layer, and the SAE latents that tell it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.store import ActivationStore
from boardgame_sae.config import content_hash
from boardgame_sae.metrics.counting.f1 import always_on_f1, f1
from boardgame_sae.metrics.counting.game_sums import CLASSIFIER, GameSums
from boardgame_sae.metrics.coverage import coverage
from boardgame_sae.probes.data import Targets
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.train import TrainSAEConfig, train_saes_run
from boardgame_sae.studies.over_games import Counted
from boardgame_sae.studies.variants.transfer import Data, fitted, right
from boardgame_sae.testbeds.testbed import Testbed


class Played(NamedTuple):
    """Positions of several games, and which of them each is of."""

    data: Data
    """Its one class is the game."""
    ply_N: np.ndarray


def played(testbeds: Sequence[Testbed], split: str) -> Played:
    """All scored positions of some testbeds of one GPT, game after game."""
    acts, classes, games, plies, n_games = list[Tensor](), list[Tensor](), list[np.ndarray](), list[np.ndarray](), 0
    for number, testbed in enumerate(testbeds):
        where = testbed.positions(split)
        acts.append(testbed.activations(split))
        classes.append(torch.full((len(where), 1), number))
        games.append(where.game_N + n_games)
        plies.append(where.ply_N)
        n_games += len(where.games_B)
    return Played(Data(torch.cat(acts), torch.cat(classes), np.concatenate(games)), np.concatenate(plies))


def told(testbeds: Sequence[Testbed]) -> tuple[np.ndarray, Played]:
    """bool (N,) where linear probes that are fitted on train name the right game on test, and those positions.

    Every ply has a probe of its own: what is mine at one is yours at the next, so that one for all would read less. At
    a ply that no train game reaches, none is right.
    """
    train, test = (played(testbeds, split) for split in ("train", "test"))
    targets, right_N = Targets(len(testbeds), none=False), np.zeros(len(test.ply_N), bool)
    for ply in np.intersect1d(train.ply_N, test.ply_N):
        probe, here_N = fitted(train.data.at(train.ply_N == ply), targets), test.ply_N == ply
        right_N[here_N] = right(probe, test.data.at(here_N)) > 0
    return right_N, test


def by_ply(right_N: np.ndarray, ply_N: np.ndarray) -> list[float]:
    """The mean at each ply that occurs, in order."""
    return [float(right_N[ply_N == ply].mean()) for ply in np.unique(ply_N)]


def train_on_all(testbeds: Sequence[Testbed], fields: dict[str, Any], training: TrainSAEConfig, device: str) -> SAE:
    """One SAE on equally many activations of every testbed of one GPT. Raises as `train_saes_run` does."""
    stores = [testbed.harvest(training.n_harvested // len(testbeds), training.harvest_dtype) for testbed in testbeds]
    hashes = content_hash([store.hash for store in stores])
    n_rows = min(map(len, stores))
    acts_ND = np.concatenate([store.acts_ND[:n_rows] for store in stores])
    source = ActivationStore(stores[0].path, {"together": hashes}, acts_ND)
    cfg = sae_config(**{"d_model": testbeds[0].width, **fields})
    about = {"hook_name": testbeds[0].hook_name, "model": testbeds[0].model.hash}
    (folder,) = train_saes_run(source, [cfg], training, metadata=about, device=device)
    return load_sae(folder)


class Telling(NamedTuple):
    """The latent that tells a game best."""

    latent: int
    threshold: float
    """Share of its largest activation beyond which it counts as on."""
    f1: Counted
    """On test."""
    precision: float
    """Share of the test positions at which it is on that are of the game."""
    always: float
    """F1 of one that is always on."""


@torch.no_grad()
def telling_latents(sae: SAE, testbeds: Sequence[Testbed]) -> list[Telling]:
    """For each game the latent and threshold that are best on train, and how good they are on test."""
    train, test = (played(testbeds, split).data for split in ("train", "test"))
    z_train_NF, z_test_NF = (sae.encode(data.acts_ND) for data in (train, test))
    n_games = len(testbeds)
    best = coverage(z_train_NF, _labels(train, n_games))
    labels_NV = _labels(test, n_games)
    largest_V = best.max_activation_F[best.latent_P].double()
    on_NV = (z_test_NF[:, best.latent_P].double() > best.threshold_P * largest_V).numpy()
    found = []
    for game in range(n_games):
        on_N, is_N = on_NV[:, game], labels_NV[:, game]
        sums = GameSums.of_classifiers(on_N[:, None], is_N[:, None], test.game_N)
        value = Counted(sums, _f1_of_sums, np.unique(test.game_N))
        precision = float((on_N & is_N).sum() / max(1, on_N.sum()))
        always = float(always_on_f1(is_N.mean()))
        chosen = int(best.latent_P[game]), float(best.threshold_P[game])
        found.append(Telling(*chosen, value, precision, always))
    return found


def _f1_of_sums(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    return f1(*(sums[name][:, 0] for name in CLASSIFIER))


def _labels(data: Data, n_games: int) -> np.ndarray:
    return (data.classes_NS == torch.arange(n_games)).numpy()
