"""Testbeds: binding the parts together, probing a testbed's GPT, packing a testbed to be shipped."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, StudyInput, TestbedInput, Workers, named, parse, say, verb
from boardgame_sae.config import ConfigError, Count, config, read_yaml


@config
class TestbedParts:
    """What a testbed is made of."""

    corpus: str
    """Folder of a corpus of the GPT's game."""
    model: str | None = None
    """Folder of a trained GPT, or `hf:owner/name` (default: that of --like, else the one that --sae was trained on)."""
    like: str | None = None
    """Folder of a testbed, or the name of a shipped one, from which all is taken that other flags leave open: GPT, hook
    point, properties, positions."""
    sae: str | None = None
    """Folder of an SAE, or the name of a shipped one, whose hook point is taken, and, where it was trained on a shipped
    testbed and neither --model nor --like is given, all that --like would take."""
    hook_name: str | None = None
    """Hook point (default: that of --sae or --like, else the residual stream at two thirds of the depth)."""
    properties: tuple[str, ...] = ()
    """Properties to score (default: those of --like, else those of the game)."""
    n_games: Count = 1000
    """Games per split."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: that of --like,
    else the game's)."""


@verb("testbed", 60, "--like othello6-tiny --corpus DIR")
def testbed(argv: Sequence[str]) -> Path:
    """Bind a GPT, a hook point, games and the truth about them together."""
    parts, output, device = parse("testbed", argv, TestbedParts, Output, Device)

    from boardgame_sae.model.exchange.sharing import local
    from boardgame_sae.runs import warn
    from boardgame_sae.runs.integrity import read_done
    from boardgame_sae.testbeds.testbed import load_testbed, testbed_run

    settled = _settled(parts, device.device)
    where = {"hook_name": settled.hook_name, "properties": settled.properties, "positions": settled.positions}
    how = {"n_games": settled.n_games, "out": output.out, "device": device.device}
    folder = testbed_run(local(str(settled.model)), settled.corpus, **where, **how)
    summary = read_done(folder).summary
    say(f"{summary['n_supported']} of {summary['n_columns']} classes are true, and false, often enough to be scored")
    if few := load_testbed(folder, device.device).few_classes:
        warn(few)
    return folder


def _settled(parts: TestbedParts, device: str) -> TestbedParts:
    """The parts with what they leave open taken from the testbed and the SAE that are named.

    Raises ConfigError where there is no GPT, or the SAE says no hook point or does not fit the GPT.
    """
    from boardgame_sae.activations.hook_points import hook_width
    from boardgame_sae.model.game_model import GameModel
    from boardgame_sae.saes.load import load_sae
    from boardgame_sae.testbeds.shipped import find_testbed, read_manifest, shipped_with_model

    if parts.sae is not None and parts.model is None and parts.like is None:
        trained_on = load_sae(parts.sae, uncalibrated=True).metadata.get("model")
        parts = dataclasses.replace(parts, like=shipped_with_model(trained_on))
    if parts.like is not None:
        like = find_testbed(parts.like)
        of_like = read_manifest(like)
        model, properties = parts.model or str(like / of_like.model), parts.properties or of_like.properties
        parts = dataclasses.replace(
            parts, model=model, properties=properties, positions=parts.positions or of_like.positions
        )
        if parts.sae is None:
            parts = dataclasses.replace(parts, hook_name=parts.hook_name or of_like.hook_name)
    if parts.model is None:
        raise ConfigError("testbed: field 'model' is required, or 'like', a testbed whose GPT is taken")
    if parts.sae is not None:
        sae = load_sae(parts.sae, uncalibrated=True)
        hook_name = parts.hook_name or sae.metadata.get("hook_name")
        if hook_name is None:
            raise ConfigError(f"{parts.sae}: does not say which hook point it reads; give --hook-name")
        width = hook_width(GameModel.load(parts.model, device).gpt, hook_name)
        if width != sae.cfg.d_model:
            raise ConfigError(
                f"{parts.sae}: takes activations of width {sae.cfg.d_model}, those at {hook_name} have width {width}"
            )
        parts = dataclasses.replace(parts, hook_name=hook_name)
    return parts


@verb("probe", 70, "--testbed DIR --property board")
def probe(argv: Sequence[str]) -> Path:
    """Fit linear probes on every layer of a testbed's GPT."""
    from boardgame_sae.probes.probe_config import ProbeConfig

    source, cfg, output, device = parse("probe", argv, TestbedInput, ProbeConfig, Output, Device)

    from boardgame_sae.probes.fit import probe_results, probe_run
    from boardgame_sae.testbeds.testbed import load_testbed

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
    source, output, workers, device = parse("pack", named(argv, "--study"), StudyInput, Output, Workers, Device)

    from boardgame_sae.shipping.pack import pack_config, pack_run

    cfg = pack_config(read_yaml(source.study), source.study)
    return pack_run(cfg, out=output.out, workers=workers.workers, device=device.device)
