"""GPTs: training them."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, Tracking, chosen, listed_trackers, parse, say, verb
from boardgame_sae.config import Count, Flags, config, to_mapping
from boardgame_sae.model.train_config import Preset, TrainGPTConfig, preset


@config
class TrainGPTInput:
    """What a GPT is trained on."""

    corpus: str
    """Folder of the corpus."""
    preset: Preset = "tiny"
    """tiny, small or paper: sets the defaults of the flags below."""
    devices: Count = 1
    """Devices of this machine to train on (on CPUs, processes), each with an equal share of every batch. The result is
    that of one but for rounding."""


@verb("train-gpt", 50, "--corpus DIR --preset tiny")
def train_gpt(argv: Sequence[str]) -> Path:
    """Train a GPT on a corpus; a killed run resumes by itself."""
    of_preset = to_mapping(preset(chosen(argv, "preset", "tiny")))
    groups = (TrainGPTInput, Flags(TrainGPTConfig, defaults=of_preset), Output, Device, Tracking)
    source, cfg, output, device, tracking = parse("train-gpt", argv, *groups, more=listed_trackers())

    from boardgame_sae.model.legality import legality_text
    from boardgame_sae.model.train import train_gpt_run
    from boardgame_sae.transcripts.corpus import Corpus

    corpus = Corpus.open(source.corpus)
    how = {"device": device.device, "devices": source.devices, "tracker": tracking.tracker}
    folder = train_gpt_run(corpus, cfg, out=output.out, **how)
    say(legality_text(folder))
    return folder
