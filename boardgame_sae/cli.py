"""One verb per stage: `boardgame-sae VERB ...`. Each verb reads and writes run folders and prints the last one's path.

Fields of a stage's config are flags; `--config FILE.yaml` gives them as YAML; a flag wins over the file. Exit codes:
0 done, 1 a run failed, 2 bad input.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boardgame_sae.config import ConfigError, Flags, read_flags, read_yaml, to_mapping
from boardgame_sae.inputs import (
    CompareInput,
    CorpusInput,
    ExportInput,
    FolderInput,
    ImportInput,
    Machine,
    ManyInput,
    ModelInput,
    Place,
    ReportInput,
    ScoreInput,
    StudyInput,
    TestbedChoice,
    TestbedInput,
    TrainGPTInput,
    Workers,
)
from boardgame_sae.runs import RunError


def _parse(verb: str, argv: Sequence[str], *groups: type | Flags) -> list[Any]:
    """Read a verb's flags, and the YAML file that --config names, into one config for each group."""
    path, words = _take(argv, "--config")
    summary, example, _ = VERBS[verb]
    text = f"{summary}\n\nExample: boardgame-sae {verb} {example}\n\nAny field can be given in --config FILE.yaml too."
    flags = [group if isinstance(group, Flags) else Flags(group) for group in groups]
    return read_flags(verb, text, words, flags, read_yaml(path) if path else {}, path or verb)


def _take(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """A flag's value, if it is given, and the other words. Raises ConfigError when the value is missing."""
    words = list(argv)
    for place, word in enumerate(words):
        if word == flag:
            if place + 1 == len(words):
                raise ConfigError(f"{flag} needs a value")
            return words[place + 1], words[:place] + words[place + 2 :]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1], words[:place] + words[place + 1 :]
    return None, words


def _chosen(argv: Sequence[str], name: str, default: str) -> str:
    """A choice that other defaults hang on: from its flag, else from the YAML file, else the default."""
    path, _ = _take(argv, "--config")
    return _take(argv, f"--{name}")[0] or (read_yaml(path) if path else {}).get(name, default)


def _named(argv: Sequence[str], flag: str) -> list[str]:
    """Leading words without a flag are the values of `flag`."""
    words = list(argv)
    flags = (place for place, word in enumerate(words) if word.startswith("-") and word != "-")
    n_leading = next(flags, len(words))
    return [flag, *words] if n_leading else words


def _generate(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

    cfg, place, workers = _parse("generate", argv, GenerateConfig, Place, Workers)
    return generate_run(cfg, out=place.out, workers=workers.workers)


def _import_pgn(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.pgn import ImportPGNConfig, import_pgn_run, import_table

    own = Flags(ImportPGNConfig, fixed={"players": ("pgn",)})
    cfg, place, workers = _parse("import-pgn", _named(argv, "--sources"), own, Place, Workers)
    folder = import_pgn_run(cfg, out=place.out, workers=workers.workers)
    _say(import_table(folder))
    return folder


def _annotate(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.annotate import AnnotateConfig, annotate_run

    argv = _named(argv, "--corpus")
    source, cfg, place, workers = _parse("annotate", argv, CorpusInput, AnnotateConfig, Place, Workers)
    return annotate_run(source.corpus, cfg, out=place.out, workers=workers.workers)


def _tournament(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.tournament import Standings, TournamentConfig, tournament_run

    cfg, place, workers = _parse("tournament", _named(argv, "--players"), TournamentConfig, Place, Workers)
    folder = tournament_run(cfg, out=place.out, workers=workers.workers)
    _say(Standings.from_json(folder).table())
    return folder


def _train_gpt(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.train import TrainGPTConfig, legality_text, preset, train_gpt_run
    from boardgame_sae.transcripts.corpus import Corpus

    of_preset = to_mapping(preset(_chosen(argv, "preset", "tiny")))
    groups = (TrainGPTInput, Flags(TrainGPTConfig, defaults=of_preset), Place, Machine)
    source, cfg, place, machine = _parse("train-gpt", argv, *groups)
    corpus = Corpus.open(source.corpus)
    folder = train_gpt_run(corpus, cfg, out=place.out, device=machine.device, devices=source.devices)
    _say(legality_text(folder))
    return folder


def _testbed(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.testbed import testbed_run

    source, choice, place, machine = _parse("testbed", argv, ModelInput, TestbedChoice, Place, Machine)
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


def _probe(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.probes import ProbeConfig, probe_results, probe_run
    from boardgame_sae.activations.testbed import load_testbed

    source, cfg, place, machine = _parse("probe", argv, TestbedInput, ProbeConfig, Place, Machine)
    testbed = load_testbed(source.testbed, machine.device)
    cfg = dataclasses.replace(cfg, positions=cfg.positions or testbed.place)
    folder = probe_run(testbed.model, testbed.corpus, cfg, out=place.out)
    _say(f"{'hook point':32}{'accuracy':>10}{'F1':>8}")
    for name, found in probe_results(folder)["hook_points"].items():
        ends = found.get("extremes")
        beside = f"    {ends['low']} against {ends['high']}: {ends['accuracy']:.4f}" if ends else ""
        _say(f"{name:32}{found['accuracy']:10.4f}{found['f1']:8.4f}{beside}")
    return folder


def _train_sae(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.testbed import load_testbed
    from boardgame_sae.saes.sae import config_class
    from boardgame_sae.saes.train import TrainSAEConfig, testbed_metadata, train_saes_run
    from boardgame_sae.studies.sweep import expand

    own = Flags(config_class(_chosen(argv, "architecture", "topk")), defaults={"n_latents": 1024}, fixed={"d_model": 1})
    groups = (TestbedInput, ManyInput, own, TrainSAEConfig, Place, Machine)
    source, many, cfg, training, place, machine = _parse("train-sae", argv, *groups)
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
        _say(str(folder))
    return folders[-1]


def _listed_saes(path: str) -> list[dict[str, Any]]:
    listed = read_yaml(path).get("saes")
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: needs `saes`, a list of mappings such as {{architecture: topk, k: 16}}")
    return listed


def _score(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.shipped import find_testbed
    from boardgame_sae.metrics import score_run
    from boardgame_sae.metrics.score import SCORES_FILE, Scores

    source, machine = _parse("score", _named(argv, "--saes"), ScoreInput, Machine)
    how, testbed = {"suite": source.suite, "device": machine.device}, find_testbed(source.testbed)
    beside = score_run.packed_scores(testbed)
    twins = [] if beside else [score_run.random_gpt_twin(sae, testbed, device=machine.device) for sae in source.saes]
    folders = score_run.score_saes([*source.saes, *twins], testbed, **how)
    if not beside:
        beside = sorted(path for path in score_run.score_baselines(testbed, **how).iterdir() if path.is_dir())
    alike = score_run.score_ceilings(folders[: len(source.saes)], testbed, **how)
    for folder in [*folders, *alike, *beside]:
        found = Scores.from_json(folder / SCORES_FILE)
        _say(f"\n{found.subject['name']} ({found.subject['kind']})\n{found.table()}")
    return folders[0]


def _compare(argv: Sequence[str]) -> Path:
    from boardgame_sae.metrics.compare import compare_run, table

    source, place = _parse("compare", _named(argv, "--scores"), CompareInput, Place)
    folder, found = compare_run(source.scores, source.against, out=place.out)
    _say(table(found))
    return folder


def _sweep(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.train import legality_text
    from boardgame_sae.runs import read_json
    from boardgame_sae.studies.sweep import SWEEP_FILE, sweep_config, sweep_run

    source, place, workers, machine = _parse("sweep", _named(argv, "--study"), StudyInput, Place, Workers, Machine)
    cfg = sweep_config(read_yaml(source.study), source.study)
    folder = sweep_run(cfg, out=place.out, workers=workers.workers, device=machine.device)
    _say(legality_text(read_json(folder / SWEEP_FILE)["model"]))
    return folder


def _pack(argv: Sequence[str]) -> Path:
    from boardgame_sae.studies.pack import pack_config, pack_run

    source, place, workers, machine = _parse("pack", _named(argv, "--study"), StudyInput, Place, Workers, Machine)
    cfg = pack_config(read_yaml(source.study), source.study)
    return pack_run(cfg, out=place.out, workers=workers.workers, device=machine.device)


def _report(argv: Sequence[str]) -> Path:
    from boardgame_sae.report.page import report_run

    source, place = _parse("report", _named(argv, "--runs"), ReportInput, Place)
    folder = report_run(source.runs, out=place.out)
    _say((folder / "table.md").read_text())
    _say(f"open {folder / 'index.html'}")
    return folder


def _export(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import Run, content_of
    from boardgame_sae.saes import exchange
    from boardgame_sae.saes.sae import load_sae

    source, place = _parse("export", _named(argv, "--sae"), ExportInput, Place)
    sae = load_sae(source.sae)
    with Run("export", source.to, {"to": source.to}, {"sae": content_of(source.sae)}, place.out) as run:
        if not run.done:
            getattr(exchange, f"to_{source.to}")(sae, run.folder)
            run.finish()
        return run.folder


def _import(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import Run, content_of
    from boardgame_sae.saes.sae import load_sae

    source, place = _parse("import", _named(argv, "--source"), ImportInput, Place)
    sae = load_sae(source.source)
    with Run("sae", "imported", {"from": source.source}, {"sae": content_of(source.source)}, place.out) as run:
        if not run.done:
            sae.save(run.folder)
            run.finish()
        return run.folder


def _ls(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import read_json, runs_root
    from boardgame_sae.studies.measure import shipped_table

    _parse("ls", argv)
    _say(shipped_table())
    for card in sorted(runs_root().glob("*/*/run.json")):
        done = (card.parent / "DONE").exists()
        facts = read_json(card.parent / "DONE")["summary"] if done else {}
        shown = "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in facts.items())
        _say(f"{'done ' if done else 'OPEN '} {card.parent}  {shown}")
    return runs_root()


def _check(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.shipped import shipped_testbeds
    from boardgame_sae.runs import damaged_files, run_hash
    from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus

    source, machine = _parse("check", _named(argv, "--folders"), FolderInput, Machine)
    folders = [shipped_testbeds().get(name, Path(name)) for name in source.folders]
    for folder in folders:
        run_hash(folder)
        bad = damaged_files(folder)
        if bad:
            raise RunError(f"{folder / bad[0]}: changed or missing since its run finished; make the run again")
        for path in (folder / CORPUS_FILE, folder / "corpus" / CORPUS_FILE):
            if path.exists():
                corpus = Corpus.open(path)
                for split in ("train", "validation", "test"):
                    corpus.boards(corpus.games(split))
                _say(f"{folder}: {len(corpus)} games replayed, every move legal")
        _check_card(folder, machine.device)
        _say(f"{folder}: every file as it was when its run finished")
    return folders[-1]


def _check_card(folder: Path, device: str) -> None:
    """Measure what the card of a packed testbed says again. Raises RunError when a number is not in its interval."""
    from boardgame_sae.studies.measure import NUMBERS_FILE, differing

    if not (folder / NUMBERS_FILE).exists():
        return
    outside = []
    for name, said, now, fits in differing(folder, device):
        _say(
            f"{name:52} {now:.4f}  card: {said.value:.4f} [{said.low:.4f}, {said.high:.4f}]"
            + ("" if fits else "  OUTSIDE")
        )
        outside += [] if fits else [name]
    if outside:
        raise RunError(f"{folder / NUMBERS_FILE}: {outside[0]} is outside its interval; pack the testbed again")


VERBS: dict[str, tuple[str, str, Callable[[Sequence[str]], Path]]] = {
    "generate": ("Play games into a corpus.", "--game othello6 --n-games 100000 --workers 2", _generate),
    "import-pgn": (
        "Read real games of chess into a corpus.",
        "games.pgn.zst --min-elo 1500 --workers 2 --out DIR",
        _import_pgn,
    ),
    "annotate": ("Have an engine evaluate a corpus's positions.", "DIR --engine stockfish:nodes=1000", _annotate),
    "tournament": (
        "Rate players in Elo: all meet all.",
        "random search:depth=1,temperature=8 search:depth=1,temperature=1 --n-games 40 --workers 2",
        _tournament,
    ),
    "train-gpt": ("Train a GPT on a corpus; a killed run resumes by itself.", "--corpus DIR --preset tiny", _train_gpt),
    "testbed": ("Bind a GPT, a hook point, games and truth together.", "--model DIR --corpus DIR", _testbed),
    "probe": ("Fit linear probes on every layer of a testbed's GPT.", "--testbed DIR --property board", _probe),
    "train-sae": ("Train an SAE on a testbed's activations.", "--testbed DIR --architecture topk --k 32", _train_sae),
    "score": ("Score SAEs beside every baseline.", "SAE_DIR ... --testbed DIR --suite supervised", _score),
    "compare": (
        "Say by how much one recipe scores better than another, with intervals.",
        "SCORES_DIR ... --against SCORES_DIR ...",
        _compare,
    ),
    "sweep": ("Run a whole study from a YAML file.", "experiments/demo/study.yaml --workers 2", _sweep),
    "pack": (
        "Make a testbed and pack it into one folder that travels: GPT, held-out games, probes, SAEs, scores, card.",
        "experiments/testbeds/othello6-tiny.yaml --workers 2 --out DIR",
        _pack,
    ),
    "report": ("Tables, figures and the page of some sweeps.", "SWEEP_DIR ...", _report),
    "export": ("Give an SAE to another library.", "SAE_DIR --to sae_lens --out DIR", _export),
    "import": ("Bring in an SAE of SAELens or dictionary_learning.", "FOREIGN_DIR --out DIR", _import),
    "ls": ("List the testbeds and SAEs that ship, and the runs here.", "", _ls),
    "check": (
        "Verify run folders: hashes, shapes, replayed moves; of a packed testbed every number of its card.",
        "DIR ...",
        _check,
    ),
}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _help() -> str:
    lines = ["usage: boardgame-sae VERB [flags]    (boardgame-sae VERB --help shows a verb's flags)", ""]
    lines += [f"  {verb:12}{summary}" for verb, (summary, _, _) in VERBS.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        _say(_help())
        return 0
    if words[0] not in VERBS:
        sys.stderr.write(f"error: unknown verb '{words[0]}'\n{_help()}\n")
        return 2
    try:
        folder = VERBS[words[0]][2](words[1:])
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (RuntimeError, OSError, MemoryError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again, it resumes\n")
        return 130
    _say(str(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
