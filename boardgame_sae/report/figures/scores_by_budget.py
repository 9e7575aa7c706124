"""What more training gives: the main scores of each SAE recipe by the activations it was trained on."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boardgame_sae.metrics.score import main_scores
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.figures.registry import ReportFigure, register
from boardgame_sae.report.figures.style import LINES, legend_below
from boardgame_sae.report.rows import rows_at
from boardgame_sae.report.titles import Row, baseline_of, has_column, is_sae, recipe
from boardgame_sae.saes.registry import look


def scores_by_budget(rows: Sequence[Row]) -> Figure | None:
    """The main scores by training activations, of every recipe that was trained on several budgets.

    rows: those of one testbed. Baselines that have no L0 are lines across the panels, and so is the best SAE of a
    random-weights GPT. None where no recipe has two budgets.
    """
    lines = _lines(rows)
    if not lines:
        return None
    scores = [score for score in main_scores() if has_column(rows, score.name)]
    figure = Figure(figsize=(5.25 * len(scores), 4.9), layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False)[0].tolist()
    for axes, score in zip(panels, scores, strict=True):
        _recipes(axes, lines, score.name)
        _levels(axes, rows, score.name)
        axes.set(ylabel=score.display.unit, title=score.title, xlabel="training activations", ylim=(0, 1.02))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda n, _: f"{n / 1e6:g}M")
    legend_below(figure, panels, columns=3)
    return figure


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """SAEs by recipe, those of one by budget; only recipes with several budgets."""
    recipes: dict[str, list[Row]] = {}
    trained = [row for row in rows if is_sae(row) and row.get("n_activations") and row["pooled_as"] is None]
    for row in sorted(trained, key=lambda row: row["n_activations"]):
        recipes.setdefault(recipe({**row, "n_activations": None}), []).append(row)
    return {text: line for text, line in sorted(recipes.items()) if len({row["n_activations"] for row in line}) > 1}


def _recipes(axes: Axes, lines: dict[str, list[Row]], column: str) -> None:
    drawn: dict[str, int] = {}
    for text, line in lines.items():
        architecture = line[0]["architecture"]
        drawn[architecture] = drawn.get(architecture, -1) + 1
        colour, marker = look(architecture)
        measured = [row for row in line if row.get(column) is not None]
        axes.plot(
            [row["n_activations"] for row in measured],
            [row[column] for row in measured],
            color=colour,
            marker=marker,
            linestyle=LINES[drawn[architecture] % len(LINES)],
            label=text,
        )


def _levels(axes: Axes, rows: Sequence[Row], column: str) -> None:
    """What SAEs are compared with, as lines across the panel; of twins of one kind, the best."""
    twins: dict[str, float] = {}
    for row in rows:
        baseline, value = baseline_of(row), row.get(column)
        if baseline is None or value is None:
            continue
        if row["architecture"] is not None:
            twins[row["kind"]] = max(value, twins.get(row["kind"], value))
        elif row["l0"] is None:
            axes.axhline(
                value, color=baseline.look.colour, linestyle=baseline.look.line, linewidth=1.2, label=row["name"]
            )
    for row in rows:
        if (value := twins.pop(row["kind"], None)) is not None and (baseline := baseline_of(row)) is not None:
            axes.axhline(
                value, color=baseline.look.colour, linestyle=":", linewidth=1.2, label=f"best {baseline.label}"
            )


def _of_testbed(study: Study, testbed: StudyTestbed) -> Figure | None:
    return scores_by_budget(rows_at(study, testbed))


register(
    ReportFigure(
        name="scores_by_budget",
        caption="The main scores by the activations that an SAE was trained on, each training with the learning rate "
        "that is good at its length, beside what SAEs are compared with.",
        order=70,
        on_card=True,
        of_testbed=_of_testbed,
    )
)
