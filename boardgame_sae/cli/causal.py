"""Changing what a model holds inside: setting a square of its inner board, steering it along a vector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from boardgame_sae.cli.flags import Device, TestbedInput, parse, say, verb
from boardgame_sae.config import Natural, NonNegative, Positive, Seed, Signed, config


@config
class SquareInput:
    """What is set where."""

    moves: str
    """The moves so far, as the game writes them."""
    square: tuple[str, ...]
    """The square, such as e3; several to move a piece or to swap two."""
    to: tuple[str, ...]
    """What is to stand there, as the player to move sees it: mine, yours, empty; of chess my_rook, your_pawn, empty.
    One for each square."""
    sae: str | None = None
    """Edit through the latents of this SAE: its folder, or the name of a shipped one (default: through a probe)."""
    hook_name: str | None = None
    """Hook point of the change (default: what is best on validation games; of an SAE the testbed's own)."""
    scale: Positive | None = None
    """Length of the change (default: the best on validation games)."""


@config
class SteerInput:
    """What is added where, and what is then played."""

    coefficient: Signed = 1.0
    """How much of the vector is added: 1 takes the mean of the low side to that of the high, -1 the other way."""
    hook_name: str | None = None
    """Hook point where it is added, at every token (default: where the testbed reads)."""
    toward: str = "skill"
    """What to steer towards: a property that ranks positions (skill: the strongest players less the weakest), or
    anything true or false of them (check, "e4 mine")."""
    vector: Literal["contrastive", "probe"] = "contrastive"
    """How it is found: contrastive, the difference of means, or probe, the direction of a linear classifier."""
    sae: str | None = None
    """Instead, what the latents of this SAE write that tell the sides apart best: its folder, or a shipped name."""
    moves: str = ""
    """The moves so far, as the game writes them (default: none)."""
    player: str | None = None
    """The opponent, as of `generate` (default: the game's built-in player, or a random one)."""
    n_games: Natural = 0
    """Games in which strength and legality are measured too, without and with the vector (default: none)."""
    opening: str = "random:plies=2"
    """How those games begin, as of `generate`."""
    temperature: NonNegative = 1.0
    """Temperature of the model's moves in games; 0 plays its most probable ones."""
    seed: Seed = 0
    """Seed of what is sampled and played."""


@verb("edit", 125, "--testbed othello6-tiny --moves c2b4a5 --square c3 --to mine")
def edit(argv: Sequence[str]) -> Path:
    """Set a square on a model's inner board, and watch its next moves change."""
    source, given, device = parse("edit", argv, TestbedInput, SquareInput, Device)

    from boardgame_sae.metrics.causal.edit import edit as edit_board
    from boardgame_sae.testbeds.shipped import find_sae, find_testbed
    from boardgame_sae.testbeds.testbed import load_testbed

    folder = find_testbed(source.testbed)
    sae = None if given.sae is None else find_sae(_sae_name(given.sae, source.testbed))
    testbed, how = load_testbed(folder, device.device), {"hook_name": given.hook_name, "scale": given.scale}
    say(str(edit_board(testbed, given.moves, given.square, given.to, sae=sae, **how)))
    return folder


@verb("steer", 126, '--testbed chess-small --coefficient 0.5 --moves "1.e4 e5" --n-games 20')
def steer(argv: Sequence[str]) -> Path:
    """Add a skill vector (or another) to a model, and watch what it plays."""
    source, given, device = parse("steer", argv, TestbedInput, SteerInput, Device)

    from boardgame_sae.metrics.causal.steering.steer import steer as steer_model
    from boardgame_sae.testbeds.shipped import find_sae, find_testbed
    from boardgame_sae.testbeds.testbed import load_testbed

    folder, settings = find_testbed(source.testbed), vars(given).copy()
    if given.sae is not None:
        settings["sae"] = find_sae(_sae_name(given.sae, source.testbed))
    say(str(steer_model(load_testbed(folder, device.device), **settings)))
    return folder


def _sae_name(name: str, testbed: str) -> str:
    """The name of an SAE of a testbed may leave the testbed's away."""
    return name if "/" in name else f"{testbed}/{name}"
