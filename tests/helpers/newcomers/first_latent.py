"""A new score, in one file: how often the SAE's first latent, by being on, tells the testbed's first class right."""

import numpy as np

from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.score import NoConfig, score
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.metrics.subject import Subject

ACCURACY = Statistic(
    sums=("right", "asked"),
    same=("asked",),
    compute=lambda sums, details: {"accuracy": sums["right"].sum(1) / sums["asked"].sum(1)},
)


@score(
    "first_latent",
    title="First latent",
    meaning="Share of test positions where the first latent is on exactly when the first class is true",
    source="a test of this project",
    suites=("supervised",),
    statistic=ACCURACY,
)
def first_latent(subject: Subject, cfg: NoConfig) -> ScoreValue:
    """The accuracy, with its interval over games."""
    where = subject.testbed.positions("test")
    right_N = np.concatenate(
        [
            (latents.columns(0, 1).to_dense()[:, 0] > 0) == subject.testbed.labels("test", span.start, span.stop)[:, 0]
            for span, latents in zip(subject.testbed.spans("test"), subject.latents("test"), strict=True)
        ]
    )
    n_games = len(where.games_B)
    right_B = np.bincount(where.game_N, weights=right_N, minlength=n_games).astype(np.int64)
    asked_B = np.bincount(where.game_N, minlength=n_games)
    return ACCURACY.score(GameSums.dense({"right": right_B, "asked": asked_B}, ACCURACY.same))
