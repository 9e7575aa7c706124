"""How a GPT learned, and how often its moves are legal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.games.game import PHASES
from boardgame_sae.model.legality import KINDS
from boardgame_sae.pipeline.study_folder import Study
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import BLUE, GREY, INK, SKY, Curve, legend_below, points, read_curve
from boardgame_sae.transcripts.corpus import Corpus

KIND_COLOURS = {"legal": "#009E73", "ambiguous": "#F0E442", "illegal": "#D55E00", "unparsable": "#8a8a8a"}
"""Of what the game says of a written move."""
Results = Mapping[str, Any]
"""A legality.json, or what it says of one split or one model."""


def learning_curve(curve: Curve, legality: Results) -> Figure:
    """Legal rate, and loss against the floor of perfect play of the rules, by training step.

    curve: metrics of a GPT run. legality: its legality.json, whose random_weights is the floor of legality.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    legal, loss = figure.subplots(1, 2)
    for name, text, line, colour in (
        ("legal_rate", "most probable move is legal", "o-", BLUE),
        ("legal_mass", "probability on legal moves", "^--", SKY),
    ):
        legal.plot(*points(curve, name), line, color=colour, markersize=4, label=text)
    floor = legality["random_weights"]["legal_rate"]
    legal.axhline(floor, color=GREY, linestyle=":", label="random weights: most probable move is legal")
    legal.set(ylim=(0, 1.02), xlabel="training step", ylabel="share of validation positions", title="Legality")
    legal.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    loss.plot(*points(curve, "train_loss"), color=SKY, label="train")
    loss.plot(*points(curve, "validation_loss"), "o-", color=BLUE, markersize=4, label="validation")
    if any("loss_floor" in line for line in curve):
        loss.plot(*points(curve, "loss_floor"), "--", color=INK, label="floor: knowing the rules, nothing else")
    loss.set(xlabel="training step", ylabel="cross-entropy per token (nats)", title="Loss")
    loss.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    return figure


def legality_figure(legality: Results, first_ply: int = 2) -> Figure:
    """Legal rate by ply and by phase of the game, and what kinds of moves are made, where the model's file has them.

    legality: a GPT's legality.json. first_ply: the first that is predicted.
    """
    test, random = legality["test"], legality["random_weights"]
    models = (("trained", test), ("random", random))
    kinds = [(name, move_kinds(results)) for name, results in models if results.get("kinds")]
    figure = Figure(figsize=(12, 4) if kinds else (8.5, 4), layout="constrained")
    n_panels = 3 if kinds else 2
    by_ply, by_phase, *rest = figure.subplots(1, n_panels, width_ratios=[3, 1.6, 2.4][:n_panels])
    _by_ply(by_ply, test, random, first_ply)
    _by_phase(by_phase, phase_rates(test), phase_rates(random))
    for axes in rest:
        _kind_bars(axes, kinds)
    legend_below(figure, [by_ply, *rest], columns=6 if kinds else 4)
    return figure


def move_kinds(results: Results) -> dict[str, dict[str, float]]:
    """Shares of the kinds of moves, legal ones first, for greedy and for sampled moves; nothing where not measured."""
    shares = results.get("kinds", {})
    return {how: {kind: shares[how][kind] for kind in KINDS if kind in shares[how]} for how in sorted(shares)}


def phase_rates(results: Results) -> dict[str, float]:
    """The legal rate by phase of the game, in order; nothing where not measured."""
    rates = results.get("legal_rate_phase", {})
    return {phase: rates[phase] for phase in PHASES if phase in rates}


def _by_ply(axes: Axes, test: Results, random: Results, first_ply: int) -> None:
    for results, text, line, colour in ((test, "trained GPT", "-", BLUE), (random, "random weights", ":", GREY)):
        rates = enumerate(results["legal_rate_ply"], first_ply)
        measured = [(ply, rate) for ply, rate in rates if rate is not None]
        axes.plot([ply for ply, _ in measured], [rate for _, rate in measured], line, color=colour, label=text)
    axes.axhline(test["legal_rate"], color=SKY, linestyle="--", linewidth=1, label="over all plies")
    if test.get("interval"):
        axes.axhspan(*test["interval"], color=SKY, alpha=0.3, linewidth=0, label="95% interval")
    axes.set(ylim=(0, 1.02), xlabel="predicted ply", ylabel="share of test positions", title="Legal moves by ply")


def _by_phase(axes: Axes, trained: Mapping[str, float], random: Mapping[str, float]) -> None:
    for place, (phase, rate) in enumerate(trained.items()):
        axes.bar(place - 0.2, rate, 0.4, color=BLUE)
        axes.bar(place + 0.2, random.get(phase, 0.0), 0.4, color=GREY)
        axes.annotate(f"{rate:.1%}", (place - 0.2, rate), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(trained)), list(trained))
    axes.set(ylim=(0, 1.09), title="Legal moves by phase")
    axes.grid(visible=False, axis="x")


def _kind_bars(axes: Axes, models: Sequence[tuple[str, Results]]) -> None:
    """A bar of shares for the greedy and for the sampled moves of each model."""
    bars = [(f"{name},\n{how}", shares) for name, kinds in models for how, shares in kinds.items()]
    for place, (_, shares) in enumerate(bars):
        left = 0.0
        for kind, share in shares.items():
            axes.barh(place, share, left=left, height=0.65, color=KIND_COLOURS.get(kind, INK), label=kind)
            if share > 0.12:
                axes.annotate(f"{share:.0%}", (left + share / 2, place), ha="center", va="center", fontsize=8)
            left += share
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), title="Kinds of moves", xlabel="share of moves")
    axes.grid(visible=False)


def first_predicted_ply(corpus_folder: Path) -> int:
    """The first ply that the GPT predicts: the very first only where the game's text begins with a start character."""
    corpus = Corpus.open(corpus_folder)
    return corpus.tokenizer.first_predicted_ply(corpus.game)


def _study_learning_curve(study: Study) -> Figure | None:
    if study.legality is None or study.model is None:
        return None
    return learning_curve(read_curve(study.model), study.legality)


def _study_legality(study: Study) -> Figure | None:
    if study.legality is None or study.corpus is None:
        return None
    return legality_figure(study.legality, first_predicted_ply(study.corpus))


register(
    ReportFigure(
        name="learning_curve",
        caption="Left: how often the GPT's most probable next move is legal, and how much probability it puts on legal "
        "moves. Right: its loss and, where all players move at random, the floor that perfect knowledge of the rules "
        "would reach.",
        section="gpt",
        order=10,
        folded=False,
        on_card=True,
        of_study=_study_learning_curve,
    )
)
register(
    ReportFigure(
        name="legality",
        caption="How often the GPT's moves are legal in test games, by ply and by phase of the game; and what kinds of "
        "moves it makes, both the most probable ones (greedy) and ones drawn from its probabilities (sampled).",
        section="gpt",
        order=20,
        folded=False,
        on_card=True,
        of_study=_study_legality,
    )
)
