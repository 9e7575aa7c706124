"""The study: does adding SAE probes to the quiver raise test areas, regime by regime?

The paper (Kantamneni et al. 2025, arXiv 2502.16681) probes language models for 113 concepts under data scarcity, class
imbalance, label noise and covariate shift. SAE probes win here and there, but a choice among baselines and SAE probes
that is made on validation is no better than one among the baselines alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from boardgame_sae.config import ConfigError, Count, Share, config, seed_for
from boardgame_sae.files import RunError
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.metrics.saebench.data.concepts import concepts
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.players.registry import make_player
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import SAE
from boardgame_sae.studies.probing_regimes.figure import figure
from boardgame_sae.studies.probing_regimes.places import Case, Examples, Shift, draw, places
from boardgame_sae.studies.probing_regimes.quiver import Quiver, quiver
from boardgame_sae.studies.probing_regimes.tables import COLUMNS, means, totals
from boardgame_sae.studies.study import Plan, Row, Seeds, Setting, StudyConfig, study
from boardgame_sae.testbeds.testbed import Testbed


@config
class ProbingRegimesStudy(StudyConfig):
    """Which SAEs are added to the baselines, and in which regimes."""

    saes: tuple[str, ...] = (
        "othello6-tiny/topk-32-1024-100M",
        "othello6-tiny/batch_topk-32-100M",
        "othello6-tiny/p_anneal-0.04-20M",
    )
    """Folders of SAEs, or names of shipped ones."""
    n_properties: Count = 18
    """Classes of the board that are read: of each property in turn the one nearest to being true half of the time."""
    scarce: tuple[Count, ...] = (8, 16, 32, 64, 128, 256, 1024)
    """Data scarcity: labelled examples to train on, and as many to choose on."""
    shares: tuple[Share, ...] = (0.02, 0.05, 0.1)
    """Class imbalance: shares of true examples."""
    flips: tuple[Share, ...] = (0.1, 0.2, 0.3, 0.4)
    """Label noise: shares of wrong labels."""
    shifts: tuple[Shift, ...] = ("openings", "plies", "player")
    """Covariate shift: what is other at test."""
    player: str = "epsilon_greedy:epsilon=0.1"
    """The other player."""
    n_train: Count = 256
    """Labelled examples in all regimes but scarcity."""
    n_test: Count = 1000
    """Test examples, half of them true."""
    seeds: Seeds = (0,)
    """Which positions and wrong labels are drawn, what the other player plays, and the untrained SAEs."""

    def __post_init__(self) -> None:
        if not self.saes or not self.cases():
            raise ValueError("saes and at least one of scarce, shares, flips and shifts need an entry")
        if len(set(self.saes)) < len(self.saes):
            raise ValueError("saes names one of them twice")
        if min(*self.scarce, self.n_train, self.n_test) < 4:
            raise ValueError("scarce, n_train and n_test must be at least 4: two true examples and two false ones")
        if any(share in (0, 1) for share in self.shares):
            raise ValueError("shares must lie between 0 and 1: areas need true and false examples")
        try:
            make_player(self.player)
        except ConfigError as error:
            raise ValueError(f"player: {error}") from None

    def cases(self) -> list[Case]:
        """Every setting of every regime."""
        n = self.n_train
        return [
            *(Case("data scarcity", f"{few} labels", few) for few in self.scarce),
            *(Case("class imbalance", f"{100 * share:g}% true", n, share=share) for share in self.shares),
            *(Case("label noise", f"{100 * flipped:g}% wrong", n, flipped=flipped) for flipped in self.flips),
            *(Case("covariate shift", f"other {shift}", n, shift=shift) for shift in self.shifts),
        ]


@study("probing_regimes", ProbingRegimesStudy, saes=lambda cfg: cfg.saes)
def probing_regimes(cfg: ProbingRegimesStudy, setting: Setting) -> Plan:
    """Do SAE probes help where labels are few, unbalanced, wrong or of other positions?"""
    rows: list[Callable[[], Row]] = [partial(_row, cfg, setting.testbed, case) for case in cfg.cases()]
    return Plan(rows, COLUMNS, figure, totals)


def _row(cfg: ProbingRegimesStudy, testbed: Testbed, case: Case) -> Row:
    by_seed = [_read(cfg, testbed, case, seed) for seed in cfg.seeds]
    return {"regime": case.regime, "setting": case.setting, **means(by_seed)}


def _read(cfg: ProbingRegimesStudy, testbed: Testbed, case: Case, seed: int) -> dict[str, Quiver]:
    where = places(testbed, case.shift, cfg.player, seed)
    saes, untrained = testbed.once(loaded, cfg.saes), testbed.once(untrained_like, cfg.saes, seed)
    read: dict[str, Quiver] = {}
    for concept in concepts(testbed, cfg.n_properties):
        examples = draw(case, concept, where, cfg.n_test, seed)
        if examples is not None:
            truths = {split: part.label_N for split, part in examples.items()}
            acts = {split: _activations(part) for split, part in examples.items()}
            of_saes, of_untrained = (
                [{split: _latents(part, sae) for split, part in examples.items()} for sae in group]
                for group in (saes, untrained)
            )
            read[concept.name] = quiver(acts, dict(zip(cfg.saes, of_saes, strict=True)), of_untrained, truths)
    if not read:
        raise RunError(
            f"{case.regime}, {case.setting}: no class of the board is true and false often enough for {case.n} labels "
            f"and {cfg.n_test} test examples; give fewer, or a testbed with more games"
        )
    return read


def loaded(testbed: Testbed, names: tuple[str, ...]) -> list[SAE]:
    """The SAEs of some names. Raises ValueError naming one that reads other activations than the testbed's."""
    return [as_latent_source(load_sae(name), testbed, name).given for name in names]


def untrained_like(testbed: Testbed, names: tuple[str, ...], seed: int) -> list[SAE]:
    """For each SAE one of random directions about the mean activation, as wide, with as many latents on."""
    untrained = []
    for name, sae in zip(names, testbed.once(loaded, names), strict=True):
        per_position = testbed.once(latents_of, "train", sae).nnz / len(testbed.positions("train"))
        k = min(max(1, round(per_position)), sae.cfg.n_latents)
        own = {"d_model": testbed.width, "n_latents": sae.cfg.n_latents, "k": k}
        other = make_sae("random", **own, seed=seed_for(seed, "untrained", name) % 2**31)
        with torch.no_grad():
            other.b_dec.copy_(testbed.activations("train").mean(0))
        untrained.append(other)
    return untrained


def latents_of(testbed: Testbed, split: str, sae: SAE) -> csr_array:
    """(N, n_latents): an SAE's latents at every scored position of a split."""
    subject = Subject(type(sae).__name__, SAE_KIND, sae, testbed)
    return latent_rows(subject, split, np.arange(len(testbed.positions(split))))


def _latents(examples: Examples, sae: SAE) -> csr_array:
    place = examples.place
    return place.testbed.once(latents_of, place.split, sae)[examples.row_N]


def _activations(examples: Examples) -> Any:
    place = examples.place
    return place.testbed.activations(place.split)[examples.row_N].numpy()
