"""The card of a packed testbed: README.md and figures, for people, from card.json and what lies beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.files import read_json, write_bytes
from boardgame_sae.games import load_game
from boardgame_sae.model.legality import LEGALITY_FILE
from boardgame_sae.pipeline.study_folder import Study, read_study
from boardgame_sae.report.figures.gpt_figures import probe_title
from boardgame_sae.report.figures.sae_figures import probe_pairs, write_figures
from boardgame_sae.report.figures.style import depth, hook_title
from boardgame_sae.report.markdown import markdown, table
from boardgame_sae.report.rows import rows_of
from boardgame_sae.transcripts.tokenization import find_tokenizer

README_FILE, FIGURES = "README.md", "figures"
DRAWN = ("learning_curve", "legality", "probe_accuracy", "probe_squares", "coverage_vs_l0")
BEST_MOVE = {True: "Its most probable move", False: "The move it writes greedily"}
DRAWN_MOVES = {True: "probability on legal moves", False: "legal: a move drawn at temperature 1"}
"""Texts that depend on whether a token is a whole move."""


def write_card(folder: str | Path, numbers_file: str) -> None:
    """Write README.md and figures/ into a packed testbed's folder. numbers_file: its card.json."""
    folder = Path(folder)
    study, card = read_study(folder), read_json(folder / numbers_file)
    write_figures(study, folder / FIGURES, DRAWN)
    model = read_json(folder / "model" / "cfg.json")
    parts = [
        _head(card, model, study.beds[0].saes[0].name),
        _gpt(card, model, read_json(folder / "model" / LEGALITY_FILE)),
        _probes(card, study),
        "## SAEs and what they are compared with\n\n"
        f"All read {hook_title(card['hook_name'])} (`{card['hook_name']}`); training those that ship took about "
        f"{card['seconds']['saes'] / 60:.0f} minutes. `README.md` of the repository says how to read the columns.\n\n"
        f"{markdown([row for row in rows_of([study]) if row['kind'] != 'sparse_probe'])}\n"
        "![coverage and reconstruction against L0](figures/coverage_vs_l0.png)\n",
        _limits(card),
    ]
    write_bytes(folder / README_FILE, "\n".join(parts).encode())


def _head(card: Mapping[str, Any], model: Mapping[str, Any], sae: str) -> str:
    name, (low, value, high) = card["name"], _in_order(card["numbers"]["legality"])
    game = load_game(card["game"])
    training, best_move = model["training"], BEST_MOVE[find_tokenizer(model["tokenization"]).is_whole_move]
    targets = (
        " on expected targets (the uniform distribution over the moves that random play could have made: the same "
        "objective without its sampling noise; it uses the rules, never the board)"
        if training["targets"] == "expected"
        else " on next-token prediction alone"
    )
    return (
        f"# {name}\n\n"
        f'A GPT that plays {game.name}, games it never saw, linear probes and SAEs: what `load_testbed("{name}")` '
        f"opens.\n\n"
        f"It was trained{targets}. {best_move} is legal at **{value:.2%}** [{low:.2%}, {high:.2%}] "
        f"of the positions of held-out games.\n\n"
        "```\n"
        f"boardgame-sae score {name}/{sae} --testbed {name} --suite quick\n"
        f"boardgame-sae train-sae --testbed {name} --architecture topk --k 16\n"
        f"boardgame-sae report data/testbeds/{name}      # figures and a page to click on\n"
        f"boardgame-sae check data/testbeds/{name}       # every number of card.json, measured again\n"
        f"make testbed-{name}                            # all of it anew\n"
        "```\n"
    )


def _gpt(card: Mapping[str, Any], model: Mapping[str, Any], legality: Mapping[str, Any]) -> str:
    gpt, training, corpus, test = model["gpt"], model["training"], model["corpus"], legality["test"]
    n_seen = training["n_steps"] * training["batch_size"]
    low, value, high = _in_order(card["numbers"]["legality"])
    seconds, cut = card["seconds"], f", cut after {corpus['max_plies']} plies" if corpus["max_plies"] else ""
    cycles = f" in {training['cycles']} cycles of the rate" if training.get("cycles", 1) > 1 else ""
    tokenizer = find_tokenizer(model["tokenization"])
    best_move = BEST_MOVE[tokenizer.is_whole_move].split(" ", 1)[1]
    lines = [
        ("layers, width, heads", f"{gpt['n_layers']}, {gpt['d_model']}, {gpt['n_heads']}; {gpt['act_fn']}"),
        ("tokens", f"one per {tokenizer.unit}; alphabet of {gpt['d_vocab']}, context {gpt['n_ctx']}"),
        ("played by", ", ".join(corpus["players"]) + (f"; opening {corpus['opening']}" if corpus["opening"] else "")),
        ("games", f"{corpus['n_games']:,}{cut}, seed {corpus['seed']}"),
        ("training", f"{training['n_steps']:,} steps of {training['batch_size']} rows ({n_seen:,}){cycles}, seed "
                     f"{training['seed']}, about {seconds['gpt'] / 60:.0f} minutes"),
        (f"legal: {best_move}", f"{value:.2%} [{low:.2%}, {high:.2%}]"),
        *_first_moves(test["legal_rate_ply"], 30),
        ("... random weights", f"{legality['random_weights']['legal_rate']:.2%}"),
        ("... weights not rounded", f"{card['unrounded']['legality']:.2%}"),
        (DRAWN_MOVES[tokenizer.is_whole_move], f"{test['legal_mass']:.2%}"),
        ("loss, nats a token", f"{test['loss']:.4f}"
                               + (f" (floor {test['loss_floor']:.4f})" if test["loss_floor"] else "")),
        ("weights", "in half precision; probes and SAEs were fitted to the rounded ones"),
    ]  # fmt: skip
    return (
        f"## The GPT\n\n{table(('', ''), lines)}\n"
        "![learning curve](figures/learning_curve.png)\n![legality](figures/legality.png)\n"
    )


def _first_moves(rates: Sequence[float | None], n: int) -> list[tuple[str, str]]:
    """A line on the first n moves, of games that are longer."""
    known = [rate for rate in rates[:n] if rate is not None]
    return [(f"... the first {n} that it predicts", f"{sum(known) / len(known):.2%}")] if len(rates) > n + 1 else []


def _probes(card: Mapping[str, Any], study: Study) -> str:
    """Accuracy of every probe at every hook point, and with the GPT's weights as they were before rounding."""
    text = "## What can be read from it\n\nShare right on test games, 95% intervals over games.\n\n"
    for folder, (trained, random) in zip(study.probes, probe_pairs(study), strict=True):
        lines = []
        for name in sorted(trained["hook_points"], key=depth):
            low, value, high = _in_order(card["numbers"][f"probe/{folder.name}/{name}"])
            found, control = trained["hook_points"][name], random["hook_points"][name]
            unrounded = card["unrounded"].get(f"probe/{folder.name}/{name}")
            lines.append(
                (
                    hook_title(name),
                    f"{value:.2%} [{low:.2%}, {high:.2%}]",
                    "" if unrounded is None else f"{unrounded:.2%}",
                    f"{control['accuracy']:.2%}",
                    f"{found['majority_accuracy']:.2%}",
                    *(
                        f"{part['extremes']['accuracy']:.2%}" if part.get("extremes") else ""
                        for part in (found, control)
                    ),
                )
            )
        heads = ["hook point", "right", "weights not rounded", "random weights", "always the majority"]
        ends = next((each["extremes"] for each in trained["hook_points"].values() if each.get("extremes")), None)
        heads += [f"{ends['low']} or {ends['high']}", "... random weights"] if ends else []
        text += f"**{probe_title(trained)}**\n\n{table(heads, [line[: len(heads)] for line in lines])}\n"
        text += _by_ply(card, f"probe/{folder.name}/{card['hook_name']}")
    pictures = ["![probes by layer](figures/probe_accuracy.png)"]
    if (study.folder / FIGURES / "probe_squares.png").exists():
        pictures.append("![probe by square](figures/probe_squares.png)")
    return text + "\n".join(pictures) + "\n"


def _by_ply(card: Mapping[str, Any], name: str) -> str:
    """How well a probe reads at the testbed's hook point from the first stretch of a game to its last."""
    start = f"{name}/plies "
    known = {key.removeprefix(start): _in_order(n) for key, n in card["numbers"].items() if key.startswith(start)}
    if not known:
        return ""
    values = [f"{value:.2%} [{low:.2%}, {high:.2%}]" for low, value, high in known.values()]
    heads = ["plies played", *known]
    return f"By how many plies were played, {hook_title(card['hook_name'])}:\n\n{table(heads, [['right', *values]])}\n"


def _limits(card: Mapping[str, Any]) -> str:
    notes = "\n".join(f"- {note}" for note in card["notes"]) or "- None known beyond the numbers above."
    return f"## Known limits\n\n{notes}\n"


def _in_order(number: Sequence[float]) -> tuple[float, float, float]:
    value, low, high = number
    return low, value, high
