"""Weights of ours: SAEs, GPTs, probes, resume states."""

from pathlib import Path

import torch

from boardgame_sae.metrics.results import Scores
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.pipeline.comparison import compare_run
from boardgame_sae.probes.fit import load_probe
from boardgame_sae.report.rows import collect
from boardgame_sae.saes.load import load_sae
from boardgame_sae.transcripts.corpus import Corpus
from robustness.entry import entry, use
from robustness.mutations.plain import JSON
from robustness.mutations.raw import RAW, several
from robustness.mutations.tensors import SAFETENSORS
from robustness.seed_files import KILLED


def use_sae(path: Path) -> None:
    """Open an SAE and encode with it."""
    sae = load_sae(path)
    with torch.no_grad():
        sae.decode(sae.encode(torch.ones(2, sae.cfg.d_model)))


def use_gpt(model: GameModel) -> None:
    """Read a few tokens."""
    use(model.hash, model.game, model.tokenizer)
    with torch.no_grad():
        model.gpt(torch.zeros(1, 3, dtype=torch.long))


@entry("safetensors", "sae", "sae.safetensors", by=SAFETENSORS)
@entry("JSON", "sae", "cfg.json", by=JSON)
def sae(folder: Path) -> None:
    """Of ours."""
    use_sae(folder)


@entry("safetensors", "gpt", "model.safetensors", by=SAFETENSORS)
@entry("JSON", "gpt", "cfg.json", by=JSON)
def gpt(folder: Path) -> None:
    """Of ours."""
    use_gpt(GameModel.load(folder, "cpu"))


@entry("safetensors", "probes", "probes.safetensors", by=SAFETENSORS)
@entry("JSON", "probes", "probes.json", by=JSON)
def probes(folder: Path) -> None:
    """Linear probes of the residual stream."""
    probe = load_probe(folder, "blocks.1.hook_resid_post")
    probe.logits(torch.ones(2, 16))


@entry("safetensors", "killed", "state.safetensors", by=SAFETENSORS)
@entry("JSON", "killed", "run.json", by=JSON)
@entry("JSON", "killed", "metrics.jsonl", by=RAW)
def killed(folder: Path) -> None:
    """A training that was killed, and goes on."""
    train_gpt_run(Corpus.open(folder.parent / "corpus"), KILLED, out=folder, device="cpu")


@entry("safetensors", "scores", "coverage.sums.safetensors", by=SAFETENSORS)
@entry("JSON", "scores", "scores.json", by=JSON)
@entry("Parquet", "scores", "latents.parquet", by=(several(RAW),))
def scores(folder: Path) -> None:
    """As tables, reports and `compare` read them."""
    found = Scores.load(folder)
    use(found.table(), found.latents)
    compare_run([folder], [folder], out=folder.parent / "compared")


@entry("Parquet", "scores.parquet", by=(several(RAW),))
def score_file(path: Path) -> None:
    """As tables and `compare` read it."""
    rows = collect([path])
    compare_run([path], [path], out=path.parent / "compared")
    use(rows)
