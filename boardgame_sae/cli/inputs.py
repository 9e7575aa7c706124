"""What the verbs of the command line take besides their stage's own config."""

from typing import Literal

from boardgame_sae.config import config


@config
class Place:
    """Where a verb's folder goes."""

    out: str | None = None
    """Folder to write into (default: a hashed one under data/runs)."""


@config
class Machine:
    """What a verb runs on."""

    device: str = "auto"
    """cpu, cuda, mps or auto."""


@config
class Workers:
    """How many processes."""

    workers: int = 1
    """Worker processes; the result is the same for any number."""


@config
class TrainGPTInput:
    """What a GPT is trained on."""

    corpus: str
    """Folder of a corpus."""
    preset: str = "tiny"
    """tiny, small or paper; other flags change its fields."""
    devices: int = 1
    """How many of the device to train on."""


@config
class ModelInput:
    """A model and the corpus to look at it with."""

    model: str
    """Folder of a trained GPT."""
    corpus: str
    """Folder of a corpus of the same game."""


@config
class TestbedChoice:
    """What a testbed reads and scores."""

    hook_name: str | None = None
    """Hook point (default: two thirds up the residual stream)."""
    properties: tuple[str, ...] = ()
    """Properties to score (default: those of the game)."""
    n_games: int = 1000
    """Games a split."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: the game's)."""


@config
class TestbedInput:
    """A testbed."""

    testbed: str
    """Folder of a testbed, or the name of a shipped one."""


@config
class ManyInput:
    """Many SAEs."""

    saes: str | None = None
    """YAML file whose `saes` lists SAEs by their fields, as a study does, to train together on one stream; then no
    flag describes a single one."""


@config
class ScoreInput:
    """What is scored, on what."""

    saes: tuple[str, ...]
    """Folders of SAEs, or names of shipped ones: `othello6-tiny/topk-16`."""
    testbed: str
    """Folder of a testbed, or the name of a shipped one."""
    suite: str = "supervised"
    """quick, supervised, saebench, causal or all."""


@config
class CompareInput:
    """What is compared with what."""

    scores: tuple[str, ...]
    """Folders of scores; several are seeds of one recipe."""
    against: tuple[str, ...]
    """The same of the other recipe, scored on the same games."""


@config
class StudyInput:
    """A study."""

    study: str
    """Its YAML file: corpus, model, probes, training, saes, random_saes, suite."""


@config
class ReportInput:
    """What a report shows."""

    runs: tuple[str, ...]
    """Folders of sweeps, or of packed testbeds."""


@config
class CorpusInput:
    """A corpus."""

    corpus: str
    """Folder of a corpus."""


@config
class FolderInput:
    """Folders to look at."""

    folders: tuple[str, ...]
    """Run folders, corpora, or names of shipped testbeds."""


@config
class ExportInput:
    """What goes where."""

    source: str
    """Folder of an SAE or of a GPT, or the name of a shipped SAE."""
    to: Literal["sae_lens", "dictionary_learning", "transformer_lens", "hugging_face"] = "sae_lens"
    """The library that is to read it: of an SAE one of the first two, of a GPT one of the others."""


@config
class ImportInput:
    """What is brought in."""

    source: str
    """Folder of an SAE of SAELens or dictionary_learning, or the file of its weights; or a GPT's, by nanoGPT or
    TransformerLens."""
    game: str | None = None
    """What a GPT plays (default: chess of nanoGPT's, othello of TransformerLens's, as published)."""
    n_heads: int | None = None
    """A GPT's attention heads, where its file does not say."""
