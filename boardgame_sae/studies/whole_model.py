"""SAEs at every layer and site of a model, after Gemma Scope: where in it does an SAE find the board?

Gemma Scope (Lieberum et al. 2024, arXiv 2408.05147) trained JumpReLU SAEs on the residual stream after every block and
on the output of every attention layer and of every MLP, and released them with their reconstruction and sparsity. What
is *in* an activation there nobody knows. Here a linear probe at each site says how much of the board could be found,
and the supervised scores how much of that each SAE finds.

The study's folder is one that `boardgame-sae report` opens, as a sweep's: every SAE, its scores and its latents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from boardgame_sae.activations.hook_points import hook_width
from boardgame_sae.config import ConfigError, Count, HookName, Name, Natural, NonNegative, config, to_mapping
from boardgame_sae.intervals import pooled
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.statistics.pool_seeds import pool_scores
from boardgame_sae.pipeline.grid import Planned, expand, train_grid
from boardgame_sae.pipeline.sweep import SweepConfig, parts_of, score_all
from boardgame_sae.probes.fit import ProbeConfig
from boardgame_sae.report.figures.style import GREY, INK, LINES, SITES, legend_below
from boardgame_sae.report.titles import setting as setting_of
from boardgame_sae.saes.registry import look
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.study import Plan, Row, Setting, StudyConfig, study
from boardgame_sae.testbeds.shipped import read_manifest
from boardgame_sae.testbeds.testbed import load_testbed, testbed_run

PROBE, SPARSE_PROBE = "linear probe", "probe as sparse"
"""What the table calls the probe with all its outputs, and the one with as many on as the least sparse SAE."""
SCORES = ("coverage", "board_reconstruction")
"""The scores that probes have too."""
DRAWN = {
    "coverage": "coverage, F1 on test",
    "board_reconstruction": "board reconstruction, F1 on test",
    "loss_added": "loss added, share of the GPT's",
}
"""What the figure's rows show, and how their axes are called."""


@config
class WholeModelStudy(StudyConfig):
    """Which sites, which SAEs, and on what they are scored."""

    sites: tuple[HookName, ...] = tuple(SITES)
    """Hook points of a block."""
    layers: tuple[Natural, ...] = ()
    """Blocks, from 0 (default: all)."""
    properties: tuple[Name, ...] = ()
    """Properties that are scored, the headline first (default: the testbed's)."""
    n_games: Count = 400
    """Games per split to score on."""
    saes: tuple[dict[str, Any], ...] = ({"architecture": "topk", "n_latents": 256, "k": 16},)
    """SAEs of each site, as a sweep's YAML lists them; those that differ only in `seed` are shown as one."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How they are trained, those of a site on one stream."""
    probes: ProbeConfig = ProbeConfig()
    """How the probes of each site are fitted."""
    min_cost: NonNegative = 0.02
    """Loss recovered is left out where zeroing the site costs less than this, in nats: a share of nothing."""

    def __post_init__(self) -> None:
        if not (self.sites and self.saes):
            raise ValueError("sites and saes need at least one entry each")


@dataclass
class Model:
    """A testbed's model, whose sites are trained and scored as they are asked for, each once."""

    cfg: WholeModelStudy
    setting: Setting
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is listed of each site, by its hook point."""

    @property
    def hook_names(self) -> list[str]:
        """Every hook point of the study, layer by layer."""
        layers = self.cfg.layers or range(self.setting.testbed.model.gpt.cfg.n_layers)
        return [f"blocks.{layer}.{site}" for layer in layers for site in self.cfg.sites]

    def at(self, hook_name: str) -> dict[str, Any]:
        """Train and score the SAEs of a site beside its probes; finished runs are reused. Their folders, as listed."""
        if hook_name not in self.made:
            manifest, cfg, device = read_manifest(self.setting.folder), self.cfg, self.setting.device
            folder = testbed_run(
                self.setting.folder / manifest.model,
                self.setting.folder / manifest.corpus,
                hook_name=hook_name,
                properties=cfg.properties or manifest.properties,
                n_games=cfg.n_games,
                positions=manifest.positions,
                name="whole_model",
                device=device,
            )
            saes = train_grid(load_testbed(folder, device), cfg.saes, cfg.training, device)
            scoring = SweepConfig(name="whole_model", probes=(cfg.probes,))
            self.made[hook_name] = score_all(scoring, folder, saes, [], device)
        return self.made[hook_name]

    def listing(self) -> dict[str, Any]:
        """All runs, as the folder of a sweep lists them."""
        return {**parts_of(self.setting.folder), "testbeds": [self.at(hook_name) for hook_name in self.hook_names]}


@study("whole_model", WholeModelStudy)
def whole_model(cfg: WholeModelStudy, setting: Setting) -> Plan:
    """Where in a model, layer by layer and site by site, do SAEs find the board, and where could they?"""
    model = Model(cfg, setting)
    widths = [hook_width(setting.testbed.model.gpt, hook_name) for hook_name in model.hook_names]
    planned, *_ = [expand(cfg.saes, width, cfg.training) for width in widths]  # raises before anything is trained
    names = families(planned)
    columns = {"layer": "block", "site": "site", "cost": "zeroing costs, nats", "always_on": "always on"}
    columns |= {f"coverage {name}": f"coverage: {name}" for name in (PROBE, SPARSE_PROBE, *names)}
    rows = [partial(_row, model, hook_name, names) for hook_name in model.hook_names]
    return Plan(rows, columns, partial(figure, planned=planned), listing=model.listing)


def families(planned: Sequence[Planned]) -> dict[str, list[int]]:
    """The SAEs that differ only in their seed, by what the table calls them: `topk 256, k = 16`.

    Raises ConfigError for two that have one name and differ in more, or in nothing.
    """
    found: dict[str, list[int]] = {}
    for index, one in enumerate(planned):
        sae = to_mapping(one.sae)
        words = [f"{sae['architecture']} {sae['n_latents']}", setting_of(sae)]
        found.setdefault(", ".join(filter(None, words)), []).append(index)
    for name, own in found.items():
        seeds = {planned[index].sae.seed for index in own}
        but_for_seeds = [planned[index]._replace(sae=replace(planned[index].sae, seed=0)) for index in own]
        if len(seeds) < len(own) or any(one != but_for_seeds[0] for one in but_for_seeds):
            raise ConfigError(f"saes: two are called {name}; SAEs differ in architecture, width, sparsity or seed")
    return found


def _row(model: Model, hook_name: str, names: Mapping[str, Sequence[int]]) -> Row:
    """All scores of a site, in columns `<score> <subject>`. names: the SAEs of each subject, one for every seed."""
    listed = model.at(hook_name)
    saes = [Scores.load(path) for path in listed["scores"]]
    ceilings = [Scores.load(path) for path in listed["ceilings"]]
    subjects = {name: [saes[index] for index in own] for name, own in names.items()}
    subjects[PROBE] = [Scores.load(Path(listed["baselines"]) / "probe")]
    subjects[SPARSE_PROBE] = [max(ceilings, key=lambda scores: scores.subject["k"])]
    parts = saes[0]["core"].parts
    cost = parts["ce_loss_with_ablation"] - parts["ce_loss_without_sae"]
    _, layer, site = hook_name.split(".", 2)
    row: Row = {"hook_name": hook_name, "layer": int(layer), "site": SITES.get(site, site), "cost": cost}
    row["always_on"] = saes[0]["coverage"].parts["always_on"]
    for name, seeds in subjects.items():
        row |= _numbers(name, seeds, with_loss=cost >= model.cfg.min_cost)
    return row


def _numbers(name: str, seeds: Sequence[Scores], *, with_loss: bool) -> Row:
    """A subject's scores, the means over its seeds, with intervals over games and seeds.

    What is lost when an SAE stands in is left out where that says nothing.
    """
    row: Row = {}
    scores = pool_scores(seeds) if len(seeds) > 1 else seeds[0]
    for score in (*SCORES, *(["core"] if with_loss and "core" in scores else [])):
        value, column = scores[score], f"{'loss_recovered' if score == 'core' else score} {name}"
        row[column] = value.value
        if value.interval is not None:
            row[f"{column}_low"], row[f"{column}_high"] = value.interval
    if "core" in scores:
        core, explained = scores["core"], f"explained_variance {name}"
        row[f"seeds {name}"] = len(seeds)
        row[explained], row[f"l0 {name}"] = (core.parts[part] for part in ("explained_variance", "l0"))
        row[f"{explained}_low"], row[f"{explained}_high"] = core.intervals["explained_variance"]
        (added,) = pooled([_sums(one) for one in seeds], loss_added)
        row[f"loss_added {name}"] = added.value
        row[f"loss_added {name}_low"], row[f"loss_added {name}_high"] = added.interval
    return row


def _sums(scores: Scores) -> GameSums:
    sums = scores["core"].sums
    assert sums is not None
    return sums


def loss_added(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """By how much the GPT's loss rises when an SAE stands in, as a share of it. sums: of the score `core`, (R, 1)."""
    return sums["loss"][:, 0] / sums["loss_clean"][:, 0] - 1


def best_site(rows: Sequence[Row], column: str) -> Row:
    """The row whose number in a column is largest, of equal ones the first."""
    return max(rows, key=lambda row: row[column])


def figure(rows: Sequence[Row], planned: Sequence[Planned]) -> Figure:
    """Each score along the blocks, a column of panels for each kind of site; a star where an SAE or a probe is best."""
    sites = list(dict.fromkeys(row["site"] for row in rows))
    drawn = Figure(figsize=(3.6 * len(sites) + 0.6, 3.0 * len(DRAWN) + 0.6), layout="constrained")
    grid = drawn.subplots(len(DRAWN), len(sites), sharex=True, sharey="row", squeeze=False)
    for (score, title), panels in zip(DRAWN.items(), grid, strict=True):
        for site, axes in zip(sites, panels, strict=True):
            for name, style in _styles(planned).items():
                if f"{score} {name}" in rows[0]:
                    _line(axes, rows, site, f"{score} {name}", label=name, **style)
            axes.set_xticks(sorted({row["layer"] for row in rows}))
        panels[0].set_ylabel(title)
        if score in SCORES:
            panels[0].set_ylim(0, 1.02)
        else:  # from next to nothing to a sixth, and below nothing where an SAE happens to help
            panels[0].set_yscale("symlog", linthresh=1e-3)
            panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for site, axes in zip(sites, grid[0], strict=True):
        chance = [row["always_on"] for row in rows if row["site"] == site]
        axes.axhline(float(np.mean(chance)), color=GREY, linestyle="--", linewidth=1, label="always on (chance)")
    for site, top, bottom in zip(sites, grid[0], grid[-1], strict=True):
        top.set_title(site)
        bottom.set_xlabel("block")
    legend_below(drawn, grid.ravel().tolist(), columns=4)
    return drawn


def _styles(planned: Sequence[Planned]) -> dict[str, dict[str, Any]]:
    """How each subject is drawn: an architecture by its colour and marker, widths by lines, the widest one whole."""
    widths = sorted({one.sae.n_latents for one in planned}, reverse=True)
    styles = {PROBE: {"color": INK, "linestyle": "-"}, SPARSE_PROBE: {"color": INK, "linestyle": ":"}}
    for name, (first, *_) in families(planned).items():
        one = planned[first]
        colour, marker = look(one.sae.architecture)
        line = LINES[widths.index(one.sae.n_latents) % len(LINES)]
        styles[name] = {"color": colour, "marker": marker, "linestyle": line}
    return styles


def _line(axes: Axes, rows: Sequence[Row], site: str, column: str, *, color: str, **style: Any) -> None:
    own = [row for row in rows if row["site"] == site]
    layers = [row["layer"] for row in own]
    axes.plot(layers, [row[column] for row in own], color=color, markersize=4, linewidth=1.3, **style)
    low, high = ([row.get(f"{column}_{end}", row[column]) for row in own] for end in ("low", "high"))
    axes.fill_between(layers, low, high, color=color, alpha=0.15, linewidth=0)
    best = best_site(rows, column)
    if best["site"] == site and not column.startswith("loss_added"):
        axes.plot(best["layer"], best[column], marker="*", markersize=12, color=color, zorder=4)
