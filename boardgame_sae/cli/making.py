"""Verbs that make something: corpora, GPTs, testbeds, probes, SAEs, whole studies."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.cli.flags import chosen, named, parse, say, verb
from boardgame_sae.cli.inputs import (
    CorpusInput,
    Machine,
    ManyInput,
    ModelInput,
    Place,
    StudyInput,
    TestbedChoice,
    TestbedInput,
    TrainGPTInput,
    Workers,
)
from boardgame_sae.config import ConfigError, Flags, read_yaml, to_mapping


@verb("generate", "Play games into a corpus.", "--game othello6 --n-games 100000 --workers 2")
def _generate(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

    cfg, place, workers = parse("generate", argv, GenerateConfig, Place, Workers)
    return generate_run(cfg, out=place.out, workers=workers.workers)


@verb("import-pgn", "Read real games of chess into a corpus.", "games.pgn.zst --min-elo 1500 --workers 2 --out DIR")
def _import_pgn(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig, import_pgn_run, import_table

    own = Flags(ImportPGNConfig, fixed={"players": ("pgn",)})
    cfg, place, workers = parse("import-pgn", named(argv, "--sources"), own, Place, Workers)
    folder = import_pgn_run(cfg, out=place.out, workers=workers.workers)
    say(import_table(folder))
    return folder


@verb("annotate", "Have an engine evaluate a corpus's positions.", "DIR --engine stockfish:nodes=1000")
def _annotate(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.annotate import AnnotateConfig, annotate_run

    argv = named(argv, "--corpus")
    source, cfg, place, workers = parse("annotate", argv, CorpusInput, AnnotateConfig, Place, Workers)
    return annotate_run(source.corpus, cfg, out=place.out, workers=workers.workers)


@verb(
    "tournament",
    "Rate players in Elo, by a round-robin.",
    "random search:depth=1,temperature=8 search:depth=1,temperature=1 --game chess --n-games 40 --workers 2",
)
def _tournament(argv: Sequence[str]) -> Path:
    from boardgame_sae.players.tournament import Standings, TournamentConfig, tournament_run

    cfg, place, workers = parse("tournament", named(argv, "--players"), TournamentConfig, Place, Workers)
    folder = tournament_run(cfg, out=place.out, workers=workers.workers)
    say(Standings.from_json(folder).table())
    return folder


@verb("train-gpt", "Train a GPT on a corpus; a killed run resumes by itself.", "--corpus DIR --preset tiny")
def _train_gpt(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.train import TrainGPTConfig, legality_text, preset, train_gpt_run
    from boardgame_sae.transcripts.corpus import Corpus

    of_preset = to_mapping(preset(chosen(argv, "preset", "tiny")))
    groups = (TrainGPTInput, Flags(TrainGPTConfig, defaults=of_preset), Place, Machine)
    source, cfg, place, machine = parse("train-gpt", argv, *groups)
    corpus = Corpus.open(source.corpus)
    folder = train_gpt_run(corpus, cfg, out=place.out, device=machine.device, devices=source.devices)
    say(legality_text(folder))
    return folder


@verb("testbed", "Bind a GPT, a hook point, games and truth together.", "--model DIR --corpus DIR")
def _testbed(argv: Sequence[str]) -> Path:
    from boardgame_sae.testbeds.testbed import testbed_run

    source, choice, place, machine = parse("testbed", argv, ModelInput, TestbedChoice, Place, Machine)
    return testbed_run(
        source.model,
        source.corpus,
        hook_name=choice.hook_name,
        properties=choice.properties,
        n_games=choice.n_games,
        positions=choice.positions,
        out=place.out,
        device=machine.device,
    )


@verb("probe", "Fit linear probes on every layer of a testbed's GPT.", "--testbed DIR --property board")
def _probe(argv: Sequence[str]) -> Path:
    from boardgame_sae.probes.fit import ProbeConfig, probe_results, probe_run
    from boardgame_sae.testbeds.testbed import load_testbed

    source, cfg, place, machine = parse("probe", argv, TestbedInput, ProbeConfig, Place, Machine)
    testbed = load_testbed(source.testbed, machine.device)
    cfg = dataclasses.replace(cfg, positions=cfg.positions or testbed.place)
    folder = probe_run(testbed.model, testbed.corpus, cfg, out=place.out)
    say(f"{'hook point':32}{'accuracy':>10}{'F1':>8}")
    for name, found in probe_results(folder)["hook_points"].items():
        ends = found.get("extremes")
        beside = f"    {ends['low']} against {ends['high']}: {ends['accuracy']:.4f}" if ends else ""
        say(f"{name:32}{found['accuracy']:10.4f}{found['f1']:8.4f}{beside}")
    return folder


@verb("train-sae", "Train an SAE on a testbed's activations.", "--testbed DIR --architecture topk --k 32")
def _train_sae(argv: Sequence[str]) -> Path:
    from boardgame_sae.pipeline.sweep import expand
    from boardgame_sae.saes.registry import config_class
    from boardgame_sae.saes.training.train import TrainSAEConfig, testbed_metadata, train_saes_run
    from boardgame_sae.testbeds.testbed import load_testbed

    own = Flags(config_class(chosen(argv, "architecture", "topk")), defaults={"n_latents": 1024}, fixed={"d_model": 1})
    groups = (TestbedInput, ManyInput, own, TrainSAEConfig, Place, Machine)
    source, many, cfg, training, place, machine = parse("train-sae", argv, *groups)
    testbed = load_testbed(source.testbed, machine.device)
    cfgs, outs = [dataclasses.replace(cfg, d_model=testbed.width)], [place.out]
    if many.saes is not None:
        cfgs = expand(_listed_saes(many.saes), testbed.width, f"{many.saes}: saes")
        names = [f"{number}-{each.architecture}-{each.n_latents}" for number, each in enumerate(cfgs)]
        outs = [None if place.out is None else str(Path(place.out) / name) for name in names]
    folders = train_saes_run(
        testbed.harvest(training.n_harvested, training.harvest_dtype),
        cfgs,
        training,
        metadata=testbed_metadata(testbed),
        outs=outs,
        device=machine.device,
    )
    for folder in folders[:-1]:
        say(str(folder))
    return folders[-1]


@verb("sweep", "Run a whole study from a YAML file.", "experiments/demo/study.yaml --workers 2")
def _sweep(argv: Sequence[str]) -> Path:
    from boardgame_sae.files import read_json
    from boardgame_sae.model.train import legality_text
    from boardgame_sae.pipeline.study_folder import SWEEP_FILE
    from boardgame_sae.pipeline.sweep import sweep_config, sweep_run

    source, place, workers, machine = parse("sweep", named(argv, "--study"), StudyInput, Place, Workers, Machine)
    cfg = sweep_config(read_yaml(source.study), source.study)
    folder = sweep_run(cfg, out=place.out, workers=workers.workers, device=machine.device)
    say(legality_text(read_json(folder / SWEEP_FILE)["model"]))
    return folder


@verb(
    "pack",
    "Make a testbed and pack it into one folder that travels: GPT, held-out games, probes, SAEs, scores, card.",
    "experiments/testbeds/othello6-tiny.yaml --workers 2 --out DIR",
)
def _pack(argv: Sequence[str]) -> Path:
    from boardgame_sae.shipping.pack import pack_config, pack_run

    source, place, workers, machine = parse("pack", named(argv, "--study"), StudyInput, Place, Workers, Machine)
    cfg = pack_config(read_yaml(source.study), source.study)
    return pack_run(cfg, out=place.out, workers=workers.workers, device=machine.device)


def _listed_saes(path: str) -> list[dict[str, Any]]:
    listed = read_yaml(path).get("saes")
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: needs `saes`, a list of mappings such as {{architecture: topk, k: 16}}")
    return listed
