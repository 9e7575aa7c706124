"""Supervised scores: their time and memory, side by side with the published way of counting.

    make bench-metrics        also writes experiments/benchmarks/metrics.md

1. *Counting* on the same dense tensors, which must give equal integers: `count_latents` beside one dense product per
   threshold (`torch.einsum`, as the published code does), and, on a smaller problem, beside the definition itself, a
   comparison broadcast over thresholds, latents, positions and properties, which would take a quarter of an hour on
   the larger one.
2. *All scores* of one SAE on 1,000 games per split, all Othello properties, with the seconds of each score.
3. *Paper scale*: chess, width 512, 4,096 and 8,192 latents, the 768 board classes and all strategy properties, with
   the default budget and with a small one. Each runs in its own process, whose peak memory is measured.

SAEs and GPT have random weights: time does not depend on what they have learned, only on how many latents are on. The
GPT has one layer, as reading its activations is not what is measured.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numba
import torch
from bench_counts import L0, N_LATENTS, N_POSITIONS, N_PROPERTIES, THRESHOLDS, dense_counts, example, timed

from boardgame_sae.metrics.counting.latent_columns import as_latents
from boardgame_sae.metrics.counts import count_latents
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.subject import MAX_BYTES
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.probe import Probe
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.generate import generate

N_GAMES, WIDTH, K = 1000, 512, 64
SMALL = 2000, 512, 64
"""Positions, latents and properties of the smaller problem."""
CHESS_CHARACTERS = 256
"""Characters of each chess game that the published study reads."""


def broadcast_counts(latents_NF: torch.Tensor, labels_NP: torch.Tensor) -> torch.Tensor:
    """on_TFP by the definition: (threshold, latent, position, property) compared, multiplied and summed."""
    max_F, parts = latents_NF.amax(0), []
    for threshold in THRESHOLDS:
        on_FN = (latents_NF > threshold * max_F).T
        parts.append((on_FN[:, :, None] & labels_NP[None]).sum(1, dtype=torch.int32))
    return torch.stack(parts)


def counting(n_threads: int) -> dict[str, Any]:
    """Seconds of each way of counting, on a number of threads."""
    numba.set_num_threads(n_threads)
    torch.set_num_threads(n_threads)
    latents_NF, labels_NP = example()
    count_latents(latents_NF[:300], labels_NP[:300], thresholds=THRESHOLDS)  # compiles
    dense, counts = timed(lambda: count_latents(latents_NF, labels_NP, thresholds=THRESHOLDS), 7)
    compressed = as_latents(latents_NF)
    sparse, counts_sparse = timed(lambda: count_latents(compressed, labels_NP, thresholds=THRESHOLDS), 7)
    product, (on_TFP, n_on_TF) = timed(lambda: dense_counts(latents_NF, labels_NP), 2)
    for ours in (counts, counts_sparse):
        assert torch.equal(ours.on_TFP, on_TFP)
        assert torch.equal(ours.n_on_TF, n_on_TF)
    n_positions, n_latents, n_properties = SMALL
    few_NF, few_NP = latents_NF[:n_positions, :n_latents].contiguous(), labels_NP[:n_positions, :n_properties]
    small, counts = timed(lambda: count_latents(few_NF, few_NP, thresholds=THRESHOLDS), 7)
    broadcast, on_TFP = timed(lambda: broadcast_counts(few_NF, few_NP), 2)
    assert torch.equal(counts.on_TFP, on_TFP)
    return {"dense": dense, "sparse": sparse, "product": product, "small": small, "broadcast": broadcast}


def random_testbed(game: str, properties: tuple[str, ...], folder: Path) -> Testbed:
    """Random games, a GPT of one layer and random weights, and random probes of every property."""
    fields = {"game": game, "n_games": 6 * N_GAMES, "validation_fraction": 0.2, "test_fraction": 0.2, "seed": 0}
    corpus = generate(**fields, **({"tokenization": "char"} if game == "chess" else {}), out=folder / "corpus")
    n_ctx = min(corpus.n_ctx, CHESS_CHARACTERS) if game == "chess" else corpus.n_ctx
    shape = {"n_layers": 1, "d_model": WIDTH, "n_heads": 8, "d_vocab": len(corpus.alphabet), "n_ctx": n_ctx}
    model = GameModel(GPT(GPTConfig(**shape)).eval(), {"alphabet": list(corpus.alphabet), "hash": "random"})
    testbed = Testbed(model, corpus, "blocks.0.hook_resid_post", properties=properties, n_games=N_GAMES)
    labels_NP = testbed.labels("train", 0, 5000)
    for columns in testbed.columns:
        prop = corpus.game.property(columns.name)
        targets = Targets.of(prop, labels_NP[:, columns.start : columns.stop])
        n_groups = prop.size // targets.group
        weight_DSC = torch.randn(WIDTH, n_groups, targets.n_classes)
        testbed.probes[columns.name] = Probe(weight_DSC, torch.zeros(n_groups, targets.n_classes), targets)
    return testbed


def scoring(game: str, properties: tuple[str, ...], n_latents: int, max_bytes: int) -> dict[str, Any]:
    """Seconds of every score of an SAE on a testbed whose activations are already in memory; and peak memory, GiB."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        testbed = random_testbed(game, properties, Path(folder))
        start = time.perf_counter()
        for split in ("train", "validation", "test"):
            testbed.activations(split)
        supported = int(testbed.supported_P.sum())
        harvested = time.perf_counter() - start
        before = peak_gib()
        sae = make_sae("topk", d_model=WIDTH, n_latents=n_latents, k=K)
        warm = make_sae("topk", d_model=WIDTH, n_latents=128, k=8)
        small = Testbed(testbed.model, testbed.corpus, testbed.hook_name, properties=properties[:1], n_games=40)
        evaluate(warm, small, "supervised")  # compiles
        start = time.perf_counter()
        scores = evaluate(sae, testbed, "supervised", max_bytes=max_bytes)
        seconds = time.perf_counter() - start
    return {
        "game": game,
        "positions": sum(scores.subject["positions"].values()),
        "classes": testbed.columns[-1].stop,
        "supported": supported,
        "n_latents": n_latents,
        "max_bytes": max_bytes,
        "harvested": harvested,
        "seconds": seconds,
        "by_score": scores.seconds,
        "before_gib": before,
        "peak_gib": peak_gib(),
        "coverage": scores["coverage"].value,
        "reconstruction": scores["board_reconstruction"].value,
    }


def peak_gib() -> float:
    """The most memory that this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_a_process(what: str, *arguments: Any) -> dict[str, Any]:
    """Run a measurement in a fresh process."""
    words = [sys.executable, __file__, what, json.dumps(arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


OTHELLO = ("mine_yours", "board", "legal_move", "flipped", "line")
CHESS = (
    "piece_moved", "threat", "legal_move", "check", "can_check_next", "has_queen", "can_capture_queen",
    "has_bishop_pair", "castling_rights", "castling_kingside", "castling_queenside", "fork", "pin", "en_passant",
    "ambiguous_move",
)  # fmt: skip
SCORING = (
    ("othello", OTHELLO[:1] + OTHELLO[2:4], 4096, MAX_BYTES),
    ("othello", OTHELLO, 4096, MAX_BYTES),
    ("othello", OTHELLO, 4096, 2**26),
    ("chess", CHESS, 4096, MAX_BYTES),
    ("chess", CHESS, 8192, MAX_BYTES),
)


def lines() -> list[str]:
    """The tables as Markdown."""
    page = [f"Counting at {len(THRESHOLDS)} thresholds, L0 {L0} of {N_LATENTS:,}, float32, equal integers.", ""]
    page += [_row("threads", "problem", "`count_latents`, s", "the other way, s", "times faster"), _row(*["---"] * 5)]
    large = f"{N_POSITIONS:,} positions, {N_LATENTS:,} latents, {N_PROPERTIES} classes"
    small = "{:,} positions, {} latents, {} classes".format(*SMALL)
    for n_threads in (1, 2):
        c = in_a_process("counting", n_threads)
        for problem, ours, theirs, name in (
            (large, c["dense"], c["product"], "dense products, as published"),
            (f"{large}, already compressed", c["sparse"], c["product"], "dense products, as published"),
            (small, c["small"], c["broadcast"], "broadcast of the definition"),
        ):
            page.append(_row(n_threads, problem, f"{ours:.4f}", f"{name}: {theirs:.2f}", f"{theirs / ours:,.0f}"))
    text = f"All supervised scores of one `topk` SAE (k = {K}, width {WIDTH}), {N_GAMES:,} games per split, activations"
    page += ["", f"{text} in memory. Target: Othello, all properties, under 60 s on 2 cores; chess within 24 GiB.", ""]
    heads = ["game", "positions", "classes (scored)", "latents", "budget, MiB", "seconds", "by score", "peak, GiB"]
    heads += ["... before scoring"]
    page += [_row(*heads), _row(*["---"] * len(heads))]
    for arguments in SCORING:
        s = in_a_process("scoring", *arguments)
        by_score = ", ".join(f"{name} {seconds:.1f}" for name, seconds in s["by_score"].items())
        cells = [s["game"], f"{s['positions']:,}", f"{s['classes']:,} ({s['supported']:,})", f"{s['n_latents']:,}"]
        cells += [f"{s['max_bytes'] >> 20:,}", f"{s['seconds']:.1f}", by_score, f"{s['peak_gib']:.2f}"]
        cells += [f"{s['before_gib']:.2f}"]
        page.append(_row(*cells))
        print(page[-1], file=sys.stderr, flush=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return [*page, "", f"{machine}. `core` includes the clean, zeroed and averaged model, once per testbed."]


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure what is asked for, or all, and print the tables."""
    if len(sys.argv) > 1:
        measure = {"counting": counting, "scoring": scoring}[sys.argv[1]]
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
        return
    text = "# Supervised scores: speed and memory\n\n" + "\n".join(lines()) + "\n"
    Path(__file__).with_name("metrics.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
