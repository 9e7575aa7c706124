"""Eight SAEs on a stream of fresh games beside the same steps on activations in memory; writes stream.md beside it.

Every step of one block is taken twice, in turn: on the stream's next batch, whose games are played and read by the GPT
when a block begins, and on a batch that is in memory. Two sets of SAEs change places after every step, so that neither
side gains by where in memory its weights happen to lie. With `reuse` a block is shuffled and read that many times
before the next is played, so its later passes are measured as well. Beside it: what playing games and shuffling take
of a block without any SAE.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from boardgame_sae.activations.stream import GAMES_PER_PART, FreshActivations
from boardgame_sae.launch import keep_freed_memory
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.train import adam, training_step
from boardgame_sae.testbeds.testbed import load_testbed

TESTBED, BATCH, LR, N_SAES = "othello6-tiny", 512, 1e-3, 8
REUSE = (1, 4, 8)
T = TypeVar("T")


def main() -> None:
    """Measure and write the table."""
    keep_freed_memory()
    torch.set_num_threads(1)
    testbed = load_testbed(TESTBED, "cpu")
    source = FreshActivations(testbed.model, testbed.corpus, testbed.hook_name, reuse=max(REUSE))
    stream = source.stream(BATCH, seed=0)
    n_steps = stream.batches_per_block
    kept = [stream.batch(step).clone() for step in range(n_steps)]  # of another stream than the one measured
    stream = source.stream(BATCH, seed=1)
    trainers = trainer(), trainer()
    reading, training, memory = 0.0, 0.0, 0.0
    for step in tqdm(range(n_steps), unit=" steps"):
        batch, seconds = timed(lambda step=step: stream.batch(step))
        reading += seconds
        on_stream, in_memory = trainers if step % 2 == 0 else trainers[::-1]
        training += timed(lambda batch=batch, step=step, train=on_stream: train(batch, step))[1]
        memory += timed(lambda step=step, train=in_memory: train(kept[step], step))[1]
    later = [
        timed(lambda number=number: [stream.batch(number * n_steps + step) for step in range(n_steps)])[1]
        for number in range(1, max(REUSE))
    ]
    rows = [
        f"{N_SAES} `topk` SAEs, 1,024 latents, k 32, batch {BATCH}, one thread, {TESTBED}, `{testbed.hook_name}`, "
        f"{n_steps * BATCH:,} activations a pass.",
        "| reuse | seconds a pass, stream | in memory | in memory / stream |\n| --- | --- | --- | --- |",
    ]
    for reuse in REUSE:
        a_pass = training + (reading + sum(later[: reuse - 1])) / reuse
        rows[-1] += f"\n| {reuse} | {a_pass:.1f} | {memory:.1f} | {memory / a_pass:.2f} |"
    share = games_and_shuffling(FreshActivations(testbed.model, testbed.corpus, testbed.hook_name))
    rows.append(f"Games and shuffling take {share:.1%} of the time of a block without any SAE.")
    text = "\n\n".join(["# A stream of fresh games", *rows]) + "\n"
    Path(__file__).with_name("stream.md").write_text(text)
    print(text)


def trainer() -> Callable[[Tensor, int], None]:
    """Eight SAEs; a function that takes a step with each of them."""
    saes = [make_sae("topk", d_model=128, n_latents=1024, k=32, seed=seed) for seed in range(N_SAES)]
    optimizers = [adam(sae, LR) for sae in saes]

    def train(batch_ND: Tensor, step: int) -> None:
        for sae, optimizer in zip(saes, optimizers, strict=True):
            training_step(sae, optimizer, batch_ND / 10, step, LR)

    return train


def games_and_shuffling(source: FreshActivations) -> float:
    """The share that playing the games of a block and shuffling it take of making it."""
    block_ND, making = timed(lambda: torch.from_numpy(source.block(1)))
    shuffling = timed(lambda: block_ND[torch.randperm(len(block_ND))])[1]
    n_parts = max(1, len(block_ND) // (GAMES_PER_PART * source.model.gpt.cfg.n_ctx))
    playing = timed(lambda: [source.games.block(1, part) for part in range(n_parts)])[1]
    return (playing + shuffling) / (making + shuffling)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What a piece of work returns, and its seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
