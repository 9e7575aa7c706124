"""Does a short fine-tuning by KL and MSE make an SAE serve the GPT, and what does it do to what its latents mean?

The paper's claim (Karvonen 2025, arXiv 2503.17272): with 25 million tokens 20 to 50% of the cross-entropy gap is
closed; fine-tuning the SAE, LoRA and adapters do about as well, and not additively; scores that ask for meaning move
either way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from boardgame_sae.config import Seed, config
from boardgame_sae.files import read_json, read_parquet
from boardgame_sae.intervals import pooled
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.score import scores, scores_in
from boardgame_sae.metrics.statistics.pool_seeds import pool
from boardgame_sae.pipeline.score import score_saes
from boardgame_sae.report.figures.style import BLUE, ORANGE, SKY, legend_below
from boardgame_sae.saes.finetuning.finetune import GAMES_FILE, RESULT_FILE, FinetuneConfig, finetune_run
from boardgame_sae.saes.finetuning.gap import gap_closed
from boardgame_sae.saes.finetuning.objective import LossName
from boardgame_sae.saes.finetuning.ways.way import find_way
from boardgame_sae.saes.load import sae_folder
from boardgame_sae.studies.study import Plan, Row, Setting, StudyConfig, study

COLUMNS = {
    "sae": "SAE",
    "how": "what learns",
    "loss": "loss",
    "gap_closed": "gap closed [95% interval]",
    "cross_entropy": "cross-entropy",
    "divergence": "KL",
    "explained_variance": "explained variance",
    "l0": "L0",
}
COLOURS: Mapping[str, str] = {"balanced": BLUE, "kl": ORANGE, "mse": SKY}


@config
class Variant:
    """One fine-tuning."""

    how: str = "full"
    """What learns; `full+lora_model` is one after the other."""
    loss: LossName = "balanced"
    """What is minimised."""


@config
class FinetuneStudy(StudyConfig):
    """What is fine-tuned, and how."""

    saes: tuple[str, ...] = ("othello6-tiny/relu-0.2", "othello6-tiny/topk-16")
    """Folders of SAEs, or names of shipped ones."""
    variants: tuple[Variant, ...] = (Variant(),)
    """The fine-tunings of each."""
    training: FinetuneConfig = FinetuneConfig()
    """Their settings; loss, way and seed are the variant's."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of each; every number is their mean."""
    suite: Suite = "supervised"
    """Scores that are computed before and after."""

    def __post_init__(self) -> None:
        if not (self.saes and self.variants and self.seeds):
            raise ValueError("saes, variants and seeds need at least one entry each")
        for variant in self.variants:
            for how in variant.how.split("+"):
                find_way(how, "variants: ")
        scores_in(self.suite)


@study("finetune", FinetuneStudy, saes=lambda cfg: cfg.saes, version=2)
def finetune(cfg: FinetuneStudy, setting: Setting) -> Plan:
    """How much of the cross-entropy gap does a short fine-tuning close, and what becomes of the scores?"""
    rows: list[Callable[[], Row]] = []
    for sae in cfg.saes:
        rows.append(partial(_untouched, cfg, setting, sae))
        rows += [partial(_tuned, cfg, setting, sae, variant) for variant in cfg.variants]
    titles = {name: score.title for name, score in scores().items() if name in scores_in(cfg.suite)}
    return Plan(rows, COLUMNS | titles, figure)


def _untouched(cfg: FinetuneStudy, setting: Setting, sae: str) -> Row:
    return {"sae": Path(sae).name, "how": "nothing", "loss": "", **_scores(cfg, setting, [sae_folder(sae)])}


def _tuned(cfg: FinetuneStudy, setting: Setting, sae: str, variant: Variant) -> Row:
    """A variant of one SAE, the mean over seeds."""
    by_seed = [_runs(cfg, setting, sae, variant, seed) for seed in cfg.seeds]
    sums = [_sums(runs) for runs in by_seed]
    closed = pooled(sums, lambda s: gap_closed(np.concatenate([s["clean"], s["before"], s["after"]], 1)))[0]
    results = [read_json(runs[-1] / RESULT_FILE) for runs in by_seed]
    names = ("cross_entropy", "divergence", "explained_variance", "l0")
    row: Row = {
        "sae": Path(sae).name, "how": variant.how, "loss": variant.loss, "n_seeds": len(cfg.seeds),
        "gap_closed": closed.value, "gap_closed_low": closed.interval[0], "gap_closed_high": closed.interval[1],
        **{name: float(np.mean([result[name]["after"] for result in results])) for name in names},
    }  # fmt: skip
    is_sae = find_way(variant.how.split("+")[-1]).gives_sae
    return row | (_scores(cfg, setting, [runs[-1] for runs in by_seed]) if is_sae else {})


def _runs(cfg: FinetuneStudy, setting: Setting, sae: str, variant: Variant, seed: int) -> list[Path]:
    """The fine-tunings of a variant, each of what the one before made."""
    runs: list[Path] = []
    for how in variant.how.split("+"):
        training = replace(cfg.training, how=how, loss=variant.loss, seed=seed)
        runs.append(finetune_run(runs[-1] if runs else sae, setting.testbed, training))
    return runs


def _sums(runs: Sequence[Path]) -> GameSums:
    """Cross-entropy of each test game: clean, before the first fine-tuning, after the last."""
    kinds: dict[str, type] = {"clean": float, "before": float, "after": float}
    first, last = (read_parquet(run / GAMES_FILE, kinds, "fine-tune again") for run in (runs[0], runs[-1]))
    return GameSums.dense({"clean": first["clean"], "before": first["before"], "after": last["after"]}, ("clean",))


def _scores(cfg: FinetuneStudy, setting: Setting, saes: Sequence[Path]) -> Row:
    """The scores of an SAE, or of its seeds, with their intervals."""
    folders = score_saes(saes, setting.folder, suite=cfg.suite, device=setting.device)
    row: Row = {}
    for name, value in pool(folders).items():
        if name in scores_in(cfg.suite):
            row[name] = value.value
            if value.interval is not None:
                row[f"{name}_low"], row[f"{name}_high"] = value.interval
    return row


def figure(rows: Sequence[Row]) -> Figure:
    """The share of the gap that each variant closes, SAE by SAE."""
    saes = list(dict.fromkeys(row["sae"] for row in rows))
    drawn = Figure(figsize=(5.2 * len(saes), 4.2), layout="constrained")
    for axes, sae in zip(np.ravel(drawn.subplots(1, len(saes), sharex=True)), saes, strict=True):
        own = [row for row in rows if row["sae"] == sae and "gap_closed" in row][::-1]
        values = [row["gap_closed"] for row in own]
        errors = [
            [row["gap_closed"] - row["gap_closed_low"] for row in own],
            [row["gap_closed_high"] - row["gap_closed"] for row in own],
        ]
        axes.barh(range(len(own)), values, xerr=np.maximum(errors, 0), color=[COLOURS[row["loss"]] for row in own])
        axes.set_yticks(range(len(own)), [f"{row['how'].replace('_', ' ')}, {row['loss']}" for row in own])
        axes.set(title=sae, xlabel="share of the cross-entropy gap closed")
        axes.axvspan(0.2, 0.5, color="#000000", alpha=0.07, zorder=0, label="published: 20 to 50%")
    legend_below(drawn, drawn.axes)
    return drawn
