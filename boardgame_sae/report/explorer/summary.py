"""What the report's page says of a study in words and small tables: its GPT, its probes, the best SAEs."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boardgame_sae.config import Count, record
from boardgame_sae.files import read_record
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.score import main_scores
from boardgame_sae.model.game_model import CARD_FILE
from boardgame_sae.pipeline.study_folder import Study, StudyTestbed
from boardgame_sae.report.best import best_by_kind, best_row, ranking_score
from boardgame_sae.report.figures.gpt import move_kinds, phase_rates
from boardgame_sae.report.figures.probe_accuracy import EXTREMES, extremes
from boardgame_sae.report.figures.style import hook_title
from boardgame_sae.report.markdown import chance_lines, shown, with_interval
from boardgame_sae.report.titles import (
    Row,
    baseline_of,
    column_titles,
    is_sae,
    of_one_sparsity,
    probe_title,
    recipe,
    short_columns,
)
from boardgame_sae.transcripts.corpus import Corpus

Line = tuple[str, Row]
"""The role that a subject has in the summary, and its row."""


@record
class _ShapeRecord:
    """What is read of a GPT's shape."""

    n_layers: Count
    d_model: Count


@record
class _ModelRecord:
    """What is read of a GPT's cfg.json."""

    gpt: _ShapeRecord


def summary(study: Study, rows: Sequence[Row]) -> str:
    """What a study found, as HTML: its GPT, then each hook point; several are folded away under their best scores."""
    sentences = " ".join([_model_sentence(study), *([_probe_sentence(study)] if study.probes else [])])
    parts = [f"<p>{html.escape(sentences)}</p>"]
    for testbed in study.testbeds:
        here = [row for row in rows if (row["sweep"], row["hook_name"]) == (study.label, testbed.hook_name)]
        part = _testbed_summary(testbed, here)
        title = html.escape(", ".join([f"SAEs at {hook_title(testbed.hook_name)}", *_best_values(here)]))
        folded = f"<details><summary>{title}</summary>{part}</details>"
        parts.append(part if len(study.testbeds) == 1 else folded)
    return "\n".join(parts)


def _best_values(rows: Sequence[Row]) -> list[str]:
    """The best values that an SAE has of the main scores."""
    best = [(score, best_row(rows, score.name)) for score in main_scores()]
    return [f"best {score.title.lower()} {row[score.name]:.3f}" for score, row in best if row is not None]


def _model_sentence(study: Study) -> str:
    if study.corpus is None or study.model is None:
        return f"{study.label}: scores given by themselves, without the games and the GPT that they are of."
    corpus = Corpus.open(study.corpus)
    gpt = read_record(_ModelRecord, study.model / CARD_FILE, "train the GPT again").gpt
    shape = f"{study.label}: a GPT of {gpt.n_layers} layers and width {gpt.d_model}"
    if study.legality is None:
        return f"{shape} from elsewhere plays {corpus.game.name}."
    test, random = study.legality["test"], study.legality["random_weights"]
    floor = test["loss_floor"]
    beside = "" if floor is None else f", where knowing the rules alone would give {floor:.3f}"
    low, high = test.get("interval") or (None, None)
    interval = "" if low is None else f" [{low:.2%}, {high:.2%}]"
    return (
        f"{shape} learned {corpus.game.name} from {_games_learned(corpus):,} games. Its most probable move is legal at "
        f"{test['legal_rate']:.2%}{interval} of test positions ({random['legal_rate']:.1%} with random weights); its "
        f"loss is {test['loss']:.3f} nats{beside}."
    )


def _games_learned(corpus: Corpus) -> int:
    """Games a GPT was trained on, given their corpus or the part of it that was packed: all held-out games."""
    packed = "held_out_of" in corpus.attributes
    return corpus.config["n_games"] - len(corpus) if packed else len(corpus.games("train"))


def _probe_sentence(study: Study) -> str:
    trained, random = study.probe_results[0]
    points = trained["hook_points"]
    best = max(points, key=lambda name: points[name]["accuracy"])
    untrained = max(point["accuracy"] for point in random["hook_points"].values())
    return (
        f"Linear probes read the {trained['property'].replace('_', ' ')} best at {hook_title(best)}: "
        f"{points[best]['accuracy']:.1%} of {_asked(points[best])} right ({untrained:.1%} on a random-weights GPT, "
        f"{points[best]['majority_accuracy']:.1%} for always the majority class)."
    )


def _asked(point: Mapping[str, Any]) -> str:
    return "positions" if len(point["accuracy_S"]) == 1 else "squares"


def legality_table(study: Study) -> str:
    """What kinds of moves the GPT makes, as HTML; nothing where its file does not say."""
    if study.legality is None:
        return ""
    test, random = study.legality["test"], study.legality["random_weights"]
    models = (("trained", test), ("random weights", random))
    moves = {f"{name}, {how}": shares for name, results in models for how, shares in move_kinds(results).items()}
    kinds = list(next(iter(moves.values()), {}))
    body = [[name, *(f"{share:.2%}" for share in shares.values())] for name, shares in moves.items()]
    phases = ", ".join(f"{phase} {rate:.1%}" for phase, rate in phase_rates(test).items())
    caption = f"{study.label}: moves at {test['n_positions']:,} positions of {test['n_games']:,} test games"
    caption += f"; the most probable move is legal by phase: {phases}" if phases else ""
    return _table(caption, ["moves", *kinds], body) if body else ""


def probe_table(study: Study) -> str:
    """Every probe of the study at its best hook point, as HTML."""
    body = []
    for trained, random in study.probe_results:
        points, title = trained["hook_points"], probe_title(trained)
        asked = f"{trained['property'].replace('_', ' ')}: {_asked(next(iter(points.values())))}"
        body.append([title, asked, *_best_point(points, random["hook_points"], lambda point: point)])
        if ends := extremes(trained):
            between = _best_point(points, random["hook_points"], lambda point: point.get(EXTREMES))
            body.append([title, f"{ends['low']} or {ends['high']}", *between])
    heads = ("probe", "what it tells", "best hook point", "trained", "random weights", "majority class")
    return _table(f"{study.label}: linear probes, share right on test games", heads, body) if body else ""


def _best_point(trained: Mapping[str, Any], random: Mapping[str, Any], part: Callable[[Any], Any]) -> list[str]:
    """The best hook point on the trained GPT, then accuracies: there, the best of the random GPT, the majority's."""
    measured = {name: part(point) for name, point in trained.items() if part(point)}
    best = max(measured, key=lambda name: measured[name]["accuracy"])
    untrained = max((part(point)["accuracy"] for point in random.values() if part(point)), default=0.0)
    accuracies = measured[best]["accuracy"], untrained, measured[best]["majority_accuracy"]
    return [hook_title(best), *(f"{value:.2%}" for value in accuracies)]


def _testbed_summary(testbed: StudyTestbed, rows: Sequence[Row]) -> str:
    """A sentence on the best SAEs of a testbed, and a table of them beside ceilings and floors."""
    if best_row(rows, ranking_score().name) is None:
        return f"<p>{html.escape(f'No SAE was scored at {testbed.hook_name}.')}</p>"
    lines = _lines(rows)
    return f"<p>{html.escape(_best_sentence(testbed, rows, lines))}</p>\n{_summary_table(testbed, rows, lines)}"


def _lines(rows: Sequence[Row]) -> list[Line]:
    """The best SAE by each main score, each above its seeds pooled; then ceilings; then floors."""
    lines: list[Line] = []
    for score in main_scores():
        row = best_row(rows, score.name)
        if row is not None and row not in [shown for _, shown in lines]:
            lines.append((f"best SAE by {score.title.lower()}", row))
            lines += [("the same, seeds pooled", pool) for pool in rows if pool["name"] == row["pooled_as"]]
    beside = [row for kind, row in best_by_kind(rows).items() if kind != SAE_KIND]
    roles = [(baseline.role, row) for row in beside if (baseline := baseline_of(row)) is not None]
    for role in ("ceiling", "floor"):
        own = [row for of, row in roles if of == role]
        lines += [(f"{role} of the same sparsity" if of_one_sparsity(row) else role, row) for row in own]
    return lines


def _best_sentence(testbed: StudyTestbed, rows: Sequence[Row], lines: Sequence[Line]) -> str:
    first, *others = [(score, row) for score in main_scores() if (row := best_row(rows, score.name)) is not None]
    score, best = first
    n_saes = sum(is_sae(row) and row["n_seeds"] == 1 and row.get(score.name) is not None for row in rows)
    baselines = [(baseline, row) for _, row in lines if (baseline := baseline_of(row)) is not None]
    beside = [f"{baseline.title} {row[score.name]:.3f}" for baseline, row in baselines]
    beside += [f"{title} {cell}" for title, (cell,) in chance_lines(rows, [score.name])]
    headline = str(best["headline"]).replace("_", " ")
    also = [f" The best {score.title.lower()} is {row[score.name]:.3f}, of {recipe(row)}." for score, row in others]
    return (
        f"Of {n_saes} SAEs at {hook_title(testbed.hook_name)}, the best {score.title.lower()} of “{headline}” is "
        f"{best[score.name]:.3f}, of {recipe(best)} ({', '.join(beside)}).{''.join(also)}"
    )


def _summary_table(testbed: StudyTestbed, rows: Sequence[Row], lines: Sequence[Line]) -> str:
    columns, titles = short_columns([row for _, row in lines], main_scores()), column_titles(rows)
    body = []
    for role, row in lines:
        baseline = baseline_of(row)
        what = f"{baseline.label}: {recipe(row)}" if baseline is not None and row["architecture"] else recipe(row)
        cells = [with_interval(row, column).replace(", ", ",\N{NO-BREAK SPACE}") for column in columns]
        body.append([role, what, shown(row["l0"], 1), *cells])
    body += [[title, "", "", *cells] for title, cells in chance_lines(rows, columns)]
    headline = str(lines[0][1]["headline"]).replace("_", " ")
    about = (
        f"Main scores at {testbed.hook_name}, of “{headline}”, with 95% intervals over games (of pooled seeds over "
        "games and seeds); high level: the mean over all high-level properties"
    )
    return _table(about, ["", "what", "L0", *(titles[column] for column in columns)], body)


def _table(caption: str, heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    text = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in body)
    table = f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{text}</tbody>"
    return f'<div class="wide"><table>{table}</table></div>'
