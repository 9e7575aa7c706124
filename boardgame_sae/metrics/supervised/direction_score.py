"""The score `direction_recovery`."""

from collections.abc import Mapping

import numpy as np
import torch

from boardgame_sae.metrics.directions import direction_recovery
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import Chance, Display, NoConfig, UnscorableError, score
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.by_property import rounded, together
from boardgame_sae.testbeds.testbed import Testbed


@score(
    "direction_recovery",
    title="Direction recovery",
    meaning="Mean cosine of decoder rows with the directions that linear probes read, matched one to one",
    source="mean matched cosine, after Cunningham et al. 2023 (arXiv 2309.08600)",
    suites=("supervised",),
    order=2,
    low=-1.0,
    needs=("W_dec", "probes"),
    display=Display(
        parts={
            "random": "random directions (chance)",
            "means": "by mean differences",
            "means_random": "random directions, by mean differences (chance)",
            "encoder": "by encoder columns",
        },
        chance=Chance("random", shared=False),
        figure="direction_recovery",
        panels={"": "Directions that probes read", "_means": "Differences of means"},
        unit="mean matched cosine",
    ),
)
def direction_score(subject: Subject, cfg: NoConfig) -> ScoreValue:  # noqa: ARG001 (it has no fields)
    """Direction recovery of each property's classes that have enough examples.

    A probe's weights are the direction that reads a class, a decoder row is the direction that writes it: where the
    activations' noise is not the same in all directions these differ, even for a perfect SAE. So beside the value
    there are `means`, the same for differences of the mean activations with and without each class, and `encoder`, the
    same for encoder columns and probes.
    Raises UnscorableError when no latent is ever on, ValueError when the testbed has no probe of a scored property.
    """
    testbed, source, by_property = subject.testbed, subject.source, {}
    alive_F = np.any([np.diff(part.indptr_F1) > 0 for part in subject.latents("train")], axis=0)
    if not alive_F.any():
        raise UnscorableError("none of its latents is ever on, so no decoder row can be matched")
    means_PD = testbed.once(mean_differences)
    for columns in testbed.columns:
        chosen_C = np.flatnonzero(testbed.supported_P[columns.start : columns.stop])
        if not len(chosen_C) or columns.name not in testbed.probes:
            continue
        W_dec, probe_CD = source.W_dec, testbed.probes[columns.name].directions()[chosen_C]
        assert W_dec is not None
        of_probes = direction_recovery(W_dec, probe_CD, alive_F=alive_F, n_random=3)
        of_means = direction_recovery(W_dec, means_PD[columns.start + chosen_C], alive_F=alive_F, n_random=1)
        parts = {"random": of_probes.random, "means": of_means.value, "means_random": of_means.random}
        if source.W_enc is not None:
            parts["encoder"] = direction_recovery(source.W_enc.T, probe_CD, alive_F=alive_F, n_random=1).value
        details = {
            "columns": [columns.class_names[c] for c in chosen_C],
            "cosine": rounded(of_probes.cosine_P),
            "latent": of_probes.latent_P.tolist(),
            "nearest": rounded(of_probes.nearest_P),
        }
        by_property[columns.name] = ScoreValue(of_probes.value, None, parts, details)
    if not by_property:
        raise ValueError("the testbed has no probe of a property that is scored; fit some with `boardgame-sae probe`")
    return _headline(subject, by_property)


def _headline(subject: Subject, by_property: Mapping[str, ScoreValue]) -> ScoreValue:
    parts, details = together(subject, by_property)
    headline, *others = by_property
    parts |= {name: by_property[name].value for name in others}
    return ScoreValue(by_property[headline].value, None, parts, details)


@torch.no_grad()
def mean_differences(testbed: Testbed) -> np.ndarray:
    """(P, D): mean activation where a class is true minus the mean where it is not, on train."""
    n_P = np.zeros(testbed.columns[-1].stop)
    true_PD, all_D, n = np.zeros((len(n_P), testbed.width)), np.zeros(testbed.width), 0
    for start, stop, *_ in testbed.spans("train"):
        acts_ND, labels_NP = testbed.read("train", start, stop).numpy(), testbed.labels("train", start, stop)
        true_PD += labels_NP.T.astype(np.float32) @ acts_ND
        all_D += acts_ND.sum(axis=0, dtype=np.float64)
        n_P += labels_NP.sum(axis=0)
        n += len(acts_ND)
    others_PD = (all_D - true_PD) / np.maximum(n - n_P, 1)[:, None]
    return true_PD / np.maximum(n_P, 1)[:, None] - others_PD
