"""Autointerp with a language model: it explains a latent from positions at which it is on, then says where it is on.

The explanation is made from `n_explain` positions of train games, two thirds of them the strongest, the others drawn;
it is tried on `n_judge` positions of test games at which the latent is on and as many at which it is off, in random
order. The score is the share told right, the mean over latents: from 0 to 1, higher is better, and always saying None
has .5 (published: 10 of 14, and windows called inactive in which the latent is on). An answer that is no list of
positions counts as None, and `unparsable` is the share of such answers; the published score drops these latents.

It needs a network, so it is in no suite: `boardgame-sae judge` computes it. Chosen latents and positions are those of
a seed; with a model that is not deterministic the cache of answers makes a second run the same.

Source: SAEBench (arXiv 2503.09532), automated interpretability; Paulo et al. 2024 (arXiv 2410.13928).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from boardgame_sae.config import seed_for
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.autointerp.judge_config import JudgeConfig
from boardgame_sae.metrics.saebench.autointerp.openai_client import ChatClient, Messages
from boardgame_sae.metrics.saebench.autointerp.program_score import (
    MIN_ACTIVE,
    SHARE_TOP,
    AutointerpConfig,
    chosen_latents,
)
from boardgame_sae.metrics.saebench.autointerp.prompts import (
    MAX_ANSWER,
    MAX_EXPLANATION,
    described,
    detection_messages,
    explanation_messages,
    read_explanation,
    read_numbers,
)
from boardgame_sae.metrics.saebench.autointerp.windows import column_of, windows
from boardgame_sae.metrics.score import Chance, Display, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.runs import progress

CHARACTERS_PER_TOKEN = 3
"""Fewer than in prose: move texts and boards are cut into short tokens."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:  # noqa: ARG001
    asked = np.maximum(sums["asked"], 1)
    return {"value": (sums["right"] / asked).mean(1), "always_none": (1 - sums["active"] / asked).mean(1)}


ACCURACY = Statistic(("asked", "active", "right"), _numbers)


@score(
    "autointerp_llm",
    title="Autointerp by a language model",
    meaning="Share of test positions, half of them active, at which a model tells a latent by its own explanation",
    source="SAEBench (arXiv 2503.09532), automated interpretability",
    suites=(),
    order=16,
    config=JudgeConfig,
    statistic=ACCURACY,
    display=Display(
        parts={"always_none": "always saying None (chance)", "unparsable": "unparsable answers"},
        columns=("_unparsable",),
        chance=Chance("always_none", shared=False),
        unit="accuracy on test",
    ),
)
def llm_score(subject: Subject, cfg: JudgeConfig) -> ScoreValue:
    """Autointerp by a language model.

    Raises UnscorableError when no latent is on often enough in every split, RunError as `ChatClient.ask` does.
    """
    client = cfg.client()
    tasks, judged = subject.once(all_tasks, cfg), list[Judged]()
    with ThreadPoolExecutor(cfg.n_parallel) as pool, progress(len(tasks), "judge latents", "latents") as bar:
        try:
            for one in pool.map(lambda task: judge(task, client), tasks):
                judged.append(one)
                bar.update(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    n_games = len(subject.testbed.positions("test").games_B)
    counts = {name: np.zeros((n_games, len(tasks)), np.int32) for name in ACCURACY.sums}
    for column, (task, one) in enumerate(zip(tasks, judged, strict=True)):
        chosen = {"asked": np.ones(len(task.active_N), bool), "active": task.active_N, "right": one.right_N}
        for name, rows_N in chosen.items():
            counts[name][:, column] = np.bincount(task.game_N[rows_N], minlength=n_games)
    unparsable = float(np.mean([one.unparsable for one in judged]))
    value = ACCURACY.score(GameSums.dense(counts), {"unparsable": unparsable})
    return value._replace(details=_details(tasks, judged, cfg))


class Task(NamedTuple):
    """What is asked about one latent."""

    latent: int
    game: str
    explain: Messages
    """The request for its explanation."""
    positions: list[str]
    """Those on which it is tried, in the order of the request."""
    active_N: np.ndarray
    """bool: at which of them the latent is on."""
    game_N: np.ndarray
    """The test game of each."""


class Judged(NamedTuple):
    """What the model made of a latent."""

    explanation: str
    right_N: np.ndarray
    unparsable: bool


def all_tasks(subject: Subject, cfg: JudgeConfig) -> list[Task]:
    """Everything that will be asked. Raises UnscorableError when no latent is on often enough in every split."""
    drawn = AutointerpConfig(n_latents=cfg.n_latents, seed=cfg.seed)
    return [_task(subject, latent, cfg) for latent in chosen_latents(subject, drawn)]


def _task(subject: Subject, latent: int, cfg: JudgeConfig) -> Task:
    testbed, game = subject.testbed, subject.testbed.corpus.game.name
    parts = {}
    for split, n_each in (("train", cfg.n_explain), ("test", cfg.n_judge)):
        column = column_of(testbed.spans(split), subject.latents(split), latent)
        rng = np.random.default_rng(seed_for(cfg.seed, "llm windows", latent, split))
        parts[split] = column, windows(column, len(testbed.positions(split)), n_each, SHARE_TOP[split], rng), rng
    column, shown, _ = parts["train"]
    value_Z = column.value_Z[np.isin(column.row_Z, shown.row_N[shown.active_N])]
    strongest = np.argsort(-value_Z, kind="stable")
    rows = shown.row_N[shown.active_N][strongest]
    explain = explanation_messages(
        game, [described(testbed, "train", row) for row in rows], value_Z[strongest].tolist()
    )
    _, asked, rng = parts["test"]
    order = rng.permutation(len(asked.row_N))
    row_N = asked.row_N[order]
    positions = [described(testbed, "test", row) for row in row_N]
    return Task(latent, game, explain, positions, asked.active_N[order], testbed.positions("test").game_N[row_N])


def judge(task: Task, client: ChatClient) -> Judged:
    """Have one latent explained, and its explanation tried. Raises RunError as `ChatClient.ask` does."""
    explanation = read_explanation(client.ask(task.explain, MAX_EXPLANATION))
    answer = client.ask(detection_messages(task.game, explanation, task.positions), MAX_ANSWER)
    numbers = read_numbers(answer, len(task.positions))
    told_N = np.isin(np.arange(1, len(task.positions) + 1), list(numbers or ()))
    return Judged(explanation, told_N == task.active_N, numbers is None)


class Cost(NamedTuple):
    """What a judgement will take, at most."""

    n_requests: int
    tokens_in: int
    tokens_out: int

    def __str__(self) -> str:
        return (
            f"{self.n_requests} requests, about {self.tokens_in} tokens in and at most {self.tokens_out} out; answers "
            "that are cached are not asked for again"
        )


def cost(tasks: Sequence[Task], client: ChatClient) -> Cost:
    """An estimate, from the number of characters, of what has to be sent and answered."""
    open_explanations = {task.latent for task in tasks if not client.is_kept(task.explain, MAX_EXPLANATION)}
    longest = "x" * (MAX_EXPLANATION * CHARACTERS_PER_TOKEN)
    open_trials = []
    for task in tasks:
        known = task.latent not in open_explanations
        explanation = read_explanation(client.ask(task.explain, MAX_EXPLANATION)) if known else longest
        messages = detection_messages(task.game, explanation, task.positions)
        if not (known and client.is_kept(messages, MAX_ANSWER)):
            open_trials.append(messages)
    requests = [*(task.explain for task in tasks if task.latent in open_explanations), *open_trials]
    characters = sum(len(message["content"]) for messages in requests for message in messages)
    tokens_out = MAX_EXPLANATION * len(open_explanations) + MAX_ANSWER * len(open_trials)
    return Cost(len(requests), characters // CHARACTERS_PER_TOKEN, tokens_out)


def _details(tasks: Sequence[Task], judged: Sequence[Judged], cfg: JudgeConfig) -> dict[str, Any]:
    rows = [
        {
            "latent": task.latent,
            "explanation": one.explanation,
            "score": round(float(one.right_N.mean()), 6),
            "unparsable": one.unparsable,
        }
        for task, one in zip(tasks, judged, strict=True)
    ]
    scores = [row["score"] for row in rows]
    deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    metrics = {"autointerp_score": float(np.mean(scores)), "autointerp_std_dev": deviation}
    eval_config = {
        "random_seed": cfg.seed,
        "n_latents": cfg.n_latents,
        "dead_latent_threshold": MIN_ACTIVE,
        "max_tokens_in_explanation": MAX_EXPLANATION,
    }
    return {
        "latents": rows,
        "eval_type_id": "autointerp",
        "eval_config": eval_config,
        "eval_result_metrics": {"autointerp": metrics},
    }
