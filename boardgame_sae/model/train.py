"""The training loop: next-token prediction and nothing else, on 1..N devices; a resumed run gives the same bytes.

Muon updates the hidden matrices, AdamW everything else; the learning rate warms up, stays, then falls to zero. The
batch of a step depends only on the seed and the step, so weights, moments and step are all that a resume needs.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.config import ConfigError, seed_for, to_mapping
from boardgame_sae.files import RunError, write_json
from boardgame_sae.launch import keep_freed_memory, map_ordered
from boardgame_sae.model import train_config
from boardgame_sae.model.batches import check_corpora, step_rows
from boardgame_sae.model.data_parallel import Place, Process, check_shares, places, share_of_mean
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.legality import LEGALITY_FILE, measure_legality
from boardgame_sae.model.muon import Muon
from boardgame_sae.model.trackers.tracker import NONE, tracked
from boardgame_sae.model.train_config import Preset, TrainGPTConfig
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.state import pack_state, unpack_state
from boardgame_sae.signatures import showing_fields
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.weights import not_finite

ABSENT = -100
"""The target that tells torch to ignore a prediction."""


def lr_factor(step: int, cfg: TrainGPTConfig) -> float:
    """The learning rate at a step as a fraction of its peak: in each cycle warm-up, constant, linear decay to zero.

    Source of several cycles, each starting where the last decay ended: Wen et al. 2024 (arXiv 2410.05192), WSD-S.
    """
    n_steps = cfg.n_steps // cfg.cycles
    step %= n_steps
    warmup = max(1, round(n_steps * cfg.warmup_fraction))
    decay = max(1, round(n_steps * cfg.decay_fraction))
    return min(1.0, (step + 1) / warmup, (n_steps - step) / decay)


def make_optimizers(gpt: GPT, cfg: TrainGPTConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    hidden = [weight for weight in gpt.blocks.parameters() if weight.ndim == 2]
    inside = {id(weight) for weight in hidden}
    others = [weight for weight in gpt.parameters() if id(weight) not in inside]
    return [
        Muon(hidden, lr=cfg.muon_lr, weight_decay=cfg.weight_decay),
        torch.optim.AdamW(others, lr=cfg.adamw_lr, weight_decay=cfg.weight_decay, betas=(0.9, 0.95), fused=True),
    ]


def next_token_loss(
    gpt: Callable[[Tensor], Tensor], tokens_BL: Tensor, present_BL: Tensor, expected_BLV: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy, in nats, of predicting each next token that is present.

    gpt: from tokens (B, L) to logits (B, L, V).
    present_BL: bool (B, L), where a row has a token; the absent ones are at its end.
    expected_BLV: bool (B, L - 1, V), the tokens that were equally likely to come next; given them, the target is their
    uniform distribution.
    """
    logits_BLV = gpt(tokens_BL[:, :-1])
    if expected_BLV is None:
        targets_BL = tokens_BL[:, 1:].masked_fill(~present_BL[:, 1:], ABSENT)
        return F.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten(), ignore_index=ABSENT)
    targets_BLV = expected_BLV / expected_BLV.sum(-1, keepdim=True).clamp(min=1)
    loss_BL = -(targets_BLV * logits_BLV.log_softmax(-1)).sum(-1)
    return loss_BL[present_BL[:, 1:]].mean()


class Training:
    """One training run: weights, optimisers, step. `advance` makes one step."""

    def __init__(self, corpus: Corpus, cfg: TrainGPTConfig, process: Process, beside: Sequence[Corpus] = ()) -> None:
        """beside: further corpora, of which every step reads as much as of the first."""
        self.corpus, self.cfg, self.process = corpus, cfg, process
        self.corpora = (corpus, *beside)
        self.gpt = GPT(gpt_config(corpus, cfg), seed=seed_for(cfg.seed, "weights"))
        self.gpt.silence_blocks()
        self.optimizers = make_optimizers(self.gpt.to(process.device), cfg)
        self._together = process.together(self.gpt)
        self.step = 0
        self.losses: list[float] = []
        self.last: dict[str, float] = {}
        """Loss and norm of the gradient of the last step."""

    def advance(self) -> float:
        """One optimiser step; returns the batch's loss in nats."""
        cfg, process = self.cfg, self.process
        if self.step % (cfg.n_steps // cfg.cycles) == 0:
            for optimizer in self.optimizers:
                optimizer.state.clear()
        own, expected = slice(process.rank, None, process.n), cfg.targets == "expected"
        rows = step_rows(self.corpora, *self.order(self.step), self.gpt.cfg.n_ctx, own=own, expected=expected)
        loss = next_token_loss(self._predicted, *rows.to(process.device))
        loss = share_of_mean(process, loss, rows.present_BL[:, 1:].sum().to(process.device))
        loss.backward()
        factor = lr_factor(self.step, cfg)
        norm = torch.nn.utils.clip_grad_norm_(self.gpt.parameters(), cfg.grad_clip)
        for optimizer, peak in zip(self.optimizers, (cfg.muon_lr, cfg.adamw_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        value = float(process.mean(loss))
        self.losses.append(value)
        self.last = {"loss": value, "gradient's norm": float(norm)}
        return value

    def _predicted(self, tokens_BL: Tensor) -> Tensor:
        """Logits in float32, computed in the config's number format."""
        if self.cfg.precision == "32-true":
            return self._together(tokens_BL)
        with torch.autocast(self.process.device.type, torch.bfloat16):
            return self._together(tokens_BL).float()

    def order(self, step: int) -> tuple[int, int, int]:
        """What says which games of each corpus a step reads: step, their number and seed."""
        return step, self.cfg.batch_size // len(self.corpora), seed_for(self.cfg.seed, "order")

    def fault(self, *, weights: bool) -> str | None:
        """What the last step left that is not finite, and the games it read; None if all is finite.

        weights: look at them too, which takes longer than at the loss and the gradient.
        """
        names = [f"the {name} is {value}" for name, value in self.last.items() if not math.isfinite(value)]
        if weights and not names:
            names = [f"{name} is no longer finite" for name in not_finite(self.gpt.state_dict())]
        if not names:
            return None
        games_B = () if self.corpus.packs else self.corpus.batch_games("train", *self.order(self.step - 1))
        games = f": games {_listed(games_B)}" if len(games_B) else ""
        return f"{names[0]} at step {self.step}, whose batch is number {self.step - 1} of {self.corpus.path}{games}"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a resume needs, as tensors and plain data."""
        tensors, plain = pack_state(
            {"gpt": self.gpt.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}
        )
        n_devices = self.process.n
        devices = {"devices": n_devices} if n_devices > 1 else {}
        return tensors, {"step": self.step, "losses": self.losses, "state": plain, **devices}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        state = unpack_state(tensors, meta["state"])
        self.gpt.load_state_dict(state["gpt"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.losses = meta["step"], list(meta["losses"])


def _listed(numbers: Any, n: int = 8) -> str:
    return ", ".join(map(str, numbers[:n])) + (", ..." if len(numbers) > n else "")


def recipe(cfg: TrainGPTConfig) -> dict[str, Any]:
    """A training as plain data, from which its run's hash is made; `cycles` is left out where it is 1.

    So GPTs that were trained before `cycles` existed, such as those of shipped testbeds, keep their hashes.
    """
    plain = to_mapping(cfg)
    if cfg.cycles == 1:
        del plain["cycles"]
    return plain


def gpt_config(corpus: Corpus, cfg: TrainGPTConfig) -> GPTConfig:
    """The GPT that fits a corpus."""
    return GPTConfig(
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        n_heads=cfg.n_heads,
        act_fn=cfg.act_fn,
        d_vocab=len(corpus.alphabet),
        n_ctx=cfg.n_ctx or corpus.n_ctx,
    )


def model_card(corpus: Corpus, cfg: TrainGPTConfig, run_hash: str) -> dict[str, Any]:
    """What a GPT is and how it was made, as plain data."""
    return {
        "game": corpus.game.spec,
        "tokenization": corpus.tokenization,
        "alphabet": list(corpus.alphabet),
        "gpt": to_mapping(gpt_config(corpus, cfg)),
        "training": recipe(cfg),
        "corpus": corpus.config,
        "hash": run_hash,
    }


def train_gpt_run(
    corpus: Corpus,
    cfg: TrainGPTConfig,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    checkpoint_seconds: float = 30.0,
    beside: Sequence[Corpus] = (),
    tracker: str = NONE,
) -> Path:
    """Train a GPT into a run folder and return the folder; a finished one is reused, a killed one resumed.

    beside: further corpora, of games with the same tokens, of which every step reads as much as of the first; legality
    is measured on the first.
    devices: how many devices of this machine to train on, each a process that reads its share of every batch. The
    result agrees with that of one device but for rounding, so the run has the same hash; DONE says how many there were,
    and a killed run is resumed on as many. checkpoint_seconds: time between two resume states.
    tracker: a registered tracker that gets the metrics too.
    Raises ValueError when a split of a corpus is empty or corpora do not go together, ConfigError when one does not
    allow the targets, devices are too many or do not share a batch evenly, or for an unknown tracker, RunError when the
    loss is not finite.
    """
    corpora = (corpus, *beside)
    check_corpora(corpora, cfg.batch_size, expected=cfg.targets == "expected")
    check_shares(cfg.batch_size, len(corpora), devices)
    names = ["corpus", *(f"corpus {number}" for number in range(2, len(corpora) + 1))]
    inputs = {name: one.hash for name, one in zip(names, corpora, strict=True)}
    content = {name: one.content for name, one in zip(names, corpora, strict=True)}
    with Run("gpt", name or corpus.game.name, recipe(cfg), inputs, out, content=content) as run:
        if run.done:
            return run.folder
        together = places(device, devices)
        if devices == 1:
            _train_at(together[0], corpora, cfg, run, checkpoint_seconds, tracker)
        else:
            paths = [one.path for one in corpora]
            jobs = [_Job(place, paths, cfg, run, checkpoint_seconds, tracker) for place in together]
            list(map_ordered(_train_in_worker, jobs, workers=devices))
        return run.folder


class _Job(NamedTuple):
    """What a worker process is given."""

    place: Place
    corpora: list[Path]
    cfg: TrainGPTConfig
    run: Run
    checkpoint_seconds: float
    tracker: str


def _train_in_worker(job: _Job) -> None:
    try:
        corpora = [Corpus.open(path) for path in job.corpora]
        _train_at(job.place, corpora, job.cfg, job.run, job.checkpoint_seconds, job.tracker)
    finally:
        Process.leave()


def _train_at(
    place: Place, corpora: Sequence[Corpus], cfg: TrainGPTConfig, run: Run, checkpoint_seconds: float, tracker: str
) -> None:
    """What one process does of a training; the first one writes."""
    keep_freed_memory()
    training = Training(corpora[0], cfg, Process(place), corpora[1:])
    saved = run.load_state()
    if saved is not None:
        then, now = saved[1].get("devices", 1), place.n_devices
        if then != now:
            raise RunError(
                f"{run.folder}: was killed while it trained with --devices {then}; with {now} it would end in other "
                f"bytes, as sums are rounded in another order: give --devices {then}, or another --out to start again"
            )
        training.restore(*saved)
    training.process.meet()
    leads = training.process.leads
    with tracked([run] if leads else [], tracker):
        _train(training, run, checkpoint_seconds)
        if leads:
            _finish(training, run)
    training.process.meet()


def _finish(training: Training, run: Run) -> None:
    """Save the model and its legality, and mark the run done."""
    corpus = training.corpus
    model = GameModel(training.gpt.eval(), model_card(corpus, training.cfg, run.hash))
    model.save(run.folder)
    trained = {split: measure_legality(model, corpus, split, 1000) for split in ("validation", "test")}
    random = measure_legality(model.random_twin(), corpus, "test", 1000 if corpus.tokenizer.is_whole_move else 100)
    write_json(run / LEGALITY_FILE, {**trained, "random_weights": random})
    devices = {"devices": training.process.n} if training.process.n > 1 else {}
    run.finish(legal_rate=trained["test"]["legal_rate"], loss=trained["test"]["loss"], **devices)


def _train(training: Training, run: Run, checkpoint_seconds: float) -> None:
    cfg, began = training.cfg, time.perf_counter()
    saved_at, saved, first = began, training.step, training.step
    leader = training.process.leads
    bar = progress(cfg.n_steps, "train GPT", "steps", initial=first, disable=not leader)
    while training.step < cfg.n_steps:
        training.advance()
        bar.update(1)
        last, due = training.step == cfg.n_steps, time.perf_counter() - saved_at >= checkpoint_seconds
        evaluates = last or training.step % cfg.eval_every == 0
        if fault := training.fault(weights=due or evaluates):
            good = f"the last good checkpoint is of step {saved}" if saved else "no checkpoint was saved before"
            raise RunError(f"{run.folder}: {fault}; {good}; lower muon_lr and adamw_lr")
        if not leader:
            continue
        if last or training.step % cfg.log_every == 0:
            mean = sum(training.losses) / len(training.losses)
            training.losses.clear()
            run.log(step=training.step, train_loss=mean, rate=lr_factor(training.step - 1, cfg))
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
        if evaluates:
            run.log(step=training.step, **_validation_metrics(training))
        if due:
            run.save_state(*training.state())
            saved_at, saved = time.perf_counter(), training.step
    bar.close()
    if leader:
        run.save_state(*training.state())
        if first < cfg.n_steps:
            run.log_time("train", time.perf_counter() - began, steps=cfg.n_steps - first, n_steps=cfg.n_steps)


def _validation_metrics(training: Training) -> dict[str, float]:
    """Loss and legality on a few validation games, for the learning curve."""
    training.gpt.eval()
    model = GameModel(training.gpt, model_card(training.corpus, training.cfg, ""))
    measured = measure_legality(model, training.corpus, "validation", 256)
    training.gpt.train()
    names = (
        ["legal_rate", "legal_mass"] if measured["loss_floor"] is None else ["loss_floor", "legal_rate", "legal_mass"]
    )
    return {"validation_loss": measured["loss"], **{name: measured[name] for name in names}}


@showing_fields(TrainGPTConfig)
def train_gpt(
    corpus: Corpus | str | Path,
    preset: Preset = "tiny",
    config: TrainGPTConfig | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    tracker: str = NONE,
    devices: int = 1,
    **changes: Any,
) -> GameModel:
    """Train a GPT on a corpus (or reuse or resume the run that does): `train_gpt(corpus, "small", n_steps=5000)`.

    corpus: itself, or its folder. config: all fields at once, instead of a preset's:
    `TrainGPTConfig(n_layers=2, n_steps=1000)`.
    devices: how many devices of this machine to train on; in a script below `if __name__ == "__main__":`.
    tracker: `trackio` or `wandb` get the metrics too. changes: fields of TrainGPTConfig that differ.
    out: the run's folder (default one named by its hash). device: where it trains, `auto`, `cpu`, `cuda` or `mps`.
    Raises ConfigError for an unknown preset, field or tracker, when the corpus does not allow the targets, and when
    devices are too many or do not share a batch evenly; ValueError when a split of the corpus is empty; RunError when
    the loss is not finite.
    """
    cfg = train_config.preset(preset, **changes)
    if config is not None:
        cfg = train_config.changed(config, changes, "train_gpt")
    if not isinstance(corpus, Corpus | str | Path):
        raise ConfigError(f"corpus: is an object of the type {type(corpus).__name__}; give a Corpus, or its folder")
    corpus = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    folder = train_gpt_run(corpus, cfg, out=out, device=device, devices=devices, tracker=tracker)
    return GameModel.load(folder, device)
