"""How probes are fitted."""

from typing import Literal

from boardgame_sae.config import Count, HookName, Natural, NonNegative, Positive, config


@config
class ProbeConfig:
    """What is probed, and how."""

    property: str | None = None
    """A registered property of the game (default: what is on every square)."""
    hook_names: tuple[HookName, ...] = ()
    """Hook points (default: the embedding and the residual stream after every block)."""
    positions: str | None = None
    """Where boards are read: `ply`, the end of each ply, or a place of the game's notation (default: the game's)."""
    min_ply: Natural = 0
    """Positions after fewer plies are left out, in training and in test games."""
    fit: Literal["minibatch", "closed_form"] = "minibatch"
    """Multinomial regression by AdamW, or ridge regression onto one-hots in closed form."""
    n_train_games: Count = 10_000
    """Number of training games."""
    epochs: Count = 1
    """Passes over the training games; beyond one, their activations stay in memory, as far as it suffices."""
    n_test_games: Count = 1000
    """Number of test games to report on."""
    games_a_step: Count = 64
    """Games per minibatch."""
    lr: Positive = 0.03
    """Peak learning rate of AdamW; it falls linearly to zero."""
    ridge: NonNegative = 1e-3
    """Added to the (whitened) covariance: the ridge of the closed form, and the floor of the whitening."""
