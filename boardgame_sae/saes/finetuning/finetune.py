"""Fine-tuning: the short end of training, in which an SAE, or what is put around it, learns to serve the GPT.

An SAE is spliced into a testbed's GPT at its hook point, and the GPT's predictions are brought back to what they were
(`objective`). What learns is one of several ways (`ways`): the SAE itself, LoRA on it or on the GPT above it, or an
adapter on its reconstruction. A run folder holds

    sae.safetensors, cfg.json   the fine-tuned SAE, which `score` takes as any other; of ways that change the SAE
    addition.safetensors        the weights that learned, of the others; its metadata say of which SAE and GPT they are
    finetune.json               cross-entropy and divergence on test games before and after, share of the gap closed
    games.parquet               the losses of each test game, for intervals

The gap is the cross-entropy with the SAE less that of the GPT alone; of it is closed, as `gap_closed`,
(before - after) / (before - clean). Source: arXiv 2503.17272: 20 to 50% with 25 million tokens.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boardgame_sae.config import (
    ConfigError,
    from_mapping,
    seed_for,
    to_mapping,
)
from boardgame_sae.files import RunError, write_json, write_parquet
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.model.float64 import exact
from boardgame_sae.runs import Run, progress, warn
from boardgame_sae.runs.state import pack_state, unpack_state
from boardgame_sae.saes.configs.finetuning import FinetuneConfig
from boardgame_sae.saes.finetuning.gap import Gap, clean_losses, measured
from boardgame_sae.saes.finetuning.objective import Objective, Sparsity, objective
from boardgame_sae.saes.finetuning.ways.addition import AdditionRecord, frozen_splice, sae_content, write_addition
from boardgame_sae.saes.finetuning.ways.lora import merge
from boardgame_sae.saes.finetuning.ways.way import Settings, Splice, Way, find_way
from boardgame_sae.saes.load import load_sae, sae_folder
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.adam import Adam
from boardgame_sae.saes.training.on_testbed import check_reads
from boardgame_sae.saes.training.train import measure, useless
from boardgame_sae.signatures import showing_fields
from boardgame_sae.testbeds.given import AnyTestbed, as_testbed
from boardgame_sae.testbeds.replaced import Batch, clean_batch
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.weights import not_finite

RESULT_FILE, GAMES_FILE = "finetune.json", "games.parquet"
N_FIRST = 8
"""Batches on which the scale of activations and the SAE's L0 are measured before the first step."""


@showing_fields(FinetuneConfig)
def finetune_sae(sae: str | Path | SAE, testbed: AnyTestbed, *, out: str | Path | None = None, **fields: Any) -> Path:
    """Fine-tune an SAE on a testbed: `finetune_sae("othello6-tiny/relu-0.2", testbed, how="full", loss="kl")`.

    sae: itself, its folder, or the name of one that ships. out: the run's folder (default one named by its hash).
    fields: of FinetuneConfig. Returns the run's folder, which `load_sae` takes where the way gives an SAE; a finished
    run is reused, a killed one resumed.
    Raises ConfigError for a bad field, an unknown way, or one that the loss cannot train; ValueError for an SAE of
    another width or hook point, without a threshold, or without anything that the way can train; RunError when the loss
    is no longer finite, the SAE cannot be read or the disk is full.
    Source: arXiv 2503.17272.
    """
    return finetune_run(sae, as_testbed(testbed), from_mapping(FinetuneConfig, fields, "finetune_sae"), out=out)


def finetune_run(
    sae: str | Path | SAE,
    testbed: Testbed,
    cfg: FinetuneConfig,
    *,
    out: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> Path:
    """Fine-tune an SAE into a run folder and return the folder; a finished one is reused, a killed one resumed.

    sae: of any architecture and library, by folder, by the name of one that ships, or itself. checkpoint_seconds: time
    between two saved states.
    Raises ConfigError for an unknown way, or one that the loss cannot train; ValueError for an SAE of another width or
    hook point, without a threshold, or without anything that the way can train; RunError when the loss is no longer
    finite, the SAE cannot be read or the disk is full.
    """
    way = find_way(cfg.how, "how: ")
    if cfg.loss == "mse" and not way.moves_reconstruction:
        raise ConfigError(
            f"how '{cfg.how}' leaves the SAE's reconstruction as it is, so that loss 'mse' has nothing to train; "
            "choose balanced or kl"
        )
    name = "sae" if isinstance(sae, SAE) else sae_folder(sae).name
    sae = (sae if isinstance(sae, SAE) else load_sae(sae)).inference()
    _check_belongs(sae, testbed)
    splice = frozen_splice(sae, testbed)
    learns = way.install(splice, Settings(cfg.rank, cfg.seed))
    inputs = {"sae": sae_content(sae), "testbed": testbed.hash}
    with Run("finetune", f"{name}-{cfg.how}", to_mapping(cfg), inputs, out, content=testbed.made_of) as run:
        if not run.done:
            keep_freed_memory()
            tuning = _Tuning(sae, splice, learns, way, testbed, cfg, run)
            tuning.train(checkpoint_seconds)
            tuning.finish()
        return run.folder


def _check_belongs(sae: SAE, testbed: Testbed) -> None:
    check_reads(sae, testbed)
    if not sae.calibrated:
        raise ValueError("this SAE has no threshold, so that its latents depend on the batch; calibrate it first")


class _Tuning:
    """One fine-tuning: what learns, its optimiser, its step."""

    def __init__(
        self, sae: SAE, splice: Splice, learns: dict[str, torch.nn.Parameter], way: Way, testbed: Testbed,
        cfg: FinetuneConfig, run: Run,
    ) -> None:  # fmt: skip
        """sae: as it was given. splice: with copies of it and of the GPT, and what learns."""
        self.given, self.splice, self.learns, self.way = sae, splice, learns, way
        self.testbed, self.cfg, self.run = testbed, cfg, run
        self.before = measured(splice, testbed, cfg.n_test_tokens)
        first = [self.batch(step) for step in range(min(N_FIRST, cfg.n_steps))]
        splice.scale = _root_mean_square(first)
        splice.sae.fold_scale(1 / splice.scale)
        self.sparsity = Sparsity(splice, first, cfg.sparsity_step if way.gives_sae else 0.0)
        self.optimizer = Adam(learns.values(), cfg.lr)
        self.step = self.saved = 0
        if saved := run.load_state():
            state = unpack_state(saved[0], saved[1]["state"])
            with torch.no_grad():
                for name, weight in learns.items():
                    weight.copy_(state["learns"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.sparsity.coefficient = saved[1]["coefficient"]
            self.step = self.saved = saved[1]["step"]

    def batch(self, step: int) -> Batch:
        """Clean activations and predictions of a step's train games."""
        gpt, seed = self.testbed.model.gpt, seed_for(self.cfg.seed, "games")
        rows = self.testbed.corpus.batch("train", step, self.cfg.batch_size, seed, gpt.cfg.n_ctx)
        return clean_batch(gpt, self.testbed.hook_name, rows)

    def train(self, checkpoint_seconds: float) -> None:
        """All steps that are left. Raises RunError when a number is no longer finite."""
        began, start = time.perf_counter(), self.step
        saved_at, steps = began, self.cfg.n_steps
        bar = progress(steps, f"fine-tune by {self.way.name}", "steps", initial=start)
        while self.step < steps:
            self.advance(self.batch(self.step))
            bar.update(1)
            if time.perf_counter() - saved_at >= checkpoint_seconds:
                self.save_state()
                saved_at = time.perf_counter()
        bar.close()
        if start < steps:
            self.run.log_time("finetune", time.perf_counter() - began, steps=steps - start, n_steps=steps)

    def advance(self, batch: Batch) -> None:
        """One optimiser step."""
        loss = objective(self.splice, batch, self.cfg.loss, self.sparsity)
        self._check_finite(float(loss.total.detach()))
        loss.total.backward()
        if self.way.constrained:
            self.splice.sae.constrain_gradient()
        torch.nn.utils.clip_grad_norm_(self.learns.values(), self.cfg.grad_clip)
        self.optimizer.param_groups[0]["lr"] = self.cfg.lr * (1 - self.step / self.cfg.n_steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.way.constrained:
            self.splice.sae.constrain()
        self.step += 1
        self.sparsity.follow(float(loss.l0))
        if self.step % self.cfg.log_every == 0 or self.step == self.cfg.n_steps:
            self._log(loss)

    def _log(self, loss: Objective) -> None:
        parts = {name: float(value.detach()) for name, value in loss._asdict().items()}
        self.run.log(step=self.step, **parts, coefficient=self.sparsity.coefficient)

    def _check_finite(self, loss: float) -> None:
        names = ["the loss"] if loss - loss else not_finite({name: w.detach() for name, w in self.learns.items()})
        if names:
            good = (
                f"the last good checkpoint is of step {self.saved}" if self.saved else "no checkpoint was saved before"
            )
            raise RunError(
                f"{self.run.folder}: {names[0]} is not finite at step {self.step + 1}; {good}; fine-tune with a lower "
                f"lr than {self.cfg.lr}"
            )

    def save_state(self) -> None:
        """Write what a killed run resumes from."""
        learns = {name: weight.detach() for name, weight in self.learns.items()}
        tensors, plain = pack_state({"learns": learns, "optimizer": self.optimizer.state_dict()})
        self.run.save_state(tensors, {"step": self.step, "coefficient": self.sparsity.coefficient, "state": plain})
        self.saved = self.step

    def finish(self) -> None:
        """Save what came out and what it is worth, and mark the run done."""
        self._check_finite(0.0)
        splice, cfg = self.splice, self.cfg
        if self.way.gives_sae:
            merge(splice.sae)
            splice.sae.fold_scale(splice.scale)
            splice.scale = 1.0
            self._save_sae()
        else:
            of = {"sae": sae_content(self.given), "model": self.testbed.model.content}
            about = AdditionRecord(how=self.way.name, rank=cfg.rank, hook_name=splice.hook_name, **of)
            write_addition(self.run.folder, about, {name: weight.detach() for name, weight in self.learns.items()})
        after = measured(splice, self.testbed, cfg.n_test_tokens)
        gap = Gap(clean_losses(self.testbed, cfg.n_test_tokens), self.before, after)
        columns = dict(zip(("clean", "before", "after"), gap.sums_BX.T, strict=True))
        write_parquet(self.run / GAMES_FILE, {name: column_B.copy() for name, column_B in columns.items()})
        result = gap.to_mapping()
        write_json(self.run / RESULT_FILE, result)
        self.run.finish(gap_closed=result["gap_closed"])

    def _save_sae(self) -> None:
        sae, batches = self.splice.sae, [self.batch(step) for step in range(min(N_FIRST, self.cfg.n_steps))]
        at_inference = measure(sae, [batch.acts_BLD[batch.read_BL] for batch in batches])
        warnings = useless(at_inference)
        for warning in warnings:
            warn(f"{self.run.folder}: {warning}")
        told = {**to_mapping(self.cfg), "of": sae_content(self.given), "testbed": self.testbed.hash}
        sae.metadata = {
            **{name: value for name, value in self.given.metadata.items() if name != "warnings"},
            "finetuning": told, "inference": at_inference, "hook_name": self.testbed.hook_name,
            **({"warnings": warnings} if warnings else {}),
        }  # fmt: skip
        sae.save(self.run.folder)


def _root_mean_square(batches: Sequence[Batch]) -> float:
    """Of the norms of the activations that are read in some batches; 1 where all are zero."""
    acts_ND: Tensor = torch.cat([batch.acts_BLD[batch.read_BL] for batch in batches])
    return float(exact(acts_ND).pow(2).sum(1).mean().sqrt()) or 1.0
