"""Figures of a GPT: how it learned, how often its moves are legal, and what linear probes read of the board in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.games.game import PHASES
from boardgame_sae.model.legality import KINDS
from boardgame_sae.report.figures.style import COLOURS, GREY, INK, Curve, depth, hook_title, legend_below, points

KIND_COLOURS = {"legal": "#009E73", "ambiguous": "#F0E442", "illegal": "#D55E00", "unparsable": "#8a8a8a"}
"""Of what the game says of a written move."""
Results = Mapping[str, Any]
"""A probes.json."""


def learning_curve(curve: Curve, legality: Mapping[str, Any]) -> Figure:
    """Legal rate, and loss against the floor of perfect play of the rules, by training step.

    curve: metrics of a GPT run. legality: its legality.json, whose random_weights is the floor of legality.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    legal, loss = figure.subplots(1, 2)
    for name, text, line, colour in (
        ("legal_rate", "most probable move is legal", "o-", COLOURS[0]),
        ("legal_mass", "probability on legal moves", "^--", COLOURS[5]),
    ):
        legal.plot(*points(curve, name), line, color=colour, markersize=4, label=text)
    floor = legality["random_weights"]["legal_rate"]
    legal.axhline(floor, color=GREY, linestyle=":", label="random weights: most probable move is legal")
    legal.set(ylim=(0, 1.02), xlabel="training step", ylabel="share of validation positions", title="Legality")
    legal.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    loss.plot(*points(curve, "train_loss"), color=COLOURS[5], label="train")
    loss.plot(*points(curve, "validation_loss"), "o-", color=COLOURS[0], markersize=4, label="validation")
    if any("loss_floor" in line for line in curve):
        loss.plot(*points(curve, "loss_floor"), "--", color=INK, label="floor: the rules known, nothing else")
    loss.set(xlabel="training step", ylabel="cross-entropy a token (nats)", title="Loss")
    loss.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    return figure


def legality_figure(legality: Results, first_ply: int = 2) -> Figure:
    """Legal rate by ply and by phase of the game, and what kinds of moves are made, where the model's file has them.

    legality: a GPT's legality.json. first_ply: the first that is predicted.
    """
    test, random = legality["test"], legality["random_weights"]
    kinds = [(name, move_kinds(found)) for name, found in (("trained", test), ("random", random)) if found.get("kinds")]
    figure = Figure(figsize=(12, 4) if kinds else (8.5, 4), layout="constrained")
    by_ply, by_phase, *rest = figure.subplots(1, 3 if kinds else 2, width_ratios=[3, 1.6, 2.4][: 3 if kinds else 2])
    for found, text, line, colour in ((test, "trained GPT", "-", COLOURS[0]), (random, "random weights", ":", GREY)):
        rates = found["legal_rate_ply"]
        known = [(ply, rate) for ply, rate in enumerate(rates, first_ply) if rate is not None]
        by_ply.plot([ply for ply, _ in known], [rate for _, rate in known], line, color=colour, label=text)
    by_ply.axhline(test["legal_rate"], color=COLOURS[5], linestyle="--", linewidth=1, label="over all plies")
    if test.get("interval"):
        by_ply.axhspan(*test["interval"], color=COLOURS[5], alpha=0.3, linewidth=0, label="95% interval")
    by_ply.set(ylim=(0, 1.02), xlabel="ply that is predicted", ylabel="share of test positions", title="Legal, by ply")
    phases = phase_rates(test)
    for place, (phase, rate) in enumerate(phases.items()):
        by_phase.bar(place - 0.2, rate, 0.4, color=COLOURS[0])
        by_phase.bar(place + 0.2, phase_rates(random).get(phase, 0.0), 0.4, color=GREY)
        by_phase.annotate(f"{rate:.1%}", (place - 0.2, rate), ha="center", va="bottom", fontsize=8)
    by_phase.set_xticks(range(len(phases)), list(phases))
    by_phase.set(ylim=(0, 1.09), title="Legal, by phase")
    by_phase.grid(visible=False, axis="x")
    for axes in rest:
        _kind_bars(axes, kinds)
    legend_below(figure, [by_ply, *rest], columns=6 if kinds else 4)
    return figure


def move_kinds(found: Results) -> dict[str, dict[str, float]]:
    """Shares of the kinds of moves, legal ones first, for greedy and for sampled moves; nothing where not measured."""
    known = found.get("kinds", {})
    return {how: {kind: known[how][kind] for kind in KINDS if kind in known[how]} for how in sorted(known)}


def phase_rates(found: Results) -> dict[str, float]:
    """The legal rate by phase of the game, in order; nothing where not measured."""
    known = found.get("legal_rate_phase", {})
    return {phase: known[phase] for phase in PHASES if phase in known}


def _kind_bars(axes: Axes, models: Sequence[tuple[str, Results]]) -> None:
    """A bar of shares for the greedy and for the sampled moves of each model."""
    bars = [(f"{name},\n{how}", shares) for name, found in models for how, shares in found.items()]
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


def probe_accuracy(probes: Sequence[tuple[Results, Results]], marked: Sequence[str] = ()) -> Figure:
    """Accuracy of linear probes by hook point, on the trained and the random-weights GPT, beside always the majority.

    probes: probes.json of both, for each of the study's probes. One whose classes are ordered has a second panel: its
    lowest class told from its highest. marked: hook points where SAEs are trained.
    """
    panels = [(trained, random, _whole(trained)) for trained, random in probes]
    panels += [(trained, random, "extremes") for trained, random in probes if _extremes(trained)]
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(max(7.0, 4.6 * n_columns), 3.5 * n_rows + 0.2), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten().tolist()
    for axes, (trained, random, what) in zip(grid, panels, strict=False):
        _probe_panel(axes, trained, random, what, marked)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    legend_below(figure, grid[: len(panels)])
    return figure


def _probe_panel(axes: Axes, trained: Results, random: Results, what: str, marked: Sequence[str]) -> None:
    names = sorted(trained["hook_points"], key=depth)
    lines = (
        (trained, "accuracy", "trained GPT", "o-", COLOURS[0]),
        (random, "accuracy", "random-weights GPT", "s--", GREY),
        (trained, "majority_accuracy", "always the majority class", ":", INK),
    )
    shown: list[float] = []
    for results, key, text, line, colour in lines:
        found = [(place, _measured(results, name, what)) for place, name in enumerate(names)]
        known = [(place, each[key]) for place, each in found if each]
        shown += [value for _, value in known]
        axes.plot([place for place, _ in known], [value for _, value in known], line, color=colour, label=text)
    for place, name in enumerate(names):
        if name in marked:
            axes.axvline(place, color=COLOURS[4], alpha=0.35, linewidth=8, zorder=0)
            axes.annotate("SAEs here", (place, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    axes.set_xticks(range(len(names)), [hook_title(name) for name in names], rotation=30, ha="right", fontsize=8)
    axes.set_ylim(min(shown) - 0.08, 1.01)
    ends = _extremes(trained)
    title = f"{probe_title(trained)}: {ends['low']} or {ends['high']}" if what == "extremes" else probe_title(trained)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="hook point", ylabel="accuracy" if what == "extremes" else f"accuracy a {what}")


def probe_title(results: Results) -> str:
    """What a probe reads and where: `piece, at the dot, from ply 20`."""
    words = [results["property"].replace("_", " ")]
    words += [f"at each {results['positions']}"] if results.get("positions") else []
    words += [f"from ply {results['min_ply']}"] if results.get("min_ply") else []
    return ", ".join(words)


def _whole(results: Results) -> str:
    """What one answer of a probe is about."""
    first = next(iter(results["hook_points"].values()))
    return "square" if len(first.get("accuracy_S", ())) != 1 else "position"


def _extremes(results: Results) -> Mapping[str, Any]:
    """The lowest and the highest class that a probe was asked to tell apart; nothing where it was not."""
    return next((each["extremes"] for each in results["hook_points"].values() if each.get("extremes")), {})


def _measured(results: Results, hook_name: str, what: str) -> Mapping[str, Any]:
    """The numbers of a panel at a hook point; nothing where it was not probed."""
    found = results["hook_points"].get(hook_name, {})
    return (found.get("extremes") or {}) if what == "extremes" else found
