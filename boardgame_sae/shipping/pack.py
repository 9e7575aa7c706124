"""Pack a study into one self-contained folder: a testbed with its GPT, held-out games, probes, SAEs, scores and card.

    testbed.json     which GPT, games, hook point: what `load_testbed` opens
    sweep.json       where everything is, so that `report` reads the folder as it reads a sweep
    model/           the GPT in half precision, its card, learning curve and legality
    corpus/          held-out games; labels are computed when they are needed
    probes/          linear probes, in half precision; of those of the random-weights GPT only the results
    saes/            one folder per SAE, in half precision
    scores/          scores of the SAEs and of everything they are compared with
    card.json        every number of the card, with intervals: what `check` measures again
    timings.jsonl    how long the training took: not on the card, for it differs from one packing to the next

Everything is measured on the folder as it ships: after rounding, on its own games.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from boardgame_sae.config import canonical_json, config, content_hash, from_mapping, to_mapping
from boardgame_sae.files import RunError, file_hash, read_json, write_bytes, write_json, writing
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.results import LATENTS_FILE, SCORES_FILE, Scores
from boardgame_sae.metrics.saebench.result_file import DETAILS
from boardgame_sae.model import game_model
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.legality import LEGALITY_FILE, measure_legality
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.pipeline.grid import expand, train_grid
from boardgame_sae.pipeline.score import ceiling_name, twin_suffix
from boardgame_sae.pipeline.study_folder import SWEEP_FILE
from boardgame_sae.pipeline.sweep import (
    SweepConfig,
    check_study,
    fit_probes,
    model_settings,
    probe_configs,
    score_all,
    study_identity,
)
from boardgame_sae.probes.fit import PROBES_FILE, RESULTS_FILE, ProbeConfig, probe_results
from boardgame_sae.report.figures.style import CURVE_FILE
from boardgame_sae.report.latents.tables import read_latents
from boardgame_sae.report.titles import setting
from boardgame_sae.runs import Run, read_timings, run_hash
from boardgame_sae.runs.integrity import content_of
from boardgame_sae.saes import sae as sae_files
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.training.train import SNAPSHOTS
from boardgame_sae.shipping.card_numbers import NUMBERS_FILE, legality_number, numbers, probe_numbers
from boardgame_sae.shipping.card_page import write_card
from boardgame_sae.testbeds.probing import fit_missing_probes
from boardgame_sae.testbeds.shipped import MANIFEST_FILE, PROBES, SAES, SCORES, shipped_saes
from boardgame_sae.testbeds.testbed import Testbed, load_testbed
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus
from boardgame_sae.transcripts.excerpt import held_out_games, write_excerpt
from boardgame_sae.transcripts.generate import generate_run

FORMAT = 1
"""Increased when the same study comes to be packed differently."""


@config
class PackConfig(SweepConfig):
    """A study to be packed. It ships the games that its corpus holds out from the GPT's training."""

    notes: tuple[str, ...] = ()
    """Known limits for the card, one sentence each."""


def pack_config(values: Mapping[str, Any], source: str) -> PackConfig:
    """Validate a study that is to be packed, before anything runs.

    Raises ConfigError for a bad field, and RunError for one that a packed testbed cannot have.
    """
    cfg = from_mapping(PackConfig, values, source)
    check_study(cfg, source)
    for name in ("testbed", "positions"):
        if getattr(cfg, name) is not None:
            raise RunError(f"{source}: {name}: a packed testbed has its own; leave it out")
    if len(cfg.hook_names) > 1:
        raise RunError(f"{source}: hook_names: a testbed has one hook point; give one, or none for the best probe's")
    for listed in (cfg.saes, cfg.random_saes):
        try:
            planned = expand(listed, model_settings(cfg).d_model, cfg.training)
            sae_names([{**to_mapping(one.sae), **_budget(to_mapping(one.training))} for one in planned])
        except RunError as error:
            raise RunError(f"{source}: {error}") from None
    return cfg


def pack_run(cfg: PackConfig, *, out: str | Path | None = None, workers: int = 1, device: str = "auto") -> Path:
    """Make all that a study needs (or what is missing of it), pack it, and return the folder; a finished one is reused.

    Raises RunError when a weight is too large for half precision.
    """
    corpus = Corpus.open(generate_run(cfg.corpus, workers=workers))
    held_out_games(corpus, cfg.n_games)
    probed = probe_configs(cfg, corpus)
    model_folder = train_gpt_run(corpus, model_settings(cfg), name=cfg.name, device=device)
    made_of, content = {"model": run_hash(model_folder)}, {"model": content_of(model_folder)}
    with Run("testbed", cfg.name, {**study_identity(cfg), "format": FORMAT}, made_of, out, content=content) as run:
        if run.done:
            return run.folder
        if not (run / f"corpus/{CORPUS_FILE}").exists():
            write_excerpt(corpus, run / f"corpus/{CORPUS_FILE}", cfg.n_games)
        corpus = Corpus.open(run / "corpus")
        model = _model(run, model_folder, corpus, device)
        probes = fit_probes(model, corpus, probed)
        listed = {"name": cfg.name, "corpus": "corpus", "model": "model", **_probes(run, probes)}
        first = probes["probes"][0]
        hook_name = next(iter(cfg.hook_names), None) or _best_hook_point(model, corpus, first, cfg.n_games)
        testbed = Testbed(model, corpus, hook_name, n_games=cfg.n_games)
        own = {key: testbed.identity[key] for key in ("hook_name", "properties", "n_games", "positions")}
        write_json(run / MANIFEST_FILE, {**own, "model": "model", "corpus": "corpus", "content": testbed.made_of})
        _scored_probes(run, probed[0], device)
        testbed = load_testbed(run.folder, device)
        trained = train_grid(testbed, cfg.saes, cfg.training, device)
        random = train_grid(testbed.random_twin(), cfg.random_saes, cfg.training, device)
        names = sae_names([_recipe(folder) for folder in trained])
        shipped = [_sae(run, folder, name) for folder, name in zip(trained, names, strict=True)]
        scored = score_all(cfg, run.folder, shipped, random, device)
        write_json(run / SWEEP_FILE, {**listed, "testbeds": [_scores(run, scored)]})
        write_json(run / NUMBERS_FILE, _card(run, cfg, model_folder, device))
        write_card(run.folder, NUMBERS_FILE)
        run.log_time("train GPT", _seconds(model_folder))
        run.log_time("train SAEs", sum(map(_seconds, trained)))
        run.finish(_optional(run.folder), hook_name=hook_name)
        return run.folder


def _optional(folder: Path) -> list[str]:
    """What a small copy of a testbed, as a wheel holds it, may do without: any SAE, and how it was during training."""
    saes = shipped_saes(folder).values()
    return [str(part.relative_to(folder)) for sae in saes for part in (sae, sae / SNAPSHOTS) if part.exists()]


def _best_hook_point(model: GameModel, corpus: Corpus, probe: str, n_games: int) -> str:
    """Where a probe reads validation games best: after a block, or anywhere if it was fitted after none."""
    accuracies = probe_numbers(model, corpus, probe, corpus.games("validation")[:n_games])
    after_blocks = [name for name in accuracies if name.endswith("hook_resid_post")]
    return max(after_blocks or accuracies, key=lambda name: accuracies[name][""].value)


def halve(source: Path, target: Path) -> None:
    """Copy a safetensors file with its matrices in half precision; vectors stay as they are.

    Raises RunError naming a matrix with a number that half precision cannot hold.
    """
    tensors = load_file(source)
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and tensor.is_floating_point():
            tensors[name] = tensor.to(torch.float16).contiguous()
            if not torch.isfinite(tensors[name]).all():
                raise RunError(f"{source}: '{name}' has a number too large for half precision; it cannot be packed")
    with writing(target) as temporary:
        save_file(tensors, temporary)


def _model(run: Run, folder: Path, corpus: Corpus, device: str) -> GameModel:
    """The GPT as it ships, beside its learning curve and its legality on the games that ship."""
    card, here = read_json(folder / game_model.CARD_FILE), run / "model"
    halve(folder / game_model.WEIGHTS_FILE, here / game_model.WEIGHTS_FILE)
    weights = file_hash(here / game_model.WEIGHTS_FILE)
    made_of = {"of": card["hash"], "weights": weights}
    write_json(here / game_model.CARD_FILE, {**card, "hash": content_hash(made_of), "precision": "float16"})
    shutil.copy(folder / CURVE_FILE, here / CURVE_FILE)
    model = GameModel.load(here, device)
    if not (here / LEGALITY_FILE).exists():
        random = read_json(folder / LEGALITY_FILE)["random_weights"]
        by_split = {split: measure_legality(model, corpus, split, 1000) for split in ("validation", "test")}
        write_json(here / LEGALITY_FILE, {**by_split, "random_weights": random})
    return model


def _probes(run: Run, fitted: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Copy the study's probes, and the results of those of the random-weights GPT."""
    names = [_probe_name(probe_results(folder)) for folder in fitted["probes"]]
    for name, trained, random in zip(names, fitted["probes"], fitted["random_probes"], strict=True):
        _probe(run, Path(trained), name)
        (run / f"{PROBES}/{name}-random").mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(random) / RESULTS_FILE, run / f"{PROBES}/{name}-random/{RESULTS_FILE}")
    folders = [f"{PROBES}/{name}" for name in names]
    return {"probes": folders, "random_probes": [f"{folder}-random" for folder in folders]}


def _probe_name(about: Mapping[str, Any]) -> str:
    """`piece-ply-from-20`: what a probe reads, where, and from which ply on."""
    start = f"-from-{about['min_ply']}" if about["min_ply"] else ""
    return f"{about['property']}-{about['positions']}{start}"


def _probe(run: Run, folder: Path, name: str) -> None:
    halve(folder / PROBES_FILE, run / f"{PROBES}/{name}/{PROBES_FILE}")
    shutil.copy(folder / RESULTS_FILE, run / f"{PROBES}/{name}/{RESULTS_FILE}")


def _scored_probes(run: Run, probes: ProbeConfig, device: str) -> None:
    """Fit and copy what is missing of the probes that SAEs are scored beside: those of every supported property."""
    for _, folder in fit_missing_probes(load_testbed(run.folder, device), probes):
        _probe(run, folder, _probe_name(probe_results(folder)))


def _sae(run: Run, folder: Path, name: str) -> Path:
    """Copy an SAE with its training curve."""
    here = run / f"{SAES}/{name}"
    halve(folder / sae_files.WEIGHTS_FILE, here / sae_files.WEIGHTS_FILE)
    shutil.copy(folder / sae_files.CONFIG_FILE, here / sae_files.CONFIG_FILE)
    if (folder / CURVE_FILE).exists():
        shutil.copy(folder / CURVE_FILE, here / CURVE_FILE)
    for snapshot in sorted((folder / SNAPSHOTS).glob("0.*")):  # the whole training's is the SAE itself
        _sae(run, snapshot, f"{name}/{SNAPSHOTS}/{snapshot.name}")
    return here


def _recipe(folder: Path) -> dict[str, Any]:
    """How an SAE was trained, as `sae_names` reads it."""
    sae = load_sae(folder)
    return {**sae.trained_as, **_budget(sae.metadata["training"])}


def _budget(training: Mapping[str, Any]) -> dict[str, Any]:
    return {"n_activations": training["n_activations"]}


def sae_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of SAEs by how they were trained: `topk-16`; where some would share one, what differs is added.

    That is the width, the seed and the training activations: `topk-16-seed-1`, `topk-16-1024-100M`.
    Raises RunError when these do not tell two apart.
    """
    short = [_short_name(sae) for sae in configs]
    alike = {name: [sae for sae, own in zip(configs, short, strict=True) if own == name] for name in short}
    names = [name + _what_differs(sae, alike[name]) for sae, name in zip(configs, short, strict=True)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RunError(f"two SAEs would be called {twice[0]}; pack SAEs that differ in sparsity, width, seed or budget")
    return names


def _what_differs(sae: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> str:
    """The ending of an SAE's name that tells it from those that would be called alike."""
    endings = {
        "n_latents": f"-{sae['n_latents']}",
        "seed": f"-seed-{sae['seed']}",
        "n_activations": f"-{sae.get('n_activations', 0) / 1e6:g}M",
    }
    return "".join(ending for name, ending in endings.items() if len({other.get(name) for other in alike}) > 1)


def _short_name(sae: Mapping[str, Any]) -> str:
    return f"{sae['architecture']}-{setting(sae).rpartition(' = ')[2] or sae['n_latents']}"


def _scores(run: Run, scored: Mapping[str, Any]) -> dict[str, Any]:
    """Copy all scores but their rows, and list them as a sweep does, by their places in the folder."""

    def copied(folder: str | Path, name: str) -> str:
        scores = read_json(Path(folder) / SCORES_FILE)
        kind, is_sae = scores["subject"]["kind"], "sae" in scores["subject"]
        if is_sae and kind != SAE_KIND:  # a twin does not ship, so that its folder's name says nothing here
            scores["subject"]["name"] = name
        for value in scores["scores"].values():  # a third of all, and for SAEBench's files, which scoring writes
            value["details"].pop(DETAILS, None)
        write_bytes(run / f"{SCORES}/{name}/{SCORES_FILE}", canonical_json(scores).encode())
        if kind == SAE_KIND:
            read_latents(folder)
            shutil.copy(Path(folder) / LATENTS_FILE, run / f"{SCORES}/{name}/{LATENTS_FILE}")
        return f"{SCORES}/{name}"

    for kind in sorted(path for path in Path(scored["baselines"]).iterdir() if path.is_dir()):
        copied(kind, f"baselines/{kind.name}")
    n_saes = len(scored["saes"])
    names = [Path(folder).name for folder in scored["saes"]]
    names += _twin_names(scored["scores"][n_saes:])
    return {
        "testbed": ".",
        "hook_name": scored["hook_name"],
        "saes": [f"{SAES}/{name}" for name in names[:n_saes]],
        "random_saes": [],
        "scores": [copied(folder, name) for folder, name in zip(scored["scores"], names, strict=True)],
        "baselines": f"{SCORES}/baselines",
        "ceilings": [copied(folder, _ceiling_name(folder)) for folder in scored["ceilings"]],
    }


def _twin_names(folders: Sequence[str]) -> list[str]:
    """What the scores of SAEs' twins are called: `random-gpt-topk-16`."""
    subjects = [read_json(Path(folder) / SCORES_FILE)["subject"] for folder in folders]
    kinds = [subject["kind"] for subject in subjects]
    of_kind = {
        kind: iter(sae_names([subject["sae"] for subject in subjects if subject["kind"] == kind])) for kind in kinds
    }
    return [f"{twin_suffix(kind)}-{next(of_kind[kind])}" for kind in kinds]


def _ceiling_name(folder: str) -> str:
    """What the scores of a baseline made for a sparsity are called."""
    subject = Scores.from_json(Path(folder) / SCORES_FILE).subject
    return ceiling_name(subject["kind"], subject["k"])


def _card(run: Run, cfg: PackConfig, model_folder: Path, device: str) -> dict[str, Any]:
    """What the card says: every number with its interval, and the main ones with the GPT's weights not rounded."""
    testbed = load_testbed(run.folder, device)
    exact = Testbed(GameModel.load(model_folder, device), testbed.corpus, testbed.hook_name, n_games=testbed.n_games)
    first = run / read_json(run / SWEEP_FILE)["probes"][0]
    unrounded = {"legality": legality_number(exact).value}
    games_B = testbed.corpus.games("test")[: testbed.n_games]
    by_hook_point = probe_numbers(exact.model, exact.corpus, first, games_B)
    unrounded |= {f"probe/{first.name}/{name}": accuracies[""].value for name, accuracies in by_hook_point.items()}
    return {
        "name": cfg.name,
        "game": testbed.corpus.game.spec,
        "hook_name": testbed.hook_name,
        "hash": testbed.hash,
        "numbers": dict(numbers(run.folder, device)),
        "unrounded": unrounded,
        "notes": list(cfg.notes),
    }


def _seconds(folder: Path) -> float:
    """Seconds that a run trained: all its steps as fast as in its last session, shared with those trained beside it."""
    trained = [timing for timing in read_timings(folder) if timing.what == "train"]
    if not trained:
        return 0.0
    last = trained[-1]
    return last.seconds * last.n_steps / last.steps / (1 + last.beside)
