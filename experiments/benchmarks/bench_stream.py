"""Eight SAEs on a stream of fresh games beside the same steps on activations in memory; writes stream.md beside it.

A repetition trains the same SAEs on one block of a stream, whose games are played and read by the GPT meanwhile, and
then as many steps on batches that are in memory; the ratio is that of the median times. With `reuse` a block is read
that many times before the next is played. Beside it: what playing games and shuffling take of a block without any SAE.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from boardgame_sae.activations.stream import GAMES_PER_PART, FreshActivations
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.train import adam, training_step
from boardgame_sae.testbeds.testbed import load_testbed

TESTBED, BATCH, LR, N_SAES, REPETITIONS = "othello6-tiny", 512, 1e-3, 8, 3
REUSE = (1, 4, 8)


def main() -> None:
    """Measure and write the table."""
    keep_freed_memory()
    torch.set_num_threads(1)
    testbed = load_testbed(TESTBED, "cpu")
    lines = [
        "# A stream of fresh games",
        f"{N_SAES} `topk` SAEs, 1,024 latents, k 32, batch {BATCH}, one thread, {TESTBED}, `{testbed.hook_name}`.",
        "| reuse | seconds a pass, stream | in memory | in memory / stream |\n| --- | --- | --- | --- |",
    ]
    for reuse in REUSE:
        source = FreshActivations(testbed.model, testbed.corpus, testbed.hook_name, reuse=reuse)
        times = [_repetition(source, repetition) for repetition in range(REPETITIONS)]
        stream, memory = (statistics.median(seconds) / reuse for seconds in zip(*times, strict=True))
        lines[-1] += f"\n| {reuse} | {stream:.1f} | {memory:.1f} | {memory / stream:.2f} |"
        print(lines[-1].rpartition("\n")[2], flush=True)
    share = _games_and_shuffling(FreshActivations(testbed.model, testbed.corpus, testbed.hook_name))
    lines.append(f"Games and shuffling take {share:.1%} of the time of a block without any SAE.")
    Path(__file__).with_name("stream.md").write_text("\n\n".join(lines) + "\n")


def _repetition(source: FreshActivations, seed: int) -> tuple[float, float]:
    """Seconds of training on all that a block gives, from the stream and from memory."""
    stream = source.stream(BATCH, seed)
    n_steps = stream.batches_per_block * source.reuse
    from_stream = _seconds(lambda: _train(stream.batch, n_steps))
    kept = [stream.batch(n_steps - 1 - step).clone() for step in range(stream.batches_per_block)]
    return from_stream, _seconds(lambda: _train(lambda step: kept[step % len(kept)], n_steps))


def _train(batch: Callable[[int], torch.Tensor], n_steps: int) -> None:
    saes = [make_sae("topk", d_model=128, n_latents=1024, k=32, seed=seed) for seed in range(N_SAES)]
    optimizers = [adam(sae, LR) for sae in saes]
    for step in range(n_steps):
        x_ND = batch(step) / 10
        for sae, optimizer in zip(saes, optimizers, strict=True):
            training_step(sae, optimizer, x_ND, step, LR)


def _games_and_shuffling(source: FreshActivations) -> float:
    """The share that playing the games of a block and shuffling it take of making it."""
    block = torch.empty(0)

    def make() -> None:
        nonlocal block
        block = torch.from_numpy(source.block(1))

    making = _seconds(make)
    shuffling = _seconds(lambda: block[torch.randperm(len(block))])
    tokens_a_game = source.model.gpt.cfg.n_ctx
    n_parts = max(1, len(block) // (GAMES_PER_PART * tokens_a_game))
    playing = _seconds(lambda: [source.games.block(1, part) for part in range(n_parts)])
    return (playing + shuffling) / (making + shuffling)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
