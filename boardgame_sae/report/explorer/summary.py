"""What the report's page says of a study in words and small tables: its GPT, its probes, the best SAEs."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boardgame_sae.files import read_json
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.pipeline.study_folder import Bed, Study
from boardgame_sae.report.figures.gpt_figures import move_kinds, phase_rates, probe_title
from boardgame_sae.report.figures.sae_figures import probe_pairs
from boardgame_sae.report.figures.style import hook_title
from boardgame_sae.report.markdown import with_interval
from boardgame_sae.report.rows import Row, kind_title, recipe
from boardgame_sae.transcripts.corpus import Corpus


def summary(study: Study, rows: Sequence[Row]) -> str:
    """What a study found, as HTML: its GPT, then each hook point; several are folded away under their best scores."""
    said = " ".join([_model_sentence(study), *([_probe_sentence(study)] if study.probes else [])])
    parts = [f"<p>{html.escape(said)}</p>"]
    for bed in study.beds:
        here = [row for row in rows if (row["sweep"], row["hook_name"]) == (study.label, bed.hook_name)]
        sentence, lines = _hook_point(bed, here)
        part = f"<p>{html.escape(sentence)}</p>\n{_summary_table(bed, lines)}"
        title = html.escape(", ".join([f"SAEs at {hook_title(bed.hook_name)}", *_best_scores(lines)]))
        parts.append(part if len(study.beds) == 1 else f"<details><summary>{title}</summary>{part}</details>")
    return "\n".join(parts)


def _best_scores(lines: Sequence[tuple[str, Row]]) -> list[str]:
    """The best scores of an SAE among the rows of a summary table."""
    titles = {"coverage": "best coverage", "board_reconstruction": "best board reconstruction"}
    known = {name: [row[name] for _, row in lines if row["kind"] == "sae" and row.get(name)] for name in titles}
    return [f"{titles[name]} {max(values):.3f}" for name, values in known.items() if values]


def _model_sentence(study: Study) -> str:
    card, corpus = read_json(study.model / "cfg.json"), Corpus.open(study.corpus)
    gpt = card["gpt"]
    shape = f"{study.label}: a GPT of {gpt['n_layers']} layers and width {gpt['d_model']}"
    if not (study.model / LEGALITY_FILE).exists():
        return f"{shape} from elsewhere plays {corpus.game.name}."
    legality = read_json(study.model / LEGALITY_FILE)
    test, floor = legality["test"], legality["test"]["loss_floor"]
    beside = "" if floor is None else f", where the rules alone would give {floor:.3f}"
    low, high = test.get("interval") or (None, None)
    interval = "" if low is None else f" [{low:.2%}, {high:.2%}]"
    return (
        f"{shape} learned {corpus.game.name} from {_games_learned(corpus):,} games. Its most probable move is legal at "
        f"{test['legal_rate']:.2%}{interval} of test positions ({legality['random_weights']['legal_rate']:.1%} with "
        f"random weights); its loss is {test['loss']:.3f} nats{beside}."
    )


def _games_learned(corpus: Corpus) -> int:
    """Games a GPT was trained on, given their corpus or the part of it that was packed: all held-out games."""
    packed = "held_out_of" in corpus.attributes
    return corpus.config["n_games"] - len(corpus) if packed else len(corpus.games("train"))


def _probe_sentence(study: Study) -> str:
    trained, random = probe_pairs(study)[0]
    found = trained["hook_points"]
    best = max(found, key=lambda name: found[name]["accuracy"])
    untrained = max(each["accuracy"] for each in random["hook_points"].values())
    return (
        f"Linear probes read the {trained['property'].replace('_', ' ')} best at {hook_title(best)}: "
        f"{found[best]['accuracy']:.1%} of {_asked(found[best])} right ({untrained:.1%} on a random-weights GPT, "
        f"{found[best]['majority_accuracy']:.1%} for always the majority class)."
    )


def _asked(found: Mapping[str, Any]) -> str:
    return "positions" if len(found["accuracy_S"]) == 1 else "squares"


def legality_table(study: Study) -> str:
    """What kinds of moves the GPT makes, where its file has them."""
    if not (study.model / LEGALITY_FILE).exists():
        return ""
    legality = read_json(study.model / LEGALITY_FILE)
    named = (("trained", legality["test"]), ("random weights", legality["random_weights"]))
    moves = {f"{name}, {how}": shares for name, found in named for how, shares in move_kinds(found).items()}
    kinds = list(next(iter(moves.values()), {}))
    body = [[name, *(f"{share:.2%}" for share in shares.values())] for name, shares in moves.items()]
    test = legality["test"]
    phases = ", ".join(f"{phase} {rate:.1%}" for phase, rate in phase_rates(test).items())
    caption = f"{study.label}: moves at {test['n_positions']:,} positions of {test['n_games']:,} test games"
    caption += f"; the most probable move is legal by phase: {phases}" if phases else ""
    return _table(caption, ["moves", *kinds], body) if body else ""


def probe_table(study: Study) -> str:
    """Every probe of the study at its best hook point."""
    body = []
    for trained, random in probe_pairs(study) if study.probes else []:
        found = trained["hook_points"]
        asked = f"{trained['property'].replace('_', ' ')}: {_asked(next(iter(found.values())))}"
        body.append([probe_title(trained), asked, *_best_of(found, random["hook_points"], lambda each: each)])
        ends = next((each["extremes"] for each in found.values() if each.get("extremes")), None)
        if ends:
            asked = f"{ends['low']} or {ends['high']}"
            by_extremes = _best_of(found, random["hook_points"], lambda each: each.get("extremes"))
            body.append([probe_title(trained), asked, *by_extremes])
    heads = ("probe", "what is told", "best hook point", "trained", "random weights", "majority")
    return _table(f"{study.label}: linear probes, share right on test games", heads, body) if body else ""


def _best_of(trained: Mapping[str, Any], random: Mapping[str, Any], part: Callable[[Any], Any]) -> list[str]:
    """The best hook point on the trained GPT, then accuracies: there, the best of the random GPT, the majority's."""
    known = {name: part(each) for name, each in trained.items() if part(each)}
    best = max(known, key=lambda name: known[name]["accuracy"])
    untrained = max((part(each)["accuracy"] for each in random.values() if part(each)), default=0.0)
    accuracies = known[best]["accuracy"], untrained, known[best]["majority_accuracy"]
    return [hook_title(best), *(f"{value:.2%}" for value in accuracies)]


def _hook_point(bed: Bed, rows: Sequence[Row]) -> tuple[str, list[tuple[str, Row]]]:
    """A sentence on the best SAE, and the rows of the summary table by their role."""
    known = [row for row in rows if row.get("coverage") is not None]
    saes = [row for row in known if row["kind"] == "sae" and row["n_seeds"] == 1]
    best = max(saes, key=lambda row: row["coverage"], default=None)
    if best is None:
        return f"No SAE was scored at {bed.hook_name}.", []
    rebuilt = max((best, *saes), key=lambda row: row.get("board_reconstruction") or 0.0)
    twins = [row for row in known if row["kind"] == "random_gpt_sae" and row["pooled_as"] is None]
    random = max(twins, key=lambda row: row["coverage"], default=None)
    lines = [("best SAE by coverage", best)]
    lines += [("best SAE by reconstruction", rebuilt)] if rebuilt is not best else []
    lines = [pair for line in lines for pair in (line, *_its_seeds(line[1], known))]
    as_sparse = [row for row in known if row["kind"] == "sparse_probe"]
    if as_sparse:
        nearest = min(as_sparse, key=lambda row: abs(math.log(row["l0"] / max(best["l0"], 1))))
        lines += [("ceiling of the same sparsity", nearest)]
    lines += [("ceiling", row) for row in known if row["kind"] == "probe"]
    lines += [("floor", random)] if random is not None else []
    lines += [("floor", row) for row in known if row["kind"] in ("neurons", "residual")]
    beside = [f"{kind_title(row['kind'])} {row['coverage']:.3f}" for _, row in lines if row["kind"] != "sae"]
    chance = best.get("coverage_always_on")
    beside += [f"always on {chance:.3f}"] if chance is not None else []
    sentence = (
        f"Of {len(saes)} SAEs at {hook_title(bed.hook_name)}, the best by coverage ({recipe(best)}) has for each class "
        f"of “{str(best['headline']).replace('_', ' ')}” a latent of mean F1 {best['coverage']:.3f} "
        f"({', '.join(beside)}); the best by reconstruction rebuilds boards with F1 "
        f"{rebuilt.get('board_reconstruction') or 0.0:.3f}."
    )
    return sentence, lines


def _its_seeds(row: Row, rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The row in which an SAE is pooled with those of other seeds."""
    return [("the same, seeds pooled", each) for each in rows if each["name"] == row["pooled_as"]]


def _summary_table(bed: Bed, lines: Sequence[tuple[str, Row]]) -> str:
    if not lines:
        return ""
    body = []
    for role, row in lines:
        what = recipe(row) if row["kind"] != "random_gpt_sae" else f"{recipe(row)}, on a random-weights GPT"
        cells = [role, what, "" if row["l0"] is None else f"{row['l0']:.1f}"]
        columns = (name + end for name in ("coverage", "board_reconstruction") for end in ("", ".high"))
        cells += [with_interval(row, column).replace(", ", ",\N{NO-BREAK SPACE}") for column in columns]
        body.append(cells)
    chance = lines[0][1].get("coverage_always_on")
    if chance is not None:
        high = lines[0][1].get("coverage.high_always_on")
        shown = "" if high is None else f"{high:.3f}"
        body.append(["chance", "a latent that is always on", "", f"{chance:.3f}", shown, "", ""])
    heads = ("", "what", "L0", "coverage", "coverage, high level", "board reconstruction", "reconstruction, high level")
    headline = str(lines[0][1]["headline"]).replace("_", " ")
    about = (
        f"Headline numbers at {bed.hook_name}, of “{headline}” [95% intervals over games, of pooled seeds over games "
        "and seeds]; high level: the mean over all high-level properties"
    )
    return _table(about, heads, body)


def _table(caption: str, heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    text = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in body)
    table = f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{text}</tbody>"
    return f'<div class="wide"><table>{table}</table></div>'
