"""One verb per stage: `boardgame-sae VERB ...`. Each verb reads and writes run folders and prints the last one's path.

Fields of a stage's config are flags; `--config FILE.yaml` gives them as YAML; a flag wins over the file. Exit codes:
0 done, 1 a run failed, 2 bad input.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from boardgame_sae.config import ConfigError, config, from_mapping, read_yaml
from boardgame_sae.runs import RunError


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


@config
class TestbedInput:
    """A testbed."""

    testbed: str
    """Folder of a testbed, or the name of a shipped one."""


@config
class ScoreInput:
    """What is scored, on what."""

    saes: tuple[str, ...]
    """Folders of SAEs."""
    testbed: str
    """Folder of a testbed, or the name of a shipped one."""
    suite: str = "supervised"
    """quick, supervised, saebench, causal or all."""


@config
class ReportInput:
    """What a report shows."""

    runs: tuple[str, ...]
    """Folders of sweeps."""


@config
class FolderInput:
    """Folders to look at."""

    folders: tuple[str, ...]
    """Run folders, or corpora."""


def _parse(verb: str, argv: Sequence[str], *groups: type) -> list[Any]:
    """Read flags and YAML into one instance of each group; their fields share one flat set of flags.

    Raises ConfigError; leaves with code 2 when a flag is unknown, with 0 after --help.
    """
    import tyro

    argv = list(argv)
    path, given = None, {}
    if "--config" in argv:
        place = argv.index("--config")
        if place + 1 == len(argv):
            raise ConfigError("--config needs the path of a YAML file")
        path = argv[place + 1]
        del argv[place : place + 2]
        given = read_yaml(path)
    fields: list[tuple[str, Any, Any]] = []
    known: dict[str, Any] = {}
    for group in groups:
        hints = get_type_hints(group)
        for field in dataclasses.fields(group):
            if field.name in known:
                continue
            text = getattr(group, "__pydantic_fields__")[field.name].description or ""
            default = given.get(field.name, field.default)
            default = tuple(default) if isinstance(default, list) else default
            default = dataclasses.MISSING if _unset(default) else default
            known[field.name] = hints[field.name]
            kind = Annotated[hints[field.name], tyro.conf.arg(help=text)]
            fields.append((field.name, kind, dataclasses.field(default=default, kw_only=True)))
    strangers = [name for name in given if name not in known]
    if strangers:
        raise ConfigError(f"{path}: unknown field '{strangers[0]}'; the fields are {', '.join(sorted(known))}")
    for group in groups:
        if path is not None:
            own = {field.name: given[field.name] for field in dataclasses.fields(group) if field.name in given}
            missing = {
                f.name: _stand_in(f) for f in dataclasses.fields(group) if f.name not in own and _unset(f.default)
            }
            from_mapping(group, {**missing, **own}, path)
    arguments = dataclasses.make_dataclass(verb.replace("-", "_"), fields)
    summary, example, _ = VERBS[verb]
    text = f"{summary}\n\nExample: boardgame-sae {verb} {example}\n\nAny field can be given in --config FILE.yaml too."
    found = tyro.cli(arguments, args=argv, prog=f"boardgame-sae {verb}", description=text)
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(arguments)}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return [from_mapping(group, {f.name: values[f.name] for f in dataclasses.fields(group)}, verb) for group in groups]


def _unset(value: Any) -> bool:
    return type(value).__name__ in ("PydanticUndefinedType", "_MISSING_TYPE") or value is ...


def _stand_in(field: Any) -> Any:
    """A value of a required field's type, so that the fields a YAML file does give can be checked."""
    return [""] if "tuple" in str(field.type) else ""


def _generate(argv: Sequence[str]) -> Path:
    from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

    cfg, place, workers = _parse("generate", argv, GenerateConfig, Place, Workers)
    return generate_run(cfg, out=place.out, workers=workers.workers)


def _train_gpt(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.train import PRESETS, TrainGPTConfig, preset, train_gpt_run
    from boardgame_sae.transcripts.corpus import Corpus

    given = read_yaml(argv[list(argv).index("--config") + 1]) if "--config" in argv[:-1] else {}
    chosen = _value_of(argv, "--preset") or given.get("preset", "tiny")
    preset(chosen)
    defaults = dataclasses.make_dataclass(
        "defaults", [(f.name, Any, getattr(PRESETS[chosen], f.name)) for f in dataclasses.fields(TrainGPTConfig)]
    )
    where, settings, place, machine = _parse_with_defaults(
        "train-gpt", argv, (TrainGPTInput, TrainGPTConfig, Place, Machine), TrainGPTConfig, defaults()
    )
    corpus = Corpus.open(where.corpus)
    return train_gpt_run(corpus, settings, out=place.out, device=machine.device, devices=where.devices)


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    for place, word in enumerate(argv):
        if word == flag and place + 1 < len(argv):
            return argv[place + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


def _parse_with_defaults(
    verb: str, argv: Sequence[str], groups: Sequence[type], group: type, defaults: Any
) -> list[Any]:
    """`_parse`, with other defaults for one group: those of a preset."""
    from boardgame_sae.config import to_mapping

    fields = [(f.name, get_type_hints(group)[f.name], getattr(defaults, f.name)) for f in dataclasses.fields(group)]
    other = dataclasses.make_dataclass(group.__name__, fields, kw_only=True)
    setattr(other, "__pydantic_fields__", getattr(group, "__pydantic_fields__"))
    found = _parse(verb, argv, *(other if each is group else each for each in groups))
    return [from_mapping(group, to_mapping(part), verb) if isinstance(part, other) else part for part in found]


def _testbed(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.testbed import testbed_run

    source, choice, place, machine = _parse("testbed", argv, ModelInput, TestbedChoice, Place, Machine)
    return testbed_run(
        source.model,
        source.corpus,
        hook_name=choice.hook_name,
        properties=choice.properties,
        n_games=choice.n_games,
        out=place.out,
        device=machine.device,
    )


def _probe(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.probes import ProbeConfig, probe_results, probe_run
    from boardgame_sae.activations.testbed import load_testbed

    source, cfg, place, machine = _parse("probe", argv, TestbedInput, ProbeConfig, Place, Machine)
    testbed = load_testbed(source.testbed, machine.device)
    folder = probe_run(testbed.model, testbed.corpus, cfg, out=place.out)
    _say(f"{'hook point':32}{'accuracy':>10}{'F1':>8}")
    for name, found in probe_results(folder)["hook_points"].items():
        _say(f"{name:32}{found['accuracy']:10.4f}{found['f1']:8.4f}")
    return folder


def _train_sae(argv: Sequence[str]) -> Path:
    from boardgame_sae.activations.testbed import load_testbed
    from boardgame_sae.saes.sae import architectures, sae_config
    from boardgame_sae.saes.train import TrainSAEConfig, testbed_metadata, train_saes_run

    given = read_yaml(argv[list(argv).index("--config") + 1]) if "--config" in argv[:-1] else {}
    chosen = _value_of(argv, "--architecture") or given.get("architecture", "topk")
    if chosen not in architectures():
        raise ConfigError(f"unknown SAE architecture '{chosen}'; there are {', '.join(architectures())}")
    sae_class = type(sae_config(chosen, d_model=1 << 20, n_latents=1 << 20))
    without = [
        (n, t) for n, t in get_type_hints(sae_class).items() if n in sae_class.__dataclass_fields__ and n != "d_model"
    ]  # pyright: ignore[reportAttributeAccessIssue]
    fields = [(n, t, getattr(sae_class, n, dataclasses.MISSING)) for n, t in without]
    fields = [(n, t, 1024 if n == "n_latents" else default) for n, t, default in fields]
    flags = dataclasses.make_dataclass("architecture", fields, kw_only=True)
    setattr(flags, "__pydantic_fields__", getattr(sae_class, "__pydantic_fields__"))
    groups = (TestbedInput, flags, TrainSAEConfig, Place, Machine)
    source, own, training, place, machine = _parse("train-sae", argv, *groups)
    testbed = load_testbed(source.testbed, machine.device)
    cfg = sae_config(**{**dataclasses.asdict(own), "d_model": testbed.width})
    store = testbed.harvest(training.n_harvested)
    return train_saes_run(
        store, [cfg], training, metadata=testbed_metadata(testbed), outs=[place.out], device=machine.device
    )[0]


def _score(argv: Sequence[str]) -> Path:
    from boardgame_sae.metrics.score import Scores
    from boardgame_sae.metrics.score_run import SCORES_FILE, random_gpt_twin, score_baselines, score_saes

    words = list(argv)
    split = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    words = [*(["--saes", *words[:split]] if split else []), *words[split:]]
    source, machine = _parse("score", words, ScoreInput, Machine)
    twins = [random_gpt_twin(folder, source.testbed, device=machine.device) for folder in source.saes]
    folders = score_saes([*source.saes, *twins], source.testbed, suite=source.suite, device=machine.device)
    beside = score_baselines(source.testbed, suite=source.suite, device=machine.device)
    for folder in [*folders, *sorted(path for path in beside.iterdir() if path.is_dir())]:
        found = Scores.from_json(folder / SCORES_FILE)
        _say(f"\n{found.subject['name']} ({found.subject['kind']})\n{found.table()}")
    return folders[0]


def _sweep(argv: Sequence[str]) -> Path:
    from boardgame_sae.studies.sweep import sweep_config, sweep_run

    words = list(argv)
    if words and not words[0].startswith("-"):
        words = ["--config", *words]
    path = _value_of(words, "--config")
    if path is None and not {"-h", "--help"} & set(words):
        raise ConfigError("give a study: boardgame-sae sweep experiments/demo/study.yaml")
    if path is not None:
        words = [word for word in words if word not in ("--config", path)]
    place, workers, machine = _parse("sweep", words, Place, Workers, Machine)
    assert path is not None
    cfg = sweep_config(read_yaml(path), path)
    return sweep_run(cfg, out=place.out, workers=workers.workers, device=machine.device)


def _report(argv: Sequence[str]) -> Path:
    from boardgame_sae.report.page import report_run

    words = list(argv)
    split = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    source, place = _parse(
        "report", [*(["--runs", *words[:split]] if split else []), *words[split:]], ReportInput, Place
    )
    return report_run(source.runs, out=place.out)


def _ls(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import read_json, runs_root

    _parse("ls", argv)
    for card in sorted(runs_root().glob("*/*/run.json")):
        done = (card.parent / "DONE").exists()
        facts = read_json(card.parent / "DONE")["summary"] if done else {}
        shown = "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in facts.items())
        _say(f"{'done ' if done else 'OPEN '} {card.parent}  {shown}")
    return runs_root()


def _check(argv: Sequence[str]) -> Path:
    from boardgame_sae.runs import damaged_files, run_hash
    from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus

    words = list(argv)
    (source,) = _parse("check", ["--folders", *words] if words and not words[0].startswith("-") else words, FolderInput)
    for folder in source.folders:
        run_hash(folder)
        bad = damaged_files(folder)
        if bad:
            raise RunError(f"{Path(folder) / bad[0]}: changed or missing since its run finished; make the run again")
        if (Path(folder) / CORPUS_FILE).exists():
            corpus = Corpus.open(folder)
            for split in ("train", "validation", "test"):
                corpus.game.boards(corpus.record(corpus.games(split)))
            _say(f"{folder}: {len(corpus)} games replayed, every move legal")
        _say(f"{folder}: every file as it was when its run finished")
    return Path(source.folders[-1])


VERBS: dict[str, tuple[str, str, Callable[[Sequence[str]], Path]]] = {
    "generate": ("Play games into a corpus.", "--game othello6 --n-games 100000 --workers 2", _generate),
    "train-gpt": ("Train a GPT on a corpus; a killed run resumes by itself.", "--corpus DIR --preset tiny", _train_gpt),
    "testbed": ("Bind a GPT, a hook point, games and truth together.", "--model DIR --corpus DIR", _testbed),
    "probe": ("Fit linear probes on every layer of a testbed's GPT.", "--testbed DIR --property board", _probe),
    "train-sae": ("Train an SAE on a testbed's activations.", "--testbed DIR --architecture topk --k 32", _train_sae),
    "score": ("Score SAEs beside every baseline.", "SAE_DIR ... --testbed DIR --suite supervised", _score),
    "sweep": ("Run a whole study from a YAML file.", "experiments/demo/study.yaml --workers 2", _sweep),
    "report": ("Tables, figures and the page of some sweeps.", "SWEEP_DIR ...", _report),
    "ls": ("List the runs here.", "", _ls),
    "check": ("Verify run folders: hashes, shapes, replayed moves.", "DIR ...", _check),
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
    except (RunError, OSError, MemoryError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again, it resumes\n")
        return 130
    _say(str(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
