"""Testbeds: binding the parts together, probing a testbed's GPT, packing a testbed to be shipped."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, StudyInput, TestbedInput, Workers, named, parse, say, verb
from boardgame_sae.config import Count, config, read_yaml


@config
class TestbedParts:
    """What a testbed is made of."""

    model: str
    """Folder of a trained GPT."""
    corpus: str
    """Folder of a corpus of the same game."""
    hook_name: str | None = None
    """Hook point (default: the residual stream at two thirds of the depth)."""
    properties: tuple[str, ...] = ()
    """Properties to score (default: those of the game)."""
    n_games: Count = 1000
    """Games per split."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: the game's)."""


@verb("testbed", 60, "--model DIR --corpus DIR")
def testbed(argv: Sequence[str]) -> Path:
    """Bind a GPT, a hook point, games and the truth about them together."""
    from boardgame_sae.testbeds.testbed import testbed_run

    parts, output, device = parse("testbed", argv, TestbedParts, Output, Device)
    return testbed_run(
        parts.model,
        parts.corpus,
        hook_name=parts.hook_name,
        properties=parts.properties,
        n_games=parts.n_games,
        positions=parts.positions,
        out=output.out,
        device=device.device,
    )


@verb("probe", 70, "--testbed DIR --property board")
def probe(argv: Sequence[str]) -> Path:
    """Fit linear probes on every layer of a testbed's GPT."""
    from boardgame_sae.probes.fit import ProbeConfig, probe_results, probe_run
    from boardgame_sae.testbeds.testbed import load_testbed

    source, cfg, output, device = parse("probe", argv, TestbedInput, ProbeConfig, Output, Device)
    testbed = load_testbed(source.testbed, device.device)
    cfg = dataclasses.replace(cfg, positions=cfg.positions or testbed.read_at)
    folder = probe_run(testbed.model, testbed.corpus, cfg, out=output.out)
    say(f"{'hook point':32}{'accuracy':>10}{'F1':>8}")
    for name, result in probe_results(folder)["hook_points"].items():
        extremes = result.get("extremes")
        compared = f"    {extremes['low']} or {extremes['high']}: {extremes['accuracy']:.4f}" if extremes else ""
        say(f"{name:32}{result['accuracy']:10.4f}{result['f1']:8.4f}{compared}")
    return folder


@verb("pack", 100, "experiments/testbeds/othello6-tiny.yaml --workers 2 --out DIR")
def pack(argv: Sequence[str]) -> Path:
    """Make a testbed and pack it into one self-contained folder: GPT, held-out games, probes, SAEs, scores, card."""
    from boardgame_sae.shipping.pack import pack_config, pack_run

    source, output, workers, device = parse("pack", named(argv, "--study"), StudyInput, Output, Workers, Device)
    cfg = pack_config(read_yaml(source.study), source.study)
    return pack_run(cfg, out=output.out, workers=workers.workers, device=device.device)
