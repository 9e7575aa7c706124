"""What a study would do: its groups, how large they are, what is done already, and what is left in disk and time.

Sizes follow from the study. Times are measured on the device: a few training steps of each kind of SAE, on random
activations, and a few games read by the GPT. Scoring takes as long as it did for SAEs that were scored here before.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import NamedTuple

import torch

from boardgame_sae.activations.hook_points import default_hook_name, hook_width
from boardgame_sae.activations.store import harvest
from boardgame_sae.metrics import Suite
from boardgame_sae.metrics.baselines.registry import SAE_KIND
from boardgame_sae.metrics.results import SCORES_FILE, Scores
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.model.game_model import GameModel, pick_device
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.pipeline.engines.engine import Engine
from boardgame_sae.pipeline.engines.groups import Job, what_is_done
from boardgame_sae.pipeline.grid import Planned
from boardgame_sae.pipeline.plan import Group, Part, plan
from boardgame_sae.pipeline.sweep import Prepared, SweepConfig, jobs_of, model_settings, prepare
from boardgame_sae.runs import UnfinishedError, finished_only, read_timings, runs_root
from boardgame_sae.runs.integrity import is_done
from boardgame_sae.saes.registry import sae_class, sae_from_config
from boardgame_sae.saes.training.train import TrainSAEConfig, adam, sae_name, settled, training_step
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

STAGES = {"corpus": "games", "gpt": "GPT", "probes": "probes", "testbed": "testbeds"}
"""Kinds of runs that SAEs need, in the order in which they are made."""
MEASURED_SECONDS = 0.3
"""For how long the steps of one kind of SAE are measured."""
MEASURED_GAMES = 64
"""Games that the GPT reads to be measured."""
SHOWN = 4
"""SAEs of a group that are named."""


@dataclass(frozen=True)
class Left:
    """What is left of a group."""

    group: Group
    saes: tuple[Planned, ...]
    """Its SAEs that are not trained yet."""
    scored: bool = False
    """Whether all that it scores is scored already."""
    n_twins: int = 0
    """SAEs that are trained as baselines beside each, at most."""

    @property
    def to_train(self) -> tuple[Planned, ...]:
        """All SAEs to be trained; a twin counts as the SAE that it is trained as."""
        return self.saes if self.scored else (*self.saes, *self.group.planned * self.n_twins)

    @property
    def n_to_score(self) -> int:
        """SAEs to be scored."""
        return 0 if self.scored else len(self.group.planned) * (1 + self.n_twins)


class Reading(NamedTuple):
    """Activations that the GPT has to compute."""

    n: int
    n_bytes: int
    """On disk, none for fresh games."""
    seconds: float | None
    """None without a GPT to measure."""


class Step(NamedTuple):
    """A training step of one kind of SAE."""

    n_parameters: int
    seconds: float


class Past(NamedTuple):
    """What SAEs that were scored here before took, on average."""

    n_saes: int
    seconds: float
    n_bytes: float


def forecast_text(
    cfg: SweepConfig, part: Part | None = None, *, workers: int = 1, device: str = "auto", engine: Engine | None = None
) -> str:
    """What a study, or a part of it, would do, as lines of text; nothing is written.

    Raises ConfigError and HookError for a study that could not run.
    """
    engine = engine or Engine()
    prepared, missing = _stages(cfg, device)
    if prepared is None:
        groups = plan(_widths(cfg), cfg.saes, cfg.random_saes, cfg.training, engine.saes_per_group) if cfg.saes else []
        left = [Left(group, group.planned) for group in (groups if part is None else part.of(groups))]
    else:
        left = [_left(job) for job in jobs_of(cfg, prepared, part, engine, device)]
    left = [one if one.group.random else replace(one, n_twins=len(cfg.baselines)) for one in left]
    steps = _measured([one for group in left for one in group.group.planned], device)
    readings, past = _readings(left, prepared, device), _past(cfg.suite)
    n_saes = sum(len(one.group.planned) for one in left)
    lines = [f"{cfg.name}: {n_saes} SAEs; {len(left)} groups that can be worked on side by side"]
    lines += [f"  {number}. {_about(one, steps)}" for number, one in enumerate(left, 1)]
    n_twins = sum(one.n_to_score - len(one.group.planned) for one in left if not one.scored)
    lines += [f"beside them, as baselines: at most {n_twins} SAEs"] if n_twins else []
    lines += [f"first: {', '.join(missing)} (in neither disk nor time below)"] if missing else []
    lines += [_disk(left, steps, readings, past), *_times(left, steps, readings, past, workers)]
    return "\n".join([*lines, "nothing was written"])


def _stages(cfg: SweepConfig, device: str) -> tuple[Prepared | None, list[str]]:
    """What a study's SAEs need, if all of it is there; else what is to be made."""
    try:
        with finished_only():
            return prepare(cfg, device=device), []
    except UnfinishedError as error:
        kinds = list(STAGES)
        return None, [STAGES[kind] for kind in kinds[kinds.index(error.kind) :]]


def _widths(cfg: SweepConfig) -> dict[str, int]:
    """Width of the activations by hook point, of a GPT that is not there yet: those of one that is never trained."""
    if cfg.testbed is not None:
        testbed = load_testbed(cfg.testbed, "cpu")
        model, default = testbed.model, testbed.hook_name
    else:
        own = model_settings(cfg)
        shape = GPTConfig(n_layers=own.n_layers, d_model=own.d_model, n_heads=own.n_heads, d_vocab=2, n_ctx=2)
        model = GameModel(GPT(shape), {})
        default = default_hook_name(model.gpt)
    return {name: hook_width(model.gpt, name) for name in cfg.hook_names or (default,)}


def _left(job: Job) -> Left:
    trained, scored = what_is_done(job)
    return Left(job.group, tuple(one for one in job.group.planned if one not in trained), scored)


def _measured(planned: Sequence[Planned], device: str) -> dict[Planned, Step]:
    """A step of each SAE; those of one architecture, size and batch take the same."""
    known: dict[tuple[object, ...], Step] = {}
    steps: dict[Planned, Step] = {}
    for one in planned:
        training = settled(one.training, sae_class(one.sae.architecture))
        key = (one.sae.architecture, one.sae.d_model, one.sae.n_latents, training.batch_size)
        if key not in known:
            known[key] = _step(one, training.batch_size, pick_device(device))
        steps[one] = known[key]
    return steps


def _step(one: Planned, batch_size: int, device: torch.device) -> Step:
    sae, began, n_steps = sae_from_config(one.sae).to(device), 0.0, 0
    n_parameters = sum(parameter.numel() for parameter in sae.parameters())
    if not sae.trains:
        return Step(n_parameters, 0.0)
    x_ND = torch.randn(batch_size, one.sae.d_model, device=device) / one.sae.d_model**0.5
    sae.begin_training(one.training.n_steps, x_ND)
    optimizer = adam(sae, 1e-4)
    while not n_steps or time.perf_counter() - began < MEASURED_SECONDS:
        float(training_step(sae, optimizer, x_ND, n_steps, 1e-4).total.detach())  # waits for the device
        if not n_steps:
            began = time.perf_counter()  # the first compiles what the others use
        n_steps += 1
    return Step(n_parameters, (time.perf_counter() - began) / max(1, n_steps - 1))


def _readings(left: Sequence[Left], prepared: Prepared | None, device: str) -> list[Reading]:
    """What the GPT has to read: a harvest once for all groups that share it, fresh games for each."""
    readings: dict[tuple[object, ...], Reading] = {}
    for number, one in enumerate(left):
        if not one.saes:
            continue
        group, (sae, training) = one.group, one.saes[0]
        if fresh := training.source == "fresh":
            n, kept, key = training.n_activations // training.reuse, 0, (number,)
        else:
            n, kept = training.n_harvested, 4 if training.harvest_dtype == "float32" else 2
            key = (group.hook_name, group.random, n, kept)
        if key not in readings:
            seconds = None
            if prepared is not None:
                testbed = load_testbed(prepared.testbeds[group.hook_name], device)
                testbed = testbed.random_twin() if group.random else testbed
                if not fresh and _is_harvested(testbed, training):
                    continue
                seconds = n * _seconds_per_activation(testbed)
            readings[key] = Reading(n, n * kept * sae.d_model, seconds)
    return list(readings.values())


def _is_harvested(testbed: Testbed, training: TrainSAEConfig) -> bool:
    try:
        with finished_only():
            testbed.harvest(training.n_harvested, training.harvest_dtype)
    except UnfinishedError:
        return False
    return True


def _seconds_per_activation(testbed: Testbed) -> float:
    games_B = testbed.corpus.games("train")[:MEASURED_GAMES]
    harvest(testbed.model, testbed.corpus, testbed.hook_name, games_B[:2])
    began = time.perf_counter()
    n = len(harvest(testbed.model, testbed.corpus, testbed.hook_name, games_B).cpu())
    return (time.perf_counter() - began) / max(1, n)


def _past(suite: Suite) -> Past | None:
    """What the scores of a suite took for the SAEs that were scored here; None where there is none."""
    names, seconds, sizes = set(scores_in(suite)), list[float](), list[int]()
    for folder in sorted(path for path in (runs_root() / "scores").glob("*") if is_done(path)):
        if not (folder / SCORES_FILE).exists() or Scores.from_json(folder / SCORES_FILE).subject["kind"] != SAE_KIND:
            continue
        took = {timing.what: timing.seconds for timing in read_timings(folder)}
        if names <= took.keys():
            seconds.append(sum(took[name] for name in names))
            sizes.append(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    return Past(len(seconds), mean(seconds), mean(sizes)) if seconds else None


def _about(left: Left, steps: Mapping[Planned, Step]) -> str:
    """A group in a line."""
    group, planned = left.group, left.group.planned
    if not planned:
        return f"{group}: {'done' if left.scored else 'to be scored'}"
    names = [sae_name(one.sae) for one in planned]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    n_latents, n_parameters = sum(one.sae.n_latents for one in planned), sum(steps[one].n_parameters for one in planned)
    done = "done" if left.scored else f"{len(planned) - len(left.saes)} of {len(planned)} trained"
    return (
        f"{group}: {', '.join(names[:SHOWN])}{more}; {n_latents:,} latents, {n_parameters:,} parameters; "
        f"{planned[0].training.n_activations:,} activations; {done}"
    )


def _disk(left: Sequence[Left], steps: Mapping[Planned, Step], readings: Sequence[Reading], past: Past | None) -> str:
    training = [one for group in left for one in group.to_train]
    activations = sum(reading.n_bytes for reading in readings)
    weights = sum(4 * steps[one].n_parameters * (1 + len(one.training.snapshots)) for one in training)
    state = sum(12 * steps[one].n_parameters for one in training)  # weights, and the two moments of Adam
    scores = sum(one.n_to_score for one in left) * (past.n_bytes if past else 0)
    parts = [f"{_size(activations)} of activations", f"{_size(weights)} of SAEs"]
    parts += [f"{_size(scores)} of scores, as those of {past.n_saes} SAEs scored here"] if past else []
    return (
        f"disk: at most {_size(activations + weights + scores)}: {', '.join(parts)}; and {_size(state)} that trainings "
        f"resume from, while they run{'' if past else '; scores not counted'}"
    )


def _times(
    left: Sequence[Left],
    steps: Mapping[Planned, Step],
    readings: Sequence[Reading],
    past: Past | None,
    workers: int,
) -> list[str]:
    """How long it takes, and what that rests on."""
    reading = sum(one.seconds or 0.0 for one in readings)
    training = [sum(one.training.n_steps * steps[one].seconds for one in group.to_train) for group in left]
    scoring = [one.n_to_score * past.seconds if past else 0.0 for one in left]
    n_read = sum(reading.n for reading in readings)
    by_group = [sum(parts) for parts in zip(training, scoring, strict=True)]
    total, longest = reading + sum(by_group), _longest(by_group, workers)
    line = f"time: about {_duration(total)} of one worker"
    line += f", {_duration(reading + longest)} with {workers}" if workers > 1 else ""
    rests = [f"{_duration(sum(training))} of training, by steps measured here on random activations"]
    if any(one.seconds is None for one in readings):
        rests += [f"without the GPT's reading of {n_read:,} activations, as it is not there to be measured"]
    else:
        rests += [f"{_duration(reading)} of reading {n_read:,} activations, by {MEASURED_GAMES} games measured here"]
    rests += [
        f"{_duration(sum(scoring))} of scoring SAEs, by {past.n_saes} scored here"
        if past
        else "without scoring, as no SAE was scored here by all of the suite"
    ]
    return [line, *(f"  {rest}" for rest in rests)]


def _longest(seconds: Sequence[float], workers: int) -> float:
    """When the last worker ends, if each takes the next group as soon as it is free."""
    busy = [0.0] * workers
    for one in seconds:
        busy[busy.index(min(busy))] += one
    return max(busy)


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    for unit, longest in (("s", 120), ("min", 120)):
        if seconds < longest:
            return f"{seconds:.2g} {unit}" if seconds < 10 else f"{seconds:.0f} {unit}"
        seconds /= 60
    return f"{seconds:.1f} h"
