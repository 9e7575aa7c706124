"""Train many SAEs on one activation stream, each in its own run folder.

An SAE's weights depend on its own config and on the stream alone, never on which others train beside it: ten trained
together, or one after the other, or killed halfway and resumed, have the same bytes.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boardgame_sae.activations.stream import ActivationSource
from boardgame_sae.config import canonical_json, seed_for, to_mapping
from boardgame_sae.files import RunError
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.model.float64 import exact
from boardgame_sae.model.game_model import pick_device
from boardgame_sae.model.trackers.tracker import NONE, tracked
from boardgame_sae.runs import Run, progress, warn
from boardgame_sae.runs.state import pack_state, unpack_state
from boardgame_sae.saes.configs.training import TrainSAEConfig
from boardgame_sae.saes.registry import sae_class, sae_from_config, sparsity_field
from boardgame_sae.saes.sae import SAE, Loss, SAEConfig
from boardgame_sae.saes.training.adam import Adam
from boardgame_sae.saes.training.freeze import FrozenWeights, check_freezable
from boardgame_sae.saes.training.recipe import batch_size_for, learning_rate_for
from boardgame_sae.weights import not_finite

SNAPSHOTS = "snapshots"
"""The folder of an SAE's run that holds how it was earlier."""
OWN_FIELDS = frozenset({"lr", "lr_warmup", "lr_decay", "dead_window", "log_every", "snapshots", "frozen"})
"""Fields of a training in which SAEs on one stream may differ."""


def settled(cfg: TrainSAEConfig, sae: type[SAE]) -> TrainSAEConfig:
    """A training with what it leaves open set as is good for an architecture at its budget."""
    batch_size = cfg.batch_size or batch_size_for(cfg.n_activations)
    lr = cfg.lr or learning_rate_for(cfg.n_activations, sae.learning_rates)
    return replace(cfg, batch_size=batch_size, lr=lr)


def stream_of(cfg: TrainSAEConfig) -> dict[str, Any]:
    """What of a training decides which activations are read, in which order: SAEs that agree in it share a stream."""
    unused = {"n_harvested", "harvest_dtype"} if cfg.source == "fresh" else {"reuse"}
    fields = to_mapping(replace(cfg, batch_size=cfg.batch_size or batch_size_for(cfg.n_activations)))
    return {name: value for name, value in fields.items() if name not in OWN_FIELDS | unused}


def lr_factor(step: int, cfg: TrainSAEConfig) -> float:
    """Share of the peak learning rate at a step: warm-up, stable, linear decay to zero."""
    warmup, decay = max(1.0, cfg.n_steps * cfg.lr_warmup), max(1.0, cfg.n_steps * cfg.lr_decay)
    return min(1.0, (step + 1) / warmup, (cfg.n_steps - step) / decay)


class _Trainee:
    """One SAE on the stream: its run, optimiser and step."""

    def __init__(self, sae_cfg: SAEConfig, cfg: TrainSAEConfig, run: Run, first_ND: Tensor) -> None:
        self.cfg, self.run = cfg, run
        self.sae = sae_from_config(sae_cfg).to(first_ND.device)
        self.sae.begin_training(cfg.n_steps, first_ND)
        self.frozen = FrozenWeights(self.sae, cfg.frozen)
        self.optimizer = adam(self.sae, cfg.lr)
        self.step = 0 if self.sae.trains else cfg.n_steps
        self.saved = 0
        """The step of the last good state, 0 before there is one."""
        self.faulty = torch.tensor(-1, device=first_ND.device)
        """The first step whose loss was not finite, -1 before there is one: on the device, so that no step waits."""
        self.failure: str | None = None
        """Why it trains no more."""
        saved = run.load_state()
        if saved is not None:
            state = unpack_state(saved[0], saved[1]["state"])
            self.sae.load_state_dict(state["sae"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = self.saved = saved[1]["step"]

    def advance(self, x_ND: Tensor) -> None:
        """One optimiser step."""
        loss = training_step(self.sae, self.optimizer, x_ND, self.step, self.cfg.lr * lr_factor(self.step, self.cfg))
        self.frozen.hold()
        self.step += 1
        first = (self.faulty < 0) & ~loss.total.detach().isfinite()
        self.faulty = torch.where(first, self.step, self.faulty)
        if (self.step % self.cfg.log_every == 0 or self.step == self.cfg.n_steps) and self.is_good():
            self._log(x_ND, loss)

    def is_good(self) -> bool:
        """Whether every loss so far, and every weight now, is finite; if not, `failure` says what is not."""
        if self.failure is None and int(self.faulty) >= 0:
            self.failure = (
                f"the loss is not finite at step {int(self.faulty)}, whose batch is number {int(self.faulty) - 1}"
            )
        elif self.failure is None and (names := not_finite(dict(self.sae.named_parameters()))):
            self.failure = (
                f"{names[0]} is no longer finite after step {self.step}, whose batch is number {self.step - 1}"
            )
        return self.failure is None

    def _log(self, x_ND: Tensor, loss: Loss) -> None:
        variance = (x_ND - x_ND.mean(0)).pow(2).sum()
        self.run.log(
            step=self.step,
            loss=float(loss.total.detach()),
            reconstruction=float(loss.reconstruction.detach()),
            sparsity=float(loss.sparsity.detach()),
            auxiliary=float(loss.auxiliary.detach()),
            explained_variance=float(1 - (x_ND - loss.x_hat_ND.detach()).pow(2).sum() / variance) if variance else 0.0,
            l0=loss.active.l0(loss.z),
            dead=float(self.sae.dead_F(self.cfg.dead_window).float().mean()),
        )

    def report(self, stream: Path) -> str:
        """Why its training stopped, where, and what is left."""
        good = f"the last good checkpoint is of step {self.saved}" if self.saved else "no checkpoint was saved before"
        return f"{self.run.folder}: {self.failure} of {stream}; {good}; train it with a lower lr than {self.cfg.lr}"

    def save_state(self) -> None:
        """Write what a killed run resumes from; never over a good state when something is not finite any more."""
        if not self.is_good():
            return
        tensors, plain = pack_state({"sae": self.sae.state_dict(), "optimizer": self.optimizer.state_dict()})
        self.run.save_state(tensors, {"step": self.step, "state": plain})
        self.saved = self.step

    def finish(self, scale: float, metadata: dict[str, Any], batches: list[Tensor]) -> None:
        """Calibrate, save the inference form for raw activations, and mark the run done.

        batches: raw activations to calibrate on, and to measure on what the saved SAE does.
        """
        at_inference = self._save(self.sae, self.run.folder, scale, metadata, batches)
        dead = float(self.sae.dead_F(self.cfg.dead_window).float().mean())
        self.run.finish(n_steps=self.step, dead=dead, **at_inference)

    def keep_snapshot(self, scale: float, metadata: dict[str, Any], batches: list[Tensor]) -> None:
        """If one is due at this step, save the SAE as it is, ready for use; its training goes on undisturbed."""
        for share in self.cfg.snapshots:
            if self.step == snapshot_step(share, self.cfg):
                about = {**metadata, "snapshot": {"share": share, "step": self.step}}
                self._save(copy.deepcopy(self.sae), self.run / f"{SNAPSHOTS}/{share:g}", scale, about, batches)

    def _save(
        self, sae: SAE, folder: Path, scale: float, metadata: dict[str, Any], batches: list[Tensor]
    ) -> dict[str, float]:
        """Save the inference form of an SAE for raw activations, and return what it does at inference."""
        sae.fold_scale(scale)
        sae.calibrate(batches)
        at_inference = measure(sae.inference(), batches)
        warnings = useless(at_inference)
        sae.metadata = {
            **metadata, "activation_scale": scale, "training": to_mapping(self.cfg), "inference": at_inference,
            **({"warnings": warnings} if warnings else {}),
        }  # fmt: skip
        for warning in warnings:
            warn(f"{folder}: {warning}")
        sae.save(folder)
        return at_inference


def snapshot_step(share: float, cfg: TrainSAEConfig) -> int:
    """The step after which a snapshot is kept; the first at the earliest."""
    return max(1, round(share * cfg.n_steps))


def useless(at_inference: Mapping[str, float]) -> list[str]:
    """What makes an SAE that was trained worthless, by what `measure` found; nothing of a sound one."""
    warnings = []
    if at_inference["alive"] == 0:
        warnings.append("every latent of this SAE is dead: it says nothing; train with less sparsity or a lower lr")
    if at_inference["explained_variance"] < 0:
        warnings.append(
            f"this SAE's explained variance is {at_inference['explained_variance']:.3g}, below zero: the mean of the "
            "activations reconstructs them better; train for longer, with less sparsity or with another lr"
        )
    return warnings


def adam(sae: SAE, lr: float) -> Adam:
    """The optimiser of an SAE."""
    return Adam(sae.parameters(), lr, sae.betas)


def training_step(sae: SAE, optimizer: Adam, x_ND: Tensor, step: int, lr: float) -> Loss:
    """One optimiser step of an SAE on a batch, at a learning rate; returns the loss before it."""
    loss = sae.loss(x_ND, step)
    loss.total.backward()
    sae.constrain_gradient()
    if sae.grad_clip is not None:
        torch.nn.utils.clip_grad_norm_(sae.parameters(), sae.grad_clip)
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    sae.constrain()
    sae.after_step(step, loss)
    sae.refresh(step, x_ND, optimizer)
    return loss


@torch.no_grad()
def measure(sae: SAE, batches: Sequence[Tensor]) -> dict[str, float]:
    """What an SAE does at inference on some activations: `l0`, `explained_variance`, `alive` (share of latents)."""
    n = sum(len(x_ND) for x_ND in batches)
    mean_D = torch.stack([x_ND.sum(0) for x_ND in batches]).sum(0) / n
    counts_F, error, variance = torch.zeros(sae.cfg.n_latents, device=sae.device), 0.0, 0.0
    for x_ND in batches:
        active = sae.activate(x_ND, sae.rule())
        z = sae.latents(active)
        counts_F += active.counts_F(z)
        error += float(exact((x_ND - active.decode(z, sae.W_dec, sae.b_dec)).pow(2)).sum())
        variance += float(exact((x_ND - mean_D).pow(2)).sum())
    return {
        "l0": float(counts_F.sum()) / n,
        "explained_variance": 1 - error / variance if variance else 0.0,
        "alive": float((counts_F > 0).float().mean()),
    }


def train_saes_run(
    source: ActivationSource,
    sae_configs: Sequence[SAEConfig],
    cfg: TrainSAEConfig | Sequence[TrainSAEConfig],
    *,
    metadata: dict[str, Any] | None = None,
    outs: Sequence[str | Path | None] | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 30.0,
    tracker: str = NONE,
) -> list[Path]:
    """Train SAEs together on one stream and return their folders; finished ones are reused, killed ones resumed.

    cfg: how they are trained, or, for each, how it is; then what `stream_of` says must be the same.
    metadata: plain data to keep with each SAE (testbed, hook point). outs: their folders (default hashed ones).
    checkpoint_seconds: time between two saved states. tracker: a registered tracker that gets the metrics too.
    Raises ValueError when an SAE's width is not the activations', what is to be frozen cannot be or the SAEs cannot
    share a stream, ConfigError for an unknown tracker, RunError when a folder holds another run or the disk is full.
    """
    given = [cfg] * len(sae_configs) if isinstance(cfg, TrainSAEConfig) else cfg
    if any(stream_of(one) != stream_of(given[0]) for one in given):
        raise ValueError(f"SAEs can share a stream only if their trainings differ in no more than {sorted(OWN_FIELDS)}")
    for sae_cfg, own in zip(sae_configs, given, strict=True):
        sae_cfg.check_trainable()
        check_freezable(sae_cfg, own.frozen)
        if sae_cfg.d_model != source.width:
            raise ValueError(
                f"an SAE of width {sae_cfg.d_model} cannot train on {source.path}, whose activations have width "
                f"{source.width}; give d_model={source.width}"
            )
    trainings = [settled(own, sae_class(sae.architecture)) for sae, own in zip(sae_configs, given, strict=True)]
    made_of = [
        {"sae": to_mapping(sae_cfg), "training": training_identity(own)}
        for sae_cfg, own in zip(sae_configs, trainings, strict=True)
    ]
    folders = list(outs or [None] * len(sae_configs))
    inputs, runs = {"activations": source.hash}, dict[int, Run]()
    try:
        for place in _in_one_order(made_of, folders):
            name = sae_name(sae_configs[place])
            runs[place] = Run("sae", name, made_of[place], inputs, folders[place], content=source.content)
        open_runs = [(sae_configs[place], trainings[place], run) for place, run in sorted(runs.items()) if not run.done]
        with tracked([run for *_, run in open_runs], tracker):
            if open_runs:
                _train(source, open_runs, metadata or {}, pick_device(device), checkpoint_seconds)
    finally:
        for run in runs.values():
            run.close()
    return [runs[place].folder for place in range(len(sae_configs))]


def _in_one_order(made_of: Sequence[Mapping[str, Any]], outs: Sequence[str | Path | None]) -> list[int]:
    """The places of runs in an order that every process opens them in, so that no two wait for each other's."""
    keys = [("" if out is None else str(Path(out).resolve()), canonical_json(made_of[n])) for n, out in enumerate(outs)]
    return sorted(range(len(keys)), key=keys.__getitem__)


def training_identity(cfg: TrainSAEConfig) -> dict[str, Any]:
    """A training as plain data, what its run is known by: without what its source does not use, or is left empty.

    The source itself is told by the hash of its activations.
    """
    unused = {"source"} if cfg.source == "harvest" else {"n_harvested", "harvest_dtype"}
    unused |= {"reuse"}  # which the hash of the activations tells
    unused |= {name for name in ("frozen", "snapshots") if not getattr(cfg, name)}
    return {name: value for name, value in to_mapping(cfg).items() if name not in unused}


def sae_name(cfg: SAEConfig) -> str:
    """Architecture, what sets how sparse the SAE is, and width: `topk-32-1024`."""
    fields = to_mapping(cfg)
    setting = fields.get(sparsity_field(**fields) or "")
    words = [cfg.architecture, *([] if setting is None else [f"{setting:g}"]), str(cfg.n_latents)]
    return "-".join(words)


def _train(
    source: ActivationSource,
    open_runs: list[tuple[SAEConfig, TrainSAEConfig, Run]],
    metadata: dict[str, Any],
    device: torch.device,
    checkpoint_seconds: float,
) -> None:
    """Train SAEs that share a stream."""
    keep_freed_memory()
    cfg = open_runs[0][1]
    stream = source.stream(cfg.batch_size, seed_for(cfg.seed, "activations"))
    scale = source.mean_norm if cfg.normalize_activations else 1.0
    first_ND = stream.batch(0).to(device) / scale
    trainees = [_Trainee(sae_cfg, own, run, first_ND) for sae_cfg, own, run in open_runs]
    began, start = time.perf_counter(), min(trainee.step for trainee in trainees)
    saved_at = began
    batches = _calibration(source, cfg, device)
    bar = progress(cfg.n_steps, f"train {len(trainees)} SAEs", "steps", initial=start)
    for step in range(start, cfg.n_steps):
        x_ND = stream.batch(step).to(device) / scale
        for trainee in trainees:
            if trainee.step == step and trainee.failure is None:
                trainee.advance(x_ND)
                trainee.keep_snapshot(scale, metadata, batches)
        bar.update(1)
        if time.perf_counter() - saved_at >= checkpoint_seconds:
            for trainee in trainees:
                trainee.save_state()
            saved_at = time.perf_counter()
        if all(trainee.failure for trainee in trainees):
            break
    bar.close()
    seconds, steps = time.perf_counter() - began, {"steps": cfg.n_steps - start, "n_steps": cfg.n_steps}
    for trainee in filter(_Trainee.is_good, trainees):
        if steps["steps"]:
            trainee.run.log_time("train", seconds, beside=len(trainees) - 1, **steps)
        trainee.finish(scale, metadata, batches)
    if failures := [trainee.report(source.path) for trainee in trainees if trainee.failure]:
        raise RunError("\n".join(failures))


def _calibration(source: ActivationSource, cfg: TrainSAEConfig, device: torch.device) -> list[Tensor]:
    """Raw activations on which thresholds are set and the SAEs measured, from a stream of their own."""
    stream = source.stream(cfg.batch_size, seed_for(cfg.seed, "calibration"))
    n_batches = max(1, cfg.n_calibration // cfg.batch_size)
    n_batches = min(n_batches, stream.batches_per_pass or n_batches)
    return [stream.batch(number).to(device, copy=True) for number in range(n_batches)]
