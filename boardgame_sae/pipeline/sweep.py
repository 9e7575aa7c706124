"""The whole pipeline from one YAML file: corpus, GPT, probes, testbeds, a grid of SAEs, and scores with baselines.

Each stage has its own run folder, so that a killed sweep resumes where it stopped, and a changed one reuses every
stage that the change does not affect.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from boardgame_sae.activations.hook_points import hook_width
from boardgame_sae.config import ConfigError, Count, HookName, Name, config, from_mapping, naming, to_mapping
from boardgame_sae.files import RunError, read_json, write_json
from boardgame_sae.games import load_game
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.baselines.registry import twin_baselines
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.model import game_model
from boardgame_sae.model.game_model import GameModel, pick_device
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.trackers.tracker import NONE, check_tracker
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import preset
from boardgame_sae.pipeline.engines.engine import Engine
from boardgame_sae.pipeline.engines.groups import Failure, Job, Place, Scoring, do_groups, listed
from boardgame_sae.pipeline.grid import expand, train_grid
from boardgame_sae.pipeline.plan import Part, plan
from boardgame_sae.pipeline.score import score_with_baselines
from boardgame_sae.pipeline.study_folder import SWEEP_FILE, read_sweep
from boardgame_sae.probes.data import check_known
from boardgame_sae.probes.fit import ProbeConfig, probe_run
from boardgame_sae.runs import Run, run_hash
from boardgame_sae.saes.training.train import TrainSAEConfig, training_identity
from boardgame_sae.testbeds.shipped import find_testbed, read_manifest
from boardgame_sae.testbeds.testbed import load_testbed, testbed_run
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run
from boardgame_sae.transcripts.labels import resolve_read_at
from boardgame_sae.transcripts.tokenization import tokenizer_of

FEW = 12
"""Up to this many SAEs each get a sparse probe at their own L0; beyond that L0 is rounded."""


@config
class SweepConfig:
    """One study: what is played, trained, probed, decomposed and scored."""

    name: Name
    """Name of the study."""
    testbed: str | None = None
    """A testbed to study, its folder or the name of one that ships: then no games are generated and no GPT is trained;
    games and positions are the testbed's, and so are probes where it has any. None: corpus and GPT are made from the
    fields below."""
    corpus: GenerateConfig = GenerateConfig()
    """The games."""
    preset: str = "tiny"
    """The GPT's preset: tiny, small or paper."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of TrainGPTConfig to set differently from the preset."""
    probes: tuple[ProbeConfig, ...] = (ProbeConfig(),)
    """Probes of the trained GPT and of its random-weights twin; the first is the headline, and the probes that
    SAEs are compared with are fitted with its settings."""
    hook_names: tuple[HookName, ...] = ()
    """Hook points to train SAEs at (default: the testbed's, or else the residual stream two thirds up)."""
    n_games: Count = 1000
    """Games per split to score on."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: the game's)."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How the SAEs are trained."""
    saes: tuple[dict[str, Any], ...] = ()
    """SAEs, given by their fields, and by those of their training that differ from `training`; a list as the value of a
    field makes one SAE for each of its entries."""
    random_saes: tuple[dict[str, Any], ...] = ()
    """The same, for the random-weights GPT."""
    baselines: tuple[str, ...] = ()
    """Kinds of SAEs to train beside each SAE of the grid, as it is trained, such as frozen_decoder. Baselines that need
    no training are always scored."""
    suite: Suite = "supervised"
    """Scores to compute."""


class SweepError(RunError):
    """Some SAEs or scores of a study failed; all others are finished."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(
            f"{len(failures)} failed, and all else is done:\n{listed(failures)}\nfix the cause, or take them out of "
            "the study, and run the same command again: it does only what is missing"
        )
        self.failures = tuple(failures)


class Prepared(NamedTuple):
    """What a study's SAEs need: each stage in its folder."""

    folders: dict[str, Any]
    """Paths as `sweep.json` lists them, but for the testbeds."""
    inputs: dict[str, str]
    """Hashes of what the sweep is made from."""
    testbeds: dict[str, Path]
    """The testbed's folder by hook point."""


def sweep_run(
    cfg: SweepConfig,
    *,
    out: str | Path | None = None,
    workers: int = 1,
    device: str = "auto",
    engine: Engine | None = None,
    tracker: str = NONE,
) -> Path:
    """Run a study, or what is missing of it, and return the folder that lists all its runs.

    workers: processes of this machine. engine: what works on the SAEs (default: these processes); the bytes are the
    same with any, on the same kind of machine. tracker: a registered tracker that gets the metrics of the GPT's and the
    SAEs' trainings too.
    Raises SweepError when SAEs or scores failed, after all others are finished; before, as each stage does: ValueError,
    ConfigError, RunError, HookError.
    """
    began = time.perf_counter()
    prepared = prepare(cfg, workers=workers, device=device, tracker=tracker)
    _do_groups(cfg, prepared, None, engine or Engine(), workers, device, tracker)
    folders = prepared.folders
    if cfg.saes:
        folders |= {"testbeds": [_listed_testbed(cfg, folder, device) for folder in prepared.testbeds.values()]}
    with Run("sweep", cfg.name, study_identity(cfg), prepared.inputs, out) as run:
        if not run.done:
            write_json(run / SWEEP_FILE, folders)
            run.log_time("sweep", time.perf_counter() - began)
            run.finish()
        return run.folder


def sweep_part(
    cfg: SweepConfig,
    part: Part,
    *,
    workers: int = 1,
    device: str = "auto",
    engine: Engine | None = None,
    tracker: str = NONE,
) -> int:
    """Run one part of a study's SAEs and scores, and return the number of its groups.

    The parts of a study are worked on by processes that need not know of each other; `sweep_run` then lists the runs.
    Raises as that does.
    """
    prepared = prepare(cfg, workers=workers, device=device, tracker=tracker)
    return _do_groups(cfg, prepared, part, engine or Engine(), workers, device, tracker)


def prepare(cfg: SweepConfig, *, workers: int = 1, device: str = "auto", tracker: str = NONE) -> Prepared:
    """Make all that a study's SAEs need, corpus, GPT, probes and testbeds, or what is missing of it.

    Raises as each stage does: ValueError, ConfigError, RunError, HookError.
    """
    check_tracker(tracker)
    pick_device(device)
    if cfg.testbed is None:
        corpus_folder = generate_run(cfg.corpus, workers=workers)
        corpus = Corpus.open(corpus_folder)
        probed = probe_configs(cfg, corpus)
        model_folder = train_gpt_run(corpus, model_settings(cfg), name=cfg.name, device=device, tracker=tracker)
        folders: dict[str, Any] = {"name": cfg.name, "corpus": str(corpus_folder), "model": str(model_folder)}
        inputs = {"corpus": corpus.hash, "model": run_hash(model_folder)}
        if cfg.saes:
            folders |= fit_probes(GameModel.load(model_folder, device), corpus, probed)
    else:
        folder = find_testbed(cfg.testbed)
        testbed = load_testbed(folder, device)
        folders = {"name": cfg.name, **parts_of(folder)}
        inputs = {"testbed": testbed.hash}
        if "probes" not in folders:
            folders |= fit_probes(testbed.model, testbed.corpus, probe_configs(cfg, testbed.corpus))
    names = (cfg.hook_names or (None,)) if cfg.saes else ()
    testbeds = [_testbed_folder(cfg, folders, name, device) for name in names]
    return Prepared(folders, inputs, {read_manifest(folder).hook_name: folder for folder in testbeds})


def jobs_of(
    cfg: SweepConfig,
    prepared: Prepared,
    part: Part | None,
    engine: Engine,
    device: str = "auto",
    tracker: str = NONE,
) -> list[Job]:
    """What there is to do of a study, or of a part of it. Raises RunError for a testbed that cannot be read."""
    widths = {name: load_testbed(folder, device).width for name, folder in prepared.testbeds.items()}
    groups = plan(widths, cfg.saes, cfg.random_saes, cfg.training, engine.saes_per_group)
    n_saes = sum(len(group.planned) for group in groups if not group.random) // max(1, len(widths))
    scoring = Scoring(cfg.suite, cfg.probes[0], cfg.baselines, exact=n_saes <= FEW)
    n_threads = max(1, int(engine.cpus_per_group or torch.get_num_threads()))
    place = Place.here()
    return [
        Job(group, str(prepared.testbeds[group.hook_name]), scoring, device, n_threads, place, tracker)
        for group in (groups if part is None else part.of(groups))
    ]


def _do_groups(
    cfg: SweepConfig, prepared: Prepared, part: Part | None, engine: Engine, workers: int, device: str, tracker: str
) -> int:
    """Do a study's groups, or those of a part of it; returns their number. Raises SweepError for what failed."""
    jobs = jobs_of(cfg, prepared, part, engine, device, tracker)
    if failures := do_groups(jobs, engine=engine, workers=workers):
        raise SweepError(failures)
    return len(jobs)


def study_identity(cfg: SweepConfig) -> dict[str, Any]:
    """A study as plain data, what its run is known by: without baselines to train where there are none."""
    identity = {**to_mapping(cfg), "training": training_identity(cfg.training)}
    return {name: value for name, value in identity.items() if name != "baselines" or value}


def parts_of(folder: Path) -> dict[str, Any]:
    """Paths of a testbed's corpus and GPT, and of its probes where it was packed with some."""
    manifest = read_manifest(folder)
    paths: dict[str, Any] = {"corpus": str(folder / manifest.corpus), "model": str(folder / manifest.model)}
    if (folder / SWEEP_FILE).exists():
        listed = read_sweep(folder)
        paths["probes"] = [str(folder / path) for path in listed.probes]
        paths["random_probes"] = [str(folder / path) for path in listed.random_probes]
    return paths


def fit_probes(model: GameModel, corpus: Corpus, probed: Sequence[ProbeConfig]) -> dict[str, list[str]]:
    """Probe runs on a GPT (`probes`) and on its random-weights twin (`random_probes`)."""
    return {
        key: [str(probe_run(gpt, corpus, probe_cfg, name=f"{probe_cfg.property}-{name}")) for probe_cfg in probed]
        for key, gpt, name in (("probes", model, "trained"), ("random_probes", model.random_twin(), "random"))
    }


def probe_configs(cfg: SweepConfig, corpus: Corpus) -> list[ProbeConfig]:
    """The study's probes, with defaults filled in. Raises ValueError when the corpus lacks what one needs."""
    game, probed = corpus.game, []
    for probe_cfg in cfg.probes:
        prop = game.property(probe_cfg.property or game.board_property)
        check_known(prop, corpus)
        read_at = resolve_read_at(game, corpus.tokenizer, probe_cfg.positions or cfg.positions)
        probed.append(replace(probe_cfg, property=prop.name, positions=read_at))
    return probed


def model_settings(cfg: SweepConfig) -> Any:
    """The GPT's training config: the preset with the study's changes."""
    return preset(cfg.preset, **cfg.model)


def _testbed_folder(cfg: SweepConfig, folders: Mapping[str, Any], hook_name: str | None, device: str) -> Path:
    """The testbed at a hook point: the one that the study was given, or one made from the same parts."""
    choice: dict[str, Any] = {"n_games": cfg.n_games, "positions": cfg.positions}
    if cfg.testbed is not None:
        folder = find_testbed(cfg.testbed)
        manifest = read_manifest(folder)
        if hook_name in (None, manifest.hook_name):
            return folder
        choice = {key: getattr(manifest, key) for key in ("n_games", "positions", "properties")}
    corpus, model = folders["corpus"], folders["model"]
    return testbed_run(model, corpus, hook_name=hook_name, **choice, name=cfg.name, device=device)


def _listed_testbed(cfg: SweepConfig, folder: Path, device: str) -> dict[str, Any]:
    """The runs on a testbed whose groups are done, as a study lists them."""
    testbed = load_testbed(folder, device)
    trained = train_grid(testbed, cfg.saes, cfg.training, device)
    random = train_grid(testbed.random_twin(), cfg.random_saes, cfg.training, device)
    return score_all(cfg, folder, trained, random, device)


def score_all(
    cfg: SweepConfig, folder: Path, saes: Sequence[Path], random_saes: Sequence[Path], device: str
) -> dict[str, Any]:
    """Score SAEs on a testbed beside every ceiling and floor; returns the paths of all runs, as a study lists them."""
    how: dict[str, Any] = {"suite": cfg.suite, "probes": cfg.probes[0], "device": device, "exact": len(saes) <= FEW}
    scored = score_with_baselines(saes, folder, twins=random_saes, twin_kinds=cfg.baselines, **how)
    return {
        "testbed": str(folder),
        "hook_name": read_manifest(folder).hook_name,
        "saes": [str(path) for path in saes],
        "random_saes": [str(path) for path in random_saes],
        "scores": [str(path) for path in (*scored.saes, *scored.twins)],
        "baselines": str(scored.baselines[0].parent),
        "ceilings": [str(path) for path in scored.ceilings],
    }


def sweep_config(values: Mapping[str, Any], source: str) -> SweepConfig:
    """Validate a study, its grids included, before anything runs. Raises ConfigError, and as `check_study` does."""
    cfg = from_mapping(SweepConfig, values, source)
    check_study(cfg, source)
    return cfg


def check_study(cfg: SweepConfig, source: str) -> None:
    """Raise ConfigError for faults that validating the fields one by one does not show."""
    with naming(source):
        _check(cfg, source)


def _check(cfg: SweepConfig, source: str) -> None:
    scores_in(cfg.suite)
    twin_baselines(cfg.baselines)
    if not cfg.probes:
        raise ConfigError(f"{source}: probes: give at least one; SAEs are compared with it")
    if cfg.testbed is None:
        game, tokenization = load_game(cfg.corpus.game), cfg.corpus.tokenization
        settings = model_settings(cfg)
        d_model, n_layers = settings.d_model, settings.n_layers
    else:
        fixed = ("corpus", "model", "n_games", "positions", "preset")
        changed = [name for name in fixed if getattr(cfg, name) != _unset(name)]
        if changed:
            raise ConfigError(f"{source}: a study of the testbed '{cfg.testbed}' cannot have its own {changed[0]}")
        folder = find_testbed(cfg.testbed)
        card = read_json(folder / read_manifest(folder).model / game_model.CARD_FILE)
        game, tokenization = load_game(card["game"]), card["tokenization"]
        d_model, n_layers = card["gpt"]["d_model"], card["gpt"]["n_layers"]
    small = GPT(GPTConfig(n_layers=n_layers, d_model=1, n_heads=1, d_vocab=1, n_ctx=1))  # with the same hook points
    for hook_name in cfg.hook_names:
        hook_width(small, hook_name)
    for probe_cfg in cfg.probes:
        game.property(probe_cfg.property or game.board_property)
    for read_at in (cfg.positions, *(probe_cfg.positions for probe_cfg in cfg.probes)):
        resolve_read_at(game, tokenizer_of(game, tokenization), read_at)
    for name, entries in (("saes", cfg.saes), ("random_saes", cfg.random_saes)):
        expand(entries, d_model, cfg.training, f"{source}: {name}")


def _unset(name: str) -> Any:
    return getattr(SweepConfig(name="unset"), name)
