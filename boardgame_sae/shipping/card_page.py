"""The card of a packed testbed: README.md and figures, for people, from card.json and what lies beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.files import read_json, write_bytes
from boardgame_sae.games import load_game
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.pipeline.study_folder import Study, read_study
from boardgame_sae.report.figures.probe_accuracy import EXTREMES, extremes
from boardgame_sae.report.figures.registry import figures, write_figures
from boardgame_sae.report.figures.style import depth, hook_title
from boardgame_sae.report.markdown import markdown, table
from boardgame_sae.report.rows import rows_of
from boardgame_sae.report.titles import of_one_sparsity, probe_title
from boardgame_sae.transcripts.tokenization import find_tokenizer

README_FILE, FIGURES = "README.md", "figures"
BEST_MOVE = {True: "Its most probable move", False: "The move it writes greedily"}
DRAWN_MOVES = {True: "probability on legal moves", False: "legal: a move drawn at temperature 1"}
"""Texts that depend on whether a token is a whole move."""


def write_card(folder: str | Path, numbers_file: str) -> None:
    """Write README.md and figures/ into a packed testbed's folder. numbers_file: its card.json."""
    folder = Path(folder)
    study, card = read_study(folder), read_json(folder / numbers_file)
    write_figures(study, folder / FIGURES, [figure for figure in figures() if figure.on_card])
    model = read_json(folder / "model" / "cfg.json")
    parts = [
        _head(card, model, study.testbeds[0].saes[0].name),
        _gpt(folder, card, model, read_json(folder / "model" / LEGALITY_FILE)),
        _probes(card, study) + _pictures(folder, "probes"),
        _saes(card, study) + _pictures(folder, "saes"),
        _limits(card),
    ]
    write_bytes(folder / README_FILE, "\n".join(parts).encode())


def _head(card: Mapping[str, Any], model: Mapping[str, Any], sae: str) -> str:
    name, legality = card["name"], _with_interval(card["numbers"]["legality"], bold=True)
    game, best_move = load_game(card["game"]), BEST_MOVE[find_tokenizer(model["tokenization"]).is_whole_move]
    targets = (
        " on expected targets (the uniform distribution over the moves that random play could have made: the same "
        "objective without its sampling noise; it uses the rules, never the board)"
        if model["training"]["targets"] == "expected"
        else " on next-token prediction alone"
    )
    return (
        f"# {name}\n\n"
        f'A GPT that plays {game.name}, held-out games, linear probes and SAEs: what `load_testbed("{name}")` '
        f"opens.\n\n"
        f"The GPT was trained{targets}. {best_move} is legal at {legality} of the positions of "
        f"held-out games.\n\n"
        "```\n"
        f"boardgame-sae score {name}/{sae} --testbed {name} --suite quick\n"
        f"boardgame-sae train-sae --testbed {name} --architecture topk --k 16\n"
        f"boardgame-sae report data/testbeds/{name}      # figures and an interactive page\n"
        f"boardgame-sae check data/testbeds/{name}       # measure every number of card.json again\n"
        f"make testbed-{name}                            # rebuild all of it\n"
        "```\n"
    )


def _gpt(folder: Path, card: Mapping[str, Any], model: Mapping[str, Any], legality: Mapping[str, Any]) -> str:
    gpt, training, corpus, test = model["gpt"], model["training"], model["corpus"], legality["test"]
    n_seen = training["n_steps"] * training["batch_size"]
    cut = f", cut after {corpus['max_plies']} plies" if corpus["max_plies"] else ""
    cycles = f" in {training['cycles']} cycles of the learning rate" if training.get("cycles", 1) > 1 else ""
    tokenizer = find_tokenizer(model["tokenization"])
    best_move = BEST_MOVE[tokenizer.is_whole_move].split(" ", 1)[1]
    lines = [
        ("layers, width, heads", f"{gpt['n_layers']}, {gpt['d_model']}, {gpt['n_heads']}; {gpt['act_fn']}"),
        ("tokens", f"one per {tokenizer.unit}; alphabet of {gpt['d_vocab']}, context {gpt['n_ctx']}"),
        ("played by", ", ".join(corpus["players"]) + (f"; opening {corpus['opening']}" if corpus["opening"] else "")),
        ("games", f"{corpus['n_games']:,}{cut}, seed {corpus['seed']}"),
        ("training", f"{training['n_steps']:,} steps of {training['batch_size']} rows ({n_seen:,}){cycles}, seed "
                     f"{training['seed']}"),
        (f"legal: {best_move}", _with_interval(card["numbers"]["legality"])),
        *_first_moves(test["legal_rate_ply"], 30),
        ("... with random weights", f"{legality['random_weights']['legal_rate']:.2%}"),
        ("... with weights not rounded", f"{card['unrounded']['legality']:.2%}"),
        (DRAWN_MOVES[tokenizer.is_whole_move], f"{test['legal_mass']:.2%}"),
        ("loss, nats per token", f"{test['loss']:.4f}"
                                 + (f" (floor {test['loss_floor']:.4f})" if test["loss_floor"] else "")),
        ("weights", "in half precision; probes and SAEs were fitted to the rounded weights"),
    ]  # fmt: skip
    return f"## The GPT\n\n{table(('', ''), lines)}\n{_pictures(folder, 'gpt')}"


def _first_moves(rates: Sequence[float | None], n: int) -> list[tuple[str, str]]:
    """A line on the first n moves, of games that are longer."""
    first = [rate for rate in rates[:n] if rate is not None]
    return [(f"... the first {n} that it predicts", f"{sum(first) / len(first):.2%}")] if len(rates) > n + 1 else []


def _probes(card: Mapping[str, Any], study: Study) -> str:
    """Accuracy of every probe at every hook point, and with the GPT's weights as they were before rounding."""
    text = "## What probes read\n\nShare right on test games, with 95% intervals over games.\n\n"
    for folder, (trained, random) in zip(study.probes, study.probe_results, strict=True):
        name = f"probe/{folder.name}"
        ends = extremes(trained)
        heads = ["hook point", "right", "weights not rounded", "random weights", "always the majority class"]
        heads += [f"{ends['low']} or {ends['high']}", "... with random weights"] if ends else []
        lines = [
            _probe_line(card, name, hook_name, trained, random)
            for hook_name in sorted(trained["hook_points"], key=depth)
        ]
        text += f"**{probe_title(trained)}**\n\n{table(heads, [line[: len(heads)] for line in lines])}\n"
        text += _by_ply(card, f"{name}/{card['hook_name']}")
    return text


def _probe_line(
    card: Mapping[str, Any], name: str, hook_name: str, trained: Mapping[str, Any], random: Mapping[str, Any]
) -> list[str]:
    both = trained["hook_points"][hook_name], random["hook_points"][hook_name]
    unrounded = card["unrounded"].get(f"{name}/{hook_name}")
    return [
        hook_title(hook_name),
        _with_interval(card["numbers"][f"{name}/{hook_name}"]),
        "" if unrounded is None else f"{unrounded:.2%}",
        f"{both[1]['accuracy']:.2%}",
        f"{both[0]['majority_accuracy']:.2%}",
        *(f"{point[EXTREMES]['accuracy']:.2%}" if point.get(EXTREMES) else "" for point in both),
    ]


def _by_ply(card: Mapping[str, Any], name: str) -> str:
    """How well a probe reads at the testbed's hook point from the first stretch of a game to its last."""
    start = f"{name}/plies "
    stretches = {key.removeprefix(start): number for key, number in card["numbers"].items() if key.startswith(start)}
    if not stretches:
        return ""
    lines = [["right", *map(_with_interval, stretches.values())]]
    return f"By plies played, at {hook_title(card['hook_name'])}:\n\n{table(['plies played', *stretches], lines)}\n"


def _saes(card: Mapping[str, Any], study: Study) -> str:
    rows = [row for row in rows_of([study]) if not of_one_sparsity(row)]
    return (
        "## SAEs and what they are compared with\n\n"
        f"All read {hook_title(card['hook_name'])} (`{card['hook_name']}`). `README.md` of the repository says how to "
        f"read the columns.\n\n"
        f"{markdown(rows)}\n"
    )


def _limits(card: Mapping[str, Any]) -> str:
    notes = "\n".join(f"- {note}" for note in card["notes"]) or "- None known beyond the numbers above."
    return f"## Known limits\n\n{notes}\n"


def _pictures(folder: Path, section: str) -> str:
    """The figures of a section that were drawn."""
    chosen = [figure for figure in figures() if figure.on_card and figure.section == section]
    drawn = [figure for figure in chosen if (folder / FIGURES / f"{figure.name}.png").exists()]
    return "".join(f"![{figure.title}]({FIGURES}/{figure.name}.png)\n" for figure in drawn)


def _with_interval(number: Sequence[float], bold: bool = False) -> str:
    value, low, high = number
    mark = "**" if bold else ""
    return f"{mark}{value:.2%}{mark} [{low:.2%}, {high:.2%}]"
