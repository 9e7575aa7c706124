"""A whole training step of each SAE beside dictionary_learning's and SAELens's: same weights, data, settings, process.

Needs an environment with both peers: `make bench-saes` (.venv-peers). A full run writes saes.md beside this file.
    --quick          d 512, 4,096 latents, one thread, few repetitions
    --only A[,B]     some of the cases (architectures, `eight`, `memory`)
    --threads 1,2    numbers of threads

A repetition is one step of each contestant in turn and one bare encoder product, so that all find the machine in the
same state; ratios are of medians (and, beside them, of minima). Before anything is timed, losses are compared where the
definitions agree. The floor of a step is its arithmetic, 2 B d F for the encoder and 8 B k d for the active latents, at
the rate of that encoder product.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.sae import SAE
from boardgame_sae.saes.training.train import adam, training_step

BATCH, L0, LR, COEFFICIENT = 2048, 64, 1e-7, 0.02
N_STEPS, STEP = 100_000, 60_000
"""Every step is number STEP of N_STEPS: warm-ups over, dictionary_learning's thresholds kept, p-annealing under way."""
TARGET_SIZE = (512, 4096)
SIZES = (TARGET_SIZE, (512, 1024), (128, 4096), (128, 1024))
TOPK = ("topk", "batch_topk", "matryoshka_batch_topk")
PENALISED = ("relu", "relu_april", "p_anneal", "gated", "jumprelu")
DICTIONARY_LEARNING, SAELENS = "dictionary_learning", "SAELens"


class Case(NamedTuple):
    """What is trained."""

    architecture: str
    d: int
    n_latents: int
    k: int
    dead: bool = False
    """Whether a tenth of the latents are dead, so that AuxK runs."""

    @property
    def target(self) -> tuple[float, float] | None:
        """How many times faster than dictionary_learning and than SAELens we must be."""
        if (self.d, self.n_latents) != TARGET_SIZE or self.architecture == "relu_april":
            return None
        if self.architecture in TOPK:
            return (4.0, 4.0) if self.dead else (4.0, 3.0)
        return (2.5, 2.5)

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.architecture}{', 10% dead' if self.dead else ''}"


class Contestant(NamedTuple):
    """One implementation: a whole step, and the part of its loss that must equal ours, with ours."""

    name: str
    step: Callable[[], Any]
    losses: Callable[[], tuple[float, float]]


class Row(NamedTuple):
    """The measurements of a case: seconds by contestant."""

    case: Case
    threads: int
    medians: dict[str, float]
    minima: dict[str, float]
    mode: str
    """SAELens's fastest mode."""
    rate: float
    """Floating-point operations per second of the encoder product."""
    l0: float
    repeats: int

    @property
    def floor(self) -> float:
        """Seconds that the arithmetic of a step takes."""
        d, width = self.case.d, self.case.n_latents
        return (2 * BATCH * d * width + 8 * BATCH * self.l0 * d) / self.rate

    def times(self, peer: str, of: str = "medians") -> float | None:
        """How many times faster than a peer we are."""
        seconds = getattr(self, of)
        return seconds[peer] / seconds["ours"] if peer in seconds else None

    @property
    def met(self) -> bool | None:
        """Whether the targets are met; None where there are none."""
        if self.case.target is None:
            return None
        pairs = zip((DICTIONARY_LEARNING, SAELENS), self.case.target, strict=True)
        return all((times := self.times(peer)) is None or times >= target for peer, target in pairs)


def cases(sizes: Sequence[tuple[int, int]], only: Sequence[str]) -> list[Case]:
    """All cases at some sizes."""
    listed = []
    for size in sizes:
        listed += [Case(name, *size, k, dead) for dead in (False, True) for name in TOPK for k in (32, 64)]
        listed += [Case(name, *size, L0) for name in PENALISED]
    return [case for case in listed if not only or case.architecture in only]


def directions(d: int, n_latents: int) -> Tensor:
    """(F, D): the initial directions of every SAE of this size."""
    return make_sae("topk", d_model=d, n_latents=n_latents, k=1).W_dec.detach()


def planted(directions_FD: Tensor, n_features: int = 24) -> Tensor:
    """(B, D) rows of norm 1: some of the directions, a few of them often, and noise."""
    generator = torch.Generator().manual_seed(1)
    n_latents, d = directions_FD.shape
    often_F = (torch.arange(n_latents) + 20.0) ** -0.8
    chosen_BK = torch.multinomial(often_F, BATCH * n_features, replacement=True, generator=generator)
    strength_BK = torch.empty(BATCH, n_features).exponential_(generator=generator)
    x_BD = torch.randn(BATCH, d, generator=generator) * (n_features / d) ** 0.5
    for chosen_B, strength_B in zip(chosen_BK.view(BATCH, -1).T, strength_BK.T, strict=True):
        x_BD += strength_B[:, None] * directions_FD[chosen_B]
    return x_BD / x_BD.norm(dim=1, keepdim=True)


@torch.no_grad()
def sae_of(case: Case, x_BD: Tensor) -> SAE:
    """Our SAE in the middle of training: with a penalty, L0 latents are on; dead latents have small encoder columns."""
    fields: dict[str, Any] = {"k": case.k} if case.architecture in TOPK else {"sparsity_coefficient": COEFFICIENT}
    if case.architecture == "jumprelu":
        fields = {"sparsity_coefficient": 1.0, "target_l0": float(L0)}
    if case.architecture == "p_anneal":
        fields["penalty_norm"] = "lp_p"
    sae = make_sae(case.architecture, d_model=case.d, n_latents=case.n_latents, **fields)
    if sae.cfg.b_dec_start == "zeros":
        sae.begin_training(N_STEPS, x_BD)
    sae.n_steps = N_STEPS
    sae.b_dec.copy_(x_BD.mean(0))
    if case.architecture in PENALISED:
        some_BD = x_BD[:512] - sae.b_dec if sae.cfg.subtract_b_dec else x_BD[:512]
        pre = (some_BD @ sae.W_enc).flatten()
        floor = pre.kthvalue(len(pre) - L0 * len(some_BD)).values
        if case.architecture == "jumprelu":
            sae.get_parameter("threshold").fill_(floor)
        else:
            sae.b_enc.fill_(-floor)
        if case.architecture == "gated":
            sae.get_parameter("b_mag").fill_(-floor)
    if case.architecture == "p_anneal":
        sae.get_buffer("stage").fill_(sum(step <= STEP for step in sae.update_steps) - 1)  # pyright: ignore
    if case.dead:
        dead = dead_latents(case)
        sae.W_enc[:, dead] *= 0.01
        sae.tokens_since_fired_F[dead] = sae.dead_after
    return sae


def dead_latents(case: Case) -> Tensor:
    """Which latents are dead."""
    order = torch.randperm(case.n_latents, generator=torch.Generator().manual_seed(2))
    return order[: case.n_latents // 10].sort().values


@torch.no_grad()
def copy_weights(sae: SAE, peer: torch.nn.Module) -> None:
    """Copy our weights into a peer's SAE, in its layout."""
    ours = dict(sae.named_parameters())
    ours |= {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}
    ours |= {"bias": sae.b_dec, "decoder_bias": sae.b_dec, "gate_bias": sae.b_enc, "b_gate": sae.b_enc}
    ours["mag_bias"] = ours.get("b_mag", sae.b_enc)
    for name, weight in peer.named_parameters():
        weight.copy_(ours[name])


def ours(sae: SAE, x_BD: Tensor) -> Contestant:
    """Our step."""
    optimizer = adam(sae, LR)
    return Contestant("ours", lambda: training_step(sae, optimizer, x_BD, STEP, LR), lambda: (0.0, 0.0))


def dictionary_learnings(case: Case, sae: SAE, x_BD: Tensor) -> Contestant:
    """dictionary_learning's step, the trainer's `update`."""
    from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, matryoshka_batch_top_k, p_anneal, top_k
    from dictionary_learning.trainers import standard as relu

    cfg = sae.cfg
    common = {
        "steps": N_STEPS, "activation_dim": case.d, "dict_size": case.n_latents, "layer": 0, "lm_name": "none",
        "lr": LR, "warmup_steps": 0, "decay_start": None, "device": "cpu",
    }  # fmt: skip
    penalty = {**common, "l1_penalty": COEFFICIENT, "sparsity_warmup_steps": None}
    trainers: dict[str, Callable[[], Any]] = {
        "topk": lambda: top_k.TopKTrainer(**common, k=case.k),
        "batch_topk": lambda: batch_top_k.BatchTopKTrainer(**common, k=case.k),
        "matryoshka_batch_topk": lambda: matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer(
            **common, k=case.k, group_fractions=list(cfg.group_fractions), group_weights=[1.0] * len(cfg.ends)
        ),
        "relu": lambda: relu.StandardTrainer(**penalty),
        "relu_april": lambda: relu.StandardTrainerAprilUpdate(**penalty),
        "p_anneal": lambda: p_anneal.PAnnealTrainer(
            **common, sparsity_warmup_steps=None, sparsity_function="Lp^p", initial_sparsity_penalty=COEFFICIENT,
            anneal_start=int(cfg.anneal_start * N_STEPS), anneal_end=int(cfg.anneal_end * N_STEPS), p_end=cfg.p_end,
        ),
        "gated": lambda: gdm.GatedSAETrainer(**penalty),
        "jumprelu": lambda: jumprelu.JumpReluTrainer(
            **common, sparsity_warmup_steps=None, bandwidth=cfg.bandwidth, target_l0=cfg.target_l0
        ),
    }  # fmt: skip
    trainer = trainers[case.architecture]()
    copy_weights(sae, trainer.ae)
    if case.architecture == "p_anneal":
        trainer.p, trainer.next_p = sae.p, sae.next_p  # pyright: ignore[reportAttributeAccessIssue]
    if case.dead:
        trainer.num_tokens_since_fired[dead_latents(case)] = trainer.dead_feature_threshold
    return Contestant(
        DICTIONARY_LEARNING,
        lambda: trainer.update(STEP, x_BD),
        lambda: (float(trainer.loss(x_BD, step=STEP).detach()), float(sae.loss(x_BD, STEP).total.detach())),
    )


SAELENS_FAMILIES = {
    "topk": "TopK", "batch_topk": "BatchTopK", "matryoshka_batch_topk": "MatryoshkaBatchTopK",
    "relu": "Standard", "relu_april": "Standard", "gated": "Gated", "jumprelu": "JumpReLU",
}  # fmt: skip


def saelens_fields(case: Case, sae: SAE) -> dict[str, dict[str, Any]]:
    """SAELens's config for a case, in each of its modes that does the same work and may be the fastest."""
    cfg = sae.cfg
    fields: dict[str, Any] = {"d_in": case.d, "d_sae": case.n_latents, "apply_b_dec_to_input": cfg.subtract_b_dec}
    if case.architecture == "jumprelu":
        return {"default": {**fields, "jumprelu_bandwidth": cfg.bandwidth}}
    if case.architecture not in TOPK:
        return {"default": {**fields, "l1_coefficient": COEFFICIENT}}
    # by default it also multiplies and divides by the decoder's norms, which are 1
    fields |= {"k": case.k, "rescale_acts_by_decoder_norm": False}
    if case.architecture == "matryoshka_batch_topk":
        fields["matryoshka_widths"] = list(cfg.ends)
    modes = {"no rescaling": fields}
    if case.architecture == "topk":
        modes["no rescaling, sparse"] = {**fields, "use_sparse_activations": True}
    return modes


def saelens(case: Case, sae: SAE, x_BD: Tensor, mode: str, fields: dict[str, Any]) -> Contestant:
    """SAELens's step, its trainer's `step`."""
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.training.sae_trainer import SAETrainer

    family = SAELENS_FAMILIES[case.architecture]
    peer = getattr(sae_lens, f"{family}TrainingSAE")(getattr(sae_lens, f"{family}TrainingSAEConfig")(**fields))
    copy_weights(sae, peer)
    settings = SAETrainerConfig(
        total_training_samples=N_STEPS * BATCH, train_batch_size_samples=BATCH, lr=LR, lr_end=LR
    )
    trainer = SAETrainer(settings, peer, iter(()))
    if case.dead:
        trainer.n_forward_passes_since_fired[dead_latents(case)] = settings.dead_feature_window + 1

    def losses() -> tuple[float, float]:
        given = TrainStepInput(
            sae_in=x_BD, dead_neuron_mask=trainer.dead_neurons, coefficients=trainer.get_coefficients(),
            n_training_steps=STEP, is_logging_step=False,
        )  # fmt: skip
        theirs, own = peer.training_forward_pass(given), sae.loss(x_BD, STEP)
        if case.architecture in ("relu", "relu_april", "gated"):
            return float(theirs.loss.detach()), float(own.total.detach())
        # its AuxK and JumpReLU penalty are defined differently; it sums over prefixes, we average
        errors = [float(value.detach()) for name, value in theirs.losses.items() if "mse_loss" in name]
        return sum(errors) / len(errors), float(own.reconstruction.detach())

    def step() -> None:
        trainer.step(x_BD)
        trainer.n_training_steps += 1

    return Contestant(mode, step, losses)


def check_same_work(case: Case, peers: Sequence[Contestant]) -> None:
    """Raises AssertionError where a peer's loss differs from ours."""
    for peer in peers:
        theirs, own = peer.losses()
        if not abs(theirs - own) <= 1e-4 * abs(own):
            raise AssertionError(f"{case}, {peer.name}: the peer's loss is {theirs}, ours {own}")


def seconds_of_one(act: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(case: Case, threads: int, seconds: float, repeats: tuple[int, int]) -> Row:
    """Measure a case for about `seconds`, with a minimum and a maximum number of repetitions."""
    gc.collect()
    x_BD = planted(directions(case.d, case.n_latents))
    sae = sae_of(case, x_BD)
    mine, peers = ours(sae, x_BD), [dictionary_learnings(case, sae, x_BD)]
    has_it = case.architecture in SAELENS_FAMILIES
    modes = [saelens(case, sae, x_BD, *mode) for mode in saelens_fields(case, sae).items()] if has_it else []
    check_same_work(case, [*peers, *modes])
    if len(modes) > 1:
        for contestant in modes:
            contestant.step()
        modes = [min(modes, key=lambda contestant: seconds_of_one(contestant.step))]
    mode = modes[0].name if modes else "-"
    peers += [contestant._replace(name=SAELENS) for contestant in modes]
    columns_DF, pre_BF = sae.W_enc.detach().contiguous(), torch.empty(BATCH, case.n_latents)
    product = Contestant("product", lambda: torch.mm(x_BD, columns_DF, out=pre_BF), lambda: (0.0, 0.0))
    contestants = [mine, *peers, product]
    for contestant in (mine, *contestants):
        contestant.step()
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    start = time.perf_counter()
    while (n := len(times["ours"])) < repeats[0] or (n < repeats[1] and time.perf_counter() - start < seconds):
        for contestant in contestants:
            times[contestant.name].append(seconds_of_one(contestant.step))
    loss = sae.loss(x_BD, STEP)
    l0 = loss.active.l0(loss.z)
    if l0 > 100 or (case.dead and not torch.equal(sae.dead_F(sae.dead_after).nonzero()[:, 0], dead_latents(case))):
        raise AssertionError(f"{case}: sparsity or dead latents changed while measuring (L0 {l0:.1f})")
    medians = {name: statistics.median(steps) for name, steps in times.items()}
    rate = 2 * BATCH * case.d * case.n_latents / medians["product"]
    minima = {name: min(steps) for name, steps in times.items()}
    return Row(case, threads, medians, minima, mode, rate, l0, len(times["ours"]))


HEADER = (
    "| SAE | d, latents | k or L0 | threads | ours, ms | dictionary_learning, ms | SAELens, ms | SAELens's mode "
    "| x faster than dictionary_learning | than SAELens | share of floor | target | |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- | --- |",
)


def shown(row: Row) -> str:
    """A line of the table."""
    case = row.case

    def times(peer: str) -> str:
        ratio, of_minima = row.times(peer), row.times(peer, "minima")
        return "-" if ratio is None else f"{ratio:.2f} ({of_minima:.2f})"

    def milliseconds(name: str) -> str:
        return f"{1e3 * row.medians[name]:.1f}" if name in row.medians else "-"

    seconds = [milliseconds(name) for name in ("ours", DICTIONARY_LEARNING, SAELENS)]
    ratios = [times(DICTIONARY_LEARNING), times(SAELENS), f"{row.floor / row.medians['ours']:.2f}"]
    target = "" if case.target is None else ", ".join(f">= {times_faster:g}" for times_faster in case.target)
    judged = {None: "", True: "met", False: "MISSED"}[row.met]
    size = [f"{case.d}, {case.n_latents:,}", f"{row.l0:.0f}", str(row.threads)]
    return "| " + " | ".join([case.name, *size, *seconds, row.mode, *ratios, target, judged]) + " |"


def eight_cases(d: int, n_latents: int) -> list[Case]:
    """Eight SAEs of eight architectures."""
    return [Case(name, d, n_latents, L0) for name in (*TOPK, *PENALISED)]


def eight_together(d: int, n_latents: int, repeats: int) -> tuple[float, float]:
    """Seconds of a step of eight SAEs in turn on one batch, and the sum of eight single runs' steps (medians)."""
    x_BD = planted(directions(d, n_latents))
    steps = [ours(sae_of(case, x_BD), x_BD).step for case in eight_cases(d, n_latents)]
    for step in (*steps, *steps):
        step()
    together: list[float] = []
    alone: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, seconds in zip(steps, alone, strict=True):
            step()  # as in a run of its own, where the step before was this SAE's too
            seconds.append(seconds_of_one(step))
        together.append(seconds_of_one(lambda: [step() for step in steps]))
    return statistics.median(together), sum(statistics.median(seconds) for seconds in alone)


def memory_of(some: Sequence[Case]) -> dict[str, int]:
    """Bytes by which this process grows at most while SAEs train together, and how many of them they keep."""
    tiny = torch.randn(64, 32)
    for case in eight_cases(32, 64):  # loads the compiled loops
        sae = make_sae(case.architecture, d_model=32, n_latents=64)
        training_step(sae, adam(sae, LR), tiny, STEP, LR)
    x_BD = planted(directions(some[0].d, some[0].n_latents))
    gc.collect()
    keep_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status("VmHWM")
    x_BD = x_BD.clone()
    saes = [sae_of(case, x_BD) for case in some]
    steps = [ours(sae, x_BD).step for sae in saes]
    for step in (*steps, *steps, *steps):
        step()
    kept = 3 * sum(weight.nbytes for sae in saes for weight in sae.parameters())
    return {"growth": _status("VmHWM") - before, "kept": kept, "batch": x_BD.nbytes}


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory_report(d: int, n_latents: int) -> None:
    """Print as JSON `memory_of` eight SAEs together, then of each alone, each in a process that does nothing else."""
    torch.set_num_threads(1)
    some = eight_cases(d, n_latents)
    for group in (some, *([case] for case in some)):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            print(json.dumps(memory_of(group)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def memory_lines(d: int, n_latents: int) -> list[str]:
    """The memory that eight SAEs take, in words."""
    command = [sys.executable, __file__, "--memory", f"{d},{n_latents}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    together, *alone = [json.loads(line) for line in printed.splitlines()]
    working = max(single["growth"] - single["kept"] - single["batch"] for single in alone)
    expected = together["kept"] + together["batch"] + working
    mib = {name: f"{size / 2**20:,.1f} MiB" for name, size in {**together, "working": working}.items()}
    return [
        f"Memory of eight, d {d}, {n_latents:,} latents: the process grows by {mib['growth']} at most; parameters and "
        f"moments are {mib['kept']}, a batch {mib['batch']}, the working memory (gradients, pre-activations) of the "
        f"largest single step {mib['working']}: {together['growth'] / expected:.2f} of their sum."
    ]


def verdict(rows: Sequence[Row]) -> list[str]:
    """Which targets are met."""
    judged = [row for row in rows if row.met is not None]
    missed = [f"{row.case.name} (k {row.case.k}, threads {row.threads})" for row in judged if not row.met]
    met = f"Targets met: {len(judged) - len(missed)} of {len(judged)}."
    return [met + (f" MISSED: {', '.join(missed)}." if missed else "")] if judged else []


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="d 512, 4,096 latents, one thread, few repetitions")
    parser.add_argument("--only", default="", help="architectures, `eight`, `memory`, comma-separated")
    parser.add_argument("--threads", default="", help="numbers of threads, comma-separated")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print; write the page where everything was measured."""
    asked = options()
    warnings.filterwarnings("ignore", message="Sparse invariant checks")
    keep_freed_memory()
    if asked.memory:
        memory_report(*(int(number) for number in asked.memory.split(",")))
        return
    only = asked.only.split(",") if asked.only else []
    threads = [int(number) for number in (asked.threads or ("1" if asked.quick else "1,2")).split(",")]
    lines: list[str] = []

    def say(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    rows = say_rows(cases([TARGET_SIZE] if asked.quick else SIZES, only), threads, asked.quick, say)
    for size in (TARGET_SIZE,) if asked.quick else (TARGET_SIZE, (128, 1024)):
        if not only or "eight" in only:
            say_eight(size, threads, asked.quick, say)
        if not only or "memory" in only:
            say("", *memory_lines(*size))
    say("", *verdict(rows))
    if not (asked.quick or asked.only or asked.threads):
        write(lines)


def say_rows(some: Sequence[Case], threads: Sequence[int], quick: bool, say: Callable[..., None]) -> list[Row]:
    """Measure cases and print the table."""
    rows = []
    if some:
        say(*HEADER)
    for case in some:
        for n_threads in threads:
            torch.set_num_threads(n_threads)
            weighty = case.target is not None and not quick
            rows.append(measure(case, n_threads, *((5.0, (5, 25)) if weighty else (1.0, (3, 25)))))
            say(shown(rows[-1]))
    return rows


def say_eight(size: tuple[int, int], threads: Sequence[int], quick: bool, say: Callable[..., None]) -> None:
    """Measure eight SAEs together and print it."""
    for n_threads in threads:
        torch.set_num_threads(n_threads)
        together, alone = eight_together(*size, repeats=3 if quick else 7)
        say(
            "",
            f"Eight SAEs of eight architectures on one batch, d {size[0]}, {size[1]:,} latents, threads {n_threads}: "
            f"{1e3 * together:.0f} ms per step together, {1e3 * alone:.0f} ms as eight single runs: "
            f"{together / alone:.2f} times as much (target: no more, except for noise).",
        )


def write(lines: Sequence[str]) -> None:
    """Write the page."""
    from importlib.metadata import version

    peers = ", ".join(f"{name} {version(name)}" for name in ("dictionary-learning", "sae-lens", "torch"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {peers}"
    about = (
        f"Whole training steps of {BATCH:,} activations, float32, made by `make bench-saes`. All three have the same "
        "weights, data and settings, and take one step each in turn. Milliseconds are medians, ratios are of medians "
        "(in brackets: of minima); SAELens is in its fastest mode. Share of floor: the time that the arithmetic of "
        "encoder and active latents would take at the rate of a bare encoder product, over that of our step. With a "
        f"penalty, about {L0} latents are on."
    )
    page = "\n".join(["# SAE training steps", "", about, "", *lines, "", machine, ""])
    Path(__file__).with_name("saes.md").write_text(page)


if __name__ == "__main__":
    main()
