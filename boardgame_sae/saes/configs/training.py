"""How SAEs are trained."""

from typing import Literal, TypeAlias

from boardgame_sae.config import Count, Natural, NonNegative, Seed, Share, config
from boardgame_sae.saes.training.recipe import batch_size_for

Frozen: TypeAlias = Literal["", "decoder", "soft_decoder", "encoder"]
"""Which part of an SAE is frozen; the empty text: none."""


@config
class TrainSAEConfig:
    """How SAEs are trained; the same for all on one stream."""

    n_activations: Count = 1_000_000
    """Training activations per SAE; more than are harvested means several passes over them."""
    source: Literal["harvest", "fresh"] = "harvest"
    """harvest: the corpus's own games, harvested to disk once. fresh: games that are played for the training, read and
    thrown away; only where the corpus's players can play on (random, epsilon-greedy, the built-in search)."""
    reuse: Count = 1
    """How often each activation of source `fresh` is read before its game is thrown away: the GPT, which costs more
    than most SAEs, then reads that many times fewer games."""
    n_harvested: Count = 1_000_000
    """Activations to harvest to disk for the training, of source `harvest`."""
    harvest_dtype: Literal["float16", "float32"] = "float32"
    """Number format in which activations are kept on disk."""
    batch_size: Natural = 0
    """Activations per step. 0: what is good at this number of activations."""
    lr: NonNegative = 0.0
    """Peak learning rate of Adam. 0: what is good for the architecture at this number of activations."""
    lr_warmup: Share = 0.03
    """Fraction of the steps, the first, over which the learning rate rises from zero."""
    lr_decay: Share = 0.2
    """Fraction of the steps, the last, over which the learning rate falls to zero."""
    normalize_activations: bool = True
    """Divide activations by the root of their mean squared norm while training; the saved SAE takes raw ones."""
    n_calibration: Count = 65_536
    """Activations on which thresholds are set after training, and L0 at inference is measured."""
    dead_window: Count = 100_000
    """Tokens without firing after which a latent is reported as dead."""
    log_every: Count = 50
    """Steps between two lines of metrics."""
    snapshots: tuple[Share, ...] = ()
    """Fractions of the training after which the SAE as it then is is kept too, calibrated, in `snapshots/0.1/`."""
    frozen: Frozen = ""
    """What is not trained, for a floor: decoder (W_dec stays as it was drawn), soft_decoder (its rows keep a cosine of
    at least 0.8 with those drawn) or encoder (W_enc and b_enc stay; thresholds are trained). Empty: all is trained."""
    seed: Seed = 0
    """Seed of the order of the activations."""

    @property
    def n_steps(self) -> int:
        """Optimiser steps."""
        return max(1, self.n_activations // (self.batch_size or batch_size_for(self.n_activations)))
