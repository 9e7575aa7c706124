"""All linear probes of a model in one pass: every hook point, every square, every class.

A property whose classes exclude each other (mine, yours, empty) is read by one multinomial probe per square; others by
probes with the classes false and true. Inputs are whitened, so that one learning rate serves every layer; the whitening
is folded into the weights that are saved.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.activations.hook_points import hook_width
from boardgame_sae.config import (
    Count,
    HookName,
    Name,
    Natural,
    NonNegative,
    Share,
    record,
    to_mapping,
)
from boardgame_sae.files import RunError, as_record, read_json, write_json
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.probes.data import KEPT_BYTES, BoardReader, ProbeData, Targets, check_known
from boardgame_sae.probes.probe import Probe
from boardgame_sae.probes.probe_config import ProbeConfig
from boardgame_sae.runs import Run, progress
from boardgame_sae.runs.integrity import verified
from boardgame_sae.runs.state import pack_state, unpack_state
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.weights import check_finite, read_tensors, write_tensors

PROBES_FILE, RESULTS_FILE = "probes.safetensors", "probes.json"


def whitening(acts_ND: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Mean (D,) and matrix (D, D) W such that (x - mean) @ W has unit covariance, up to the ridge. Float64 inside."""
    exact_ND = acts_ND.cpu().double()
    mean_D = exact_ND.mean(0)
    centred_ND = exact_ND - mean_D
    values_D, vectors_DD = torch.linalg.eigh(centred_ND.T @ centred_ND / len(acts_ND))
    scale_D = (values_D.clamp(min=0) + ridge * values_D.clamp(min=0).mean() + 1e-12).rsqrt()
    return mean_D, vectors_DD * scale_D


class _Fit:
    """Probes of one property at several hook points while they are fitted, on whitened activations."""

    def __init__(self, cfg: ProbeConfig, n_squares: int, classes: int, first: list[Tensor]) -> None:
        self.cfg = cfg
        device = first[0].device
        self.white = [tuple(part.float().to(device) for part in whitening(acts_ND, cfg.ridge)) for acts_ND in first]
        self.weights = [torch.zeros(acts.shape[1] + 1, n_squares, classes, device=device) for acts in first]
        for weight in self.weights:
            weight.requires_grad_(cfg.fit == "minibatch")
        self.grams = [torch.zeros(acts.shape[1] + 1, acts.shape[1] + 1, dtype=torch.float64) for acts in first]
        self.moments = [torch.zeros(weight.shape, dtype=torch.float64) for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, lr=cfg.lr, weight_decay=1e-4, betas=(0.9, 0.99))

    def inputs(self, acts: list[Tensor]) -> list[Tensor]:
        """Whitened activations with a constant column."""
        pairs = zip(acts, self.white, strict=True)
        return [F.pad((acts_ND - mean_D) @ matrix_DD, (0, 1), value=1.0) for acts_ND, (mean_D, matrix_DD) in pairs]

    def step(self, acts: list[Tensor], classes_NS: Tensor, lr_factor: float) -> float:
        """Learn from one minibatch, at `lr_factor` times the peak learning rate; returns the mean cross-entropy.

        In closed form it adds up the moments of the minibatch and returns 0.
        """
        inputs = self.inputs(acts)
        if self.cfg.fit == "closed_form":
            onehot_NSC = F.one_hot(classes_NS, self.weights[0].shape[-1]).cpu().double()
            for x_ND, gram, moment in zip(inputs, self.grams, self.moments, strict=True):
                exact_ND = x_ND.cpu().double()
                gram += exact_ND.T @ exact_ND
                moment += torch.einsum("nd,nsc->dsc", exact_ND, onehot_NSC)
            return 0.0
        losses = [
            F.cross_entropy(torch.einsum("nd,dsc->nsc", x_ND, weight).flatten(0, 1), classes_NS.flatten())
            for x_ND, weight in zip(inputs, self.weights, strict=True)
        ]
        self.optimizer.param_groups[0]["lr"] = self.cfg.lr * lr_factor
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimizer.step()
        return float(torch.stack(losses).detach().mean())

    def probes(self, targets: Targets) -> list[Probe]:
        """The fitted probes, for raw activations."""
        if self.cfg.fit == "closed_form":
            for weight, gram, moment in zip(self.weights, self.grams, self.moments, strict=True):
                n = gram[-1, -1]
                eye = torch.eye(len(gram), dtype=gram.dtype)
                weight.copy_(torch.linalg.solve(gram + self.cfg.ridge * n * eye, moment.flatten(1)).view(weight.shape))
        probes = []
        for weight, (mean_D, matrix_DD) in zip(self.weights, self.white, strict=True):
            raw_DSC = torch.einsum("de,esc->dsc", matrix_DD, weight.detach()[:-1])
            bias_SC = weight.detach()[-1] - torch.einsum("d,dsc->sc", mean_D, raw_DSC)
            probes.append(Probe(raw_DSC, bias_SC, targets))
        return probes


def probe_run(
    model: GameModel,
    corpus: Corpus,
    cfg: ProbeConfig,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    reading: BoardReader | None = None,
) -> Path:
    """Fit and test all probes of a model into a run folder and return it; reused when done, resumed when killed.

    reading: shared by several probes of the same model, games, hook points and positions.
    Raises ValueError for a property that the game does not have or whose truth the corpus does not know, and when no
    position can be probed; HookError for a bad hook point.
    """
    prop = corpus.game.property(cfg.property or corpus.game.board_property)
    check_known(prop, corpus)
    names = cfg.hook_names or ("blocks.0.hook_resid_pre", *residual_stream(model))
    for hook_name in names:
        hook_width(model.gpt, hook_name)
    reading = reading or BoardReader(model, corpus, names, cfg.positions, KEPT_BYTES if cfg.epochs > 1 else 0)
    cfg = replace(cfg, property=prop.name, positions=reading.read_at)
    inputs = {"model": model.hash, "corpus": corpus.hash_for([prop.name])}
    content = {"model": model.content, "corpus": corpus.content_for([prop.name])}
    with Run("probes", name or prop.name, to_mapping(cfg), inputs, out, content=content) as run:
        if run.done:
            return run.folder
        began = time.perf_counter()
        data = ProbeData(reading, prop, cfg.min_ply)
        probes = _fit(run, data, cfg)
        tensors = {}
        for hook_name, probe in zip(names, probes, strict=True):
            tensors[f"{hook_name}/weight"], tensors[f"{hook_name}/bias"] = probe.weight_DSC.cpu(), probe.bias_SC.cpu()
        check_finite(run / PROBES_FILE, tensors)
        write_tensors(run / PROBES_FILE, tensors)
        games_B = corpus.games("test")[: cfg.n_test_games]
        results = dict(zip(names, _test(data, probes, games_B), strict=True))
        about = {"property": prop.name, "positions": cfg.positions, "min_ply": cfg.min_ply}
        about |= {"n_test_games": len(games_B), **asdict(data.targets)}
        write_json(run / RESULTS_FILE, {**about, "hook_points": results})
        run.log_time("probe", time.perf_counter() - began)
        best = max(results, key=lambda hook_name: results[hook_name]["accuracy"])
        run.finish(best_hook_name=best, best_accuracy=results[best]["accuracy"])
        return run.folder


def residual_stream(model: GameModel) -> tuple[str, ...]:
    """The residual stream after every block."""
    return tuple(f"blocks.{layer}.hook_resid_post" for layer in range(model.gpt.cfg.n_layers))


def _fit(run: Run, data: ProbeData, cfg: ProbeConfig) -> list[Probe]:
    games_B = data.corpus.games("train")[: cfg.n_train_games]
    n_batches = -(-len(games_B) // cfg.games_a_step)
    n_steps = n_batches * cfg.epochs
    first, classes_NS = _first(data, games_B, max(256, cfg.games_a_step))
    fit = _Fit(cfg, classes_NS.shape[1], data.targets.n_classes, first)
    saved, step, loss = run.load_state(), 0, 0.0
    parts = {"weights": fit.weights, "grams": fit.grams, "moments": fit.moments}
    if saved is not None:
        state, step = unpack_state(saved[0], saved[1]["state"]), saved[1]["step"]
        for key, tensors in parts.items():
            for tensor, old in zip(tensors, state[key], strict=True):
                tensor.data.copy_(old)
        fit.optimizer.load_state_dict(state["optimizer"])
    saved_at = time.perf_counter()
    with progress(n_steps, f"probe {data.prop.name}", "steps", initial=step) as bar:
        while step < n_steps:
            first_game = step % n_batches * cfg.games_a_step
            part_B = games_B[first_game : first_game + cfg.games_a_step]
            acts, classes_NS = data(part_B)
            if len(classes_NS):
                loss = fit.step(acts, classes_NS, lr_factor=1 - step / n_steps)
            step += 1
            if not math.isfinite(loss):
                raise RunError(
                    f"{run.folder}: the loss is {loss} at step {step}, whose batch is training games {first_game} to "
                    f"{first_game + len(part_B) - 1} of {data.corpus.path}; lower lr"
                )
            bar.update(1)
            if step % 20 == 0 or step == n_steps:
                run.log(step=step, loss=loss)
            if time.perf_counter() - saved_at > CHECKPOINT_SECONDS:
                tensors, plain = pack_state({**parts, "optimizer": fit.optimizer.state_dict()})
                run.save_state(tensors, {"step": step, "state": plain})
                saved_at = time.perf_counter()
    return fit.probes(data.targets)


def _first(data: ProbeData, games_B: np.ndarray, n_games: int) -> tuple[list[Tensor], Tensor]:
    """The first games, as many as it takes to have a position to probe: whitening is measured on them."""
    while True:
        acts, classes_NS = data(games_B[:n_games])
        if len(classes_NS):
            return acts, classes_NS
        if n_games >= len(games_B):
            raise data.nothing_left("train")
        n_games *= 2


CHECKPOINT_SECONDS = 30.0


@torch.no_grad()
def _test(data: ProbeData, probes: list[Probe], games_B: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy and F1 of every probe on held-out games, overall, by square and by class."""
    n_squares, n_classes = probes[0].bias_SC.shape
    counts = [torch.zeros(n_squares, n_classes, n_classes, dtype=torch.int64) for _ in probes]
    beats = [torch.zeros(n_classes, n_classes, dtype=torch.int64) for _ in probes]
    for start in range(0, len(games_B), 256):
        acts, classes_NS = data(games_B[start : start + 256])
        for acts_ND, probe, table_SCC, beats_CC in zip(acts, probes, counts, beats, strict=True):
            logits_NSC = probe.logits(acts_ND)
            table_SCC += _confusion(logits_NSC.argmax(-1), classes_NS, n_classes).cpu()
            beats_CC += _beats(logits_NSC[:, 0], classes_NS[:, 0]).cpu()
    if not counts[0].any():
        raise data.nothing_left("test")
    results = [_summary(table_SCC) for table_SCC in counts]
    if data.prop.shape == (data.targets.group,) and data.targets.group > 1:
        names = [*(["none"] if data.targets.none else []), *data.prop.class_names]
        for result, table_SCC, beats_CC in zip(results, counts, beats, strict=True):
            result["extremes"] = _extremes(beats_CC, table_SCC[0].sum(1), names, int(data.targets.none))
    return results


def _confusion(predicted_NS: Tensor, true_NS: Tensor, classes: int) -> Tensor:
    """How often each class (rows) is predicted as each class (columns): int64 (squares, classes, classes)."""
    n_squares = true_NS.shape[1]
    squares_S = torch.arange(n_squares, device=true_NS.device)
    cell_NS = (squares_S * classes + true_NS) * classes + predicted_NS
    return torch.bincount(cell_NS.flatten(), minlength=n_squares * classes**2).view(n_squares, classes, classes)


def _beats(logits_NC: Tensor, true_N: Tensor) -> Tensor:
    """How often the true class (rows) has a larger logit than each other one (columns): int64 (classes, classes)."""
    above_NC = (logits_NC.gather(1, true_N[:, None]) > logits_NC).long()
    return torch.zeros(2 * logits_NC.shape[1:], dtype=torch.int64, device=true_N.device).index_add_(0, true_N, above_NC)


def _extremes(beats_CC: Tensor, true_C: Tensor, names: Sequence[str], first: int) -> dict[str, Any] | None:
    """How well the lowest and highest classes that occur are distinguished where one is true; None if only one occurs.

    first: the first class that stands for a label.
    """
    seen = [c for c in range(first, len(true_C)) if true_C[c]]
    if len(seen) < 2:
        return None
    low, high = seen[0], seen[-1]
    n = int(true_C[low] + true_C[high])
    return {
        "low": names[low],
        "high": names[high],
        "accuracy": float(beats_CC[low, high] + beats_CC[high, low]) / n,
        "majority_accuracy": float(true_C[[low, high]].max()) / n,
        "n_positions": n,
    }


def _summary(table_SCC: Tensor) -> dict[str, Any]:
    true_positives_SC = table_SCC.diagonal(dim1=1, dim2=2).double()
    positives_SC, predicted_positives_SC = table_SCC.sum(2), table_SCC.sum(1)
    f1_SC = 2 * true_positives_SC / (positives_SC + predicted_positives_SC).clamp(min=1)
    seen_SC = positives_SC > 0
    accuracy_S = true_positives_SC.sum(1) / positives_SC.sum(1)
    return {
        "accuracy": float(true_positives_SC.sum() / positives_SC.sum()),
        "majority_accuracy": float(positives_SC.max(1).values.sum().double() / positives_SC.sum()),
        "f1": float(f1_SC[seen_SC].mean()),
        "n_positions": int(positives_SC[0].sum()),
        "accuracy_S": [round(value, 6) for value in accuracy_S.tolist()],
        "f1_SC": [[round(value, 6) for value in row] for row in f1_SC.tolist()],
    }


def load_probe(folder: str | Path, hook_name: str) -> Probe:
    """The probe of one hook point from a probe run.

    Raises RunError when the file or the hook point is missing, or the file has changed.
    """
    path, about = Path(folder) / PROBES_FILE, probe_results(folder)
    tensors = read_tensors(path, "restore it, or run `boardgame-sae probe` again")
    weight_DSC, bias_SC = (tensors.get(f"{hook_name}/{kind}") for kind in ("weight", "bias"))
    if weight_DSC is None or bias_SC is None:
        raise RunError(f"{path}: has no probe at '{hook_name}'; run `boardgame-sae probe` with that hook point")
    if weight_DSC.ndim != 3 or weight_DSC.shape[1:] != bias_SC.shape:
        raise RunError(
            f"{path}: {hook_name}/weight is {tuple(weight_DSC.shape)} and its bias {tuple(bias_SC.shape)}; restore it, "
            "or run `boardgame-sae probe` again"
        )
    return Probe(weight_DSC.float(), bias_SC.float(), Targets(about["group"], about["none"]))


@record
class HookPointRecord:
    """How well a probe reads at one hook point."""

    accuracy: Share
    majority_accuracy: Share
    f1: Share
    n_positions: Count
    accuracy_S: tuple[Share, ...]
    extremes: dict[str, str | NonNegative] | None = None


@record
class ResultsRecord:
    """probes.json."""

    property: Name
    positions: Name
    min_ply: Natural
    group: Count
    none: bool
    hook_points: dict[HookName, HookPointRecord]


def probe_results(folder: str | Path) -> dict[str, Any]:
    """Accuracy and F1 by hook point, square and class, of a probe run.

    Raises RunError when the file is missing, damaged or changed, naming the field.
    """
    verified(folder)
    path, fix = Path(folder) / RESULTS_FILE, "run `boardgame-sae probe` again"
    results = read_json(path)
    as_record(ResultsRecord, results, str(path), fix)
    return results
