"""The whole road from one YAML file: corpus, GPT, probes, testbeds, a grid of SAEs, and every score beside baselines.

Each stage is a run folder of its own, so that a killed sweep resumes where it stood, and a changed one reuses all that
the change does not touch.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from boardgame_sae.activations.probe_data import check_known
from boardgame_sae.activations.probes import ProbeConfig, probe_run
from boardgame_sae.activations.testbed import Testbed, load_testbed, testbed_run
from boardgame_sae.config import ConfigError, config, from_mapping, to_mapping
from boardgame_sae.games import load_game
from boardgame_sae.metrics.score import SUITES
from boardgame_sae.metrics.score_run import score_baselines, score_ceilings, score_saes
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import preset, train_gpt_run
from boardgame_sae.runs import Run, run_hash, write_json
from boardgame_sae.saes.sae import SAEConfig, sae_config
from boardgame_sae.saes.train import TrainSAEConfig, testbed_metadata, train_saes_run
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run
from boardgame_sae.transcripts.labels import place_name

SWEEP_FILE = "sweep.json"


@config
class SweepConfig:
    """One study: what is played, trained, probed, decomposed and scored."""

    name: str
    """What the study is called."""
    corpus: GenerateConfig = GenerateConfig()
    """The games."""
    preset: str = "tiny"
    """The GPT's preset: tiny, small or paper."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of TrainGPTConfig that differ from the preset."""
    probes: tuple[ProbeConfig, ...] = (ProbeConfig(),)
    """Probes of the trained GPT and of its random-weights twin; the first is the headline, and says how the probes are
    fitted that SAEs are scored beside."""
    hook_names: tuple[str, ...] = ()
    """Hook points to train SAEs at; none: two thirds up the residual stream."""
    n_games: int = 1000
    """Games a split to score on."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: the game's)."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How the SAEs are trained."""
    saes: tuple[dict[str, Any], ...] = ()
    """SAEs, each by its fields; a list as a value stands for one SAE for each of its entries."""
    random_saes: tuple[dict[str, Any], ...] = ()
    """The same, for the random-weights GPT."""
    suite: str = "supervised"
    """Scores to compute."""


def expand(entries: Sequence[Mapping[str, Any]], d_model: int, source: str = "saes") -> list[SAEConfig]:
    """Every SAE of a grid: the product of each entry's lists. Raises ConfigError naming source and entry."""
    found = []
    for place, entry in enumerate(entries):
        if "architecture" not in entry:
            raise ConfigError(f"{source}.{place}: needs an architecture")
        axes = [
            [(name, value) for value in (values if isinstance(values, list) else [values])]
            for name, values in entry.items()
        ]
        try:
            found += [sae_config(**{"d_model": d_model, **dict(chosen)}) for chosen in itertools.product(*axes)]
        except ConfigError as error:
            raise ConfigError(f"{source}.{place}: {error}") from None
    return found


def sweep_run(cfg: SweepConfig, *, out: str | Path | None = None, workers: int = 1, device: str = "auto") -> Path:
    """Run a study (or what is missing of it) and return the folder that lists all its runs."""
    began = time.perf_counter()
    settings = model_settings(cfg)
    corpus_folder = generate_run(cfg.corpus, workers=workers)
    corpus = Corpus.open(corpus_folder)
    probed = _probes(cfg, corpus)
    model_folder = train_gpt_run(corpus, settings, name=cfg.name, device=device)
    folders: dict[str, Any] = {"name": cfg.name, "corpus": str(corpus_folder), "model": str(model_folder)}
    if cfg.saes:
        model = GameModel.load(model_folder, device)
        names = cfg.hook_names or (None,)
        for listed, made, name in (("probes", model, "trained"), ("random_probes", model.random_twin(), "random")):
            folders[listed] = [str(probe_run(made, corpus, each, name=f"{each.property}-{name}")) for each in probed]
        folders["testbeds"] = [
            _testbed_runs(cfg, hook_name, corpus_folder, model_folder, device) for hook_name in names
        ]
    with Run("sweep", cfg.name, to_mapping(cfg), {"corpus": corpus.hash, "model": run_hash(model_folder)}, out) as run:
        if not run.done:
            write_json(run / SWEEP_FILE, folders)
            run.log_time("sweep", time.perf_counter() - began)
            run.finish()
        return run.folder


def _probes(cfg: SweepConfig, corpus: Corpus) -> list[ProbeConfig]:
    """The study's probes, with nothing left to default. Raises ValueError when the corpus lacks what one needs."""
    game, probed = corpus.game, []
    for each in cfg.probes:
        prop = game.property(each.property or game.board_property)
        check_known(prop, corpus)
        place = place_name(game, corpus.tokenization, each.positions or cfg.positions)
        probed.append(replace(each, property=prop.name, positions=place))
    return probed


def model_settings(cfg: SweepConfig) -> Any:
    """The GPT's training config: the preset with the study's changes."""
    return preset(cfg.preset, **cfg.model)


def _testbed_runs(cfg: SweepConfig, hook_name: str | None, corpus: Path, model: Path, device: str) -> dict[str, Any]:
    """Train and score the grid at one hook point."""
    choice = {"hook_name": hook_name, "n_games": cfg.n_games, "positions": cfg.positions}
    folder = testbed_run(model, corpus, **choice, name=cfg.name, device=device)
    testbed = load_testbed(folder, device)
    trained = _train(testbed, cfg.saes, cfg.training, device)
    random = _train(testbed.random_twin(), cfg.random_saes, cfg.training, device)
    how = {"suite": cfg.suite, "probes": cfg.probes[0], "device": device}
    scored = score_saes([*trained, *random], folder, **how)
    baselines, ceilings = score_baselines(folder, **how), score_ceilings(scored[: len(trained)], folder, **how)
    return {
        "testbed": str(folder),
        "hook_name": testbed.hook_name,
        "saes": [str(path) for path in trained],
        "random_saes": [str(path) for path in random],
        "scores": [str(path) for path in scored],
        "baselines": str(baselines),
        "ceilings": [str(path) for path in ceilings],
    }


def _train(testbed: Testbed, entries: Sequence[Mapping[str, Any]], cfg: TrainSAEConfig, device: str) -> list[Path]:
    if not entries:
        return []
    store = testbed.harvest(cfg.n_harvested, cfg.harvest_dtype)
    return train_saes_run(store, expand(entries, testbed.width), cfg, metadata=testbed_metadata(testbed), device=device)


def sweep_config(values: Mapping[str, Any], source: str) -> SweepConfig:
    """Validate a study, its grids included, before anything runs."""
    cfg = from_mapping(SweepConfig, values, source)
    if cfg.suite not in SUITES:
        raise ConfigError(f"{source}: unknown suite '{cfg.suite}'; the suites are {', '.join(SUITES)}")
    if not cfg.probes:
        raise ConfigError(f"{source}: probes: give one at least; SAEs are scored beside it")
    game = load_game(cfg.corpus.game)
    for each in cfg.probes:
        game.property(each.property or game.board_property)
    for place in (cfg.positions, *(each.positions for each in cfg.probes)):
        place_name(game, cfg.corpus.tokenization or game.default_tokenization, place)
    d_model = model_settings(cfg).d_model
    expand(cfg.saes, d_model, f"{source}: saes")
    expand(cfg.random_saes, d_model, f"{source}: random_saes")
    return cfg
