"""How the SAEs of a testbed were trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from boardgame_sae.config import Count, Name, record
from boardgame_sae.files import as_record, read_json
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import LINES, Curve, legend_below, plain_log, points, read_curve
from boardgame_sae.report.titles import recipe, setting
from boardgame_sae.saes.registry import look
from boardgame_sae.saes.sae import CONFIG_FILE

FEW_STEPS = 25
"""Curves of fewer points have markers."""


@record
class _SAERecord:
    """What is read of an SAE's cfg.json."""

    metadata: dict[str, Any]


@record
class _RecipeRecord:
    """What is read of the config that an SAE was trained with."""

    architecture: Name
    n_latents: Count


def training_curves(curves: Sequence[tuple[str, str, Curve]]) -> Figure:
    """Explained variance and L0 of SAEs by training step.

    curves: (architecture, label, metrics) of each SAE; those of one label, seeds, have one line style.
    """
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    variance, l0 = figure.subplots(1, 2)
    labels: dict[str, list[str]] = {}
    for architecture, label, curve in curves:
        colour, marker = look(architecture)
        seen = labels.setdefault(architecture, [])
        if label not in seen:
            seen.append(label)
        line = LINES[seen.index(label) % len(LINES)]
        for axes, name in ((variance, "explained_variance"), (l0, "l0")):
            steps, values = points(curve, name)
            marked = marker if len(steps) < FEW_STEPS else ""
            axes.plot(steps, values, color=colour, linestyle=line, marker=marked, markersize=4, label=label)
    variance.set(xlabel="training step", ylabel="explained variance of a batch", title="Reconstruction")
    l0.set(xlabel="training step", ylabel="L0 of a batch", title="Sparsity", yscale="log")
    plain_log(l0.yaxis, [value for _, _, curve in curves for value in points(curve, "l0")[1]], l0.set_ylim)
    legend_below(figure, (variance, l0))
    return figure


def _of_testbed(study: Study, testbed: StudyTestbed) -> Figure | None:  # noqa: ARG001 (every figure is given both)
    curves = [(*_named(folder), curve) for folder in testbed.saes if (curve := read_curve(folder))]
    return training_curves(curves) if curves else None


def _named(sae_folder: Path) -> tuple[str, str]:
    """The architecture and the recipe of an SAE, as it was trained."""
    path, fix = sae_folder / CONFIG_FILE, "train the SAE again"
    written = read_json(path)
    metadata = as_record(_SAERecord, written, str(path), fix).metadata
    trained_as = metadata.get("trained_as", written)
    about = as_record(_RecipeRecord, trained_as, f"{path}: metadata.trained_as", fix)
    return about.architecture, recipe({"setting": setting(trained_as), **trained_as})


register(
    ReportFigure(
        name="sae_training",
        caption="Explained variance and L0 of the SAEs during training.",
        order=120,
        of_testbed=_of_testbed,
    )
)
