"""SAEs: training and fine-tuning them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.cli.flags import (
    Choice,
    Device,
    Output,
    TestbedInput,
    Tracking,
    chosen,
    listed_trackers,
    named,
    parse,
    say,
    verb,
)
from boardgame_sae.config import ConfigError, Flags, config, read_yaml, to_mapping


@config
class SAEChoice:
    """Which SAEs are trained."""

    architecture: str = "topk"
    """Kind of SAE, one of those listed above; the flags that follow are its own."""
    saes: str | None = None
    """YAML file whose `saes` lists SAEs by their fields, as a study does, to train together on one stream. Flags that
    describe a single SAE are then ignored."""


@config
class SAEInput:
    """An SAE."""

    sae: str
    """Folder of an SAE, or the name of a shipped one: `othello6-tiny/topk-16`."""


def _architectures() -> Sequence[str]:
    from boardgame_sae.saes.registry import architectures

    return architectures()


@verb("train-sae", 80, "--testbed DIR --architecture topk --k 32", Choice("--architecture", _architectures))
def train_sae(argv: Sequence[str]) -> Path:
    """Train an SAE, or many at once, on a testbed's activations."""
    from boardgame_sae.saes.configs.described import described
    from boardgame_sae.saes.configs.sae import N_LATENTS
    from boardgame_sae.saes.configs.training import TrainSAEConfig

    architecture, known = chosen(argv, "architecture", "topk"), described()
    own_config = known[architecture].config_class if architecture in known else _registered(architecture)
    fixed = {"d_model": 1, "architecture": architecture}  # the width is the testbed's
    own = Flags(own_config, defaults={"n_latents": N_LATENTS}, fixed=fixed)
    listed = "\n".join(["Architectures:", *(f"  {name:24}{kind.summary}" for name, kind in known.items())])
    groups, more = (TestbedInput, SAEChoice, own, TrainSAEConfig, Output, Device, Tracking), listed_trackers()
    parsed = parse("train-sae", argv, *groups, more=f"{listed}\n\n{more}")
    source, choice, sae, training, output, device, tracking = parsed
    how = {"device": device.device, "tracker": tracking.tracker}

    from boardgame_sae.pipeline.grid import expand, train_grid
    from boardgame_sae.saes.registry import sae_config
    from boardgame_sae.saes.training.on_testbed import train_on_testbed
    from boardgame_sae.testbeds.testbed import load_testbed

    testbed = load_testbed(source.testbed, device.device)
    if choice.saes is None:
        cfg = sae_config(**{**to_mapping(sae), "d_model": testbed.width})
        folders = train_on_testbed(testbed, [cfg], training, outs=[output.out], **how)
    else:
        entries, listing = _listed_saes(choice.saes), f"{choice.saes}: saes"
        saes = [one.sae for one in expand(entries, testbed.width, training, listing)]
        names = [f"{number}-{cfg.architecture}-{cfg.n_latents}" for number, cfg in enumerate(saes)]
        outs = [None if output.out is None else str(Path(output.out) / name) for name in names]
        folders = train_grid(testbed, entries, training, **how, outs=outs, source=listing)
    for folder in folders[:-1]:
        say(str(folder))
    return folders[-1]


@verb("finetune-sae", 85, "othello6-tiny/topk-16 --testbed othello6-tiny --loss balanced --how full")
def finetune_sae(argv: Sequence[str]) -> Path:
    """Fine-tune an SAE, or what is put around it, so that the GPT predicts with it as it does without."""
    from boardgame_sae.registry import declared
    from boardgame_sae.saes.configs.finetuning import FinetuneConfig

    ways = declared("boardgame_sae.saes.finetuning.ways", "way")
    listed = "\n".join(["Ways:", *(f"  {way.argument:16}{way.summary}" for way in ways)])
    groups = (SAEInput, TestbedInput, FinetuneConfig, Output, Device)
    given, source, cfg, output, device = parse("finetune-sae", named(argv, "--sae"), *groups, more=listed)

    from boardgame_sae.files import read_json
    from boardgame_sae.saes.finetuning.finetune import RESULT_FILE, finetune_run
    from boardgame_sae.saes.finetuning.gap import gap_text
    from boardgame_sae.testbeds.testbed import load_testbed

    folder = finetune_run(given.sae, load_testbed(source.testbed, device.device), cfg, out=output.out)
    say(gap_text(read_json(folder / RESULT_FILE)))
    return folder


def _registered(architecture: str) -> type:
    """The config class of an architecture that no module of ours states. Raises ConfigError for an unknown one."""
    from boardgame_sae.saes.registry import config_class

    return config_class(architecture)


def _listed_saes(path: str) -> list[dict[str, Any]]:
    listed = read_yaml(path).get("saes")
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: needs `saes`, a list of mappings such as {{architecture: topk, k: 16}}")
    return listed
