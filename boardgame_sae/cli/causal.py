"""Changing what a model holds inside: setting a square of its inner board."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, TestbedInput, parse, say, verb
from boardgame_sae.config import Positive, config


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


@verb("edit", 125, "--testbed othello6-tiny --moves c2b4a5 --square c3 --to mine")
def edit(argv: Sequence[str]) -> Path:
    """Set a square on a model's inner board, and watch its next moves change."""
    from boardgame_sae.metrics.causal.edit import edit as edit_board
    from boardgame_sae.testbeds.shipped import find_sae, find_testbed
    from boardgame_sae.testbeds.testbed import load_testbed

    source, given, device = parse("edit", argv, TestbedInput, SquareInput, Device)
    folder = find_testbed(source.testbed)
    sae = None if given.sae is None else find_sae(given.sae if "/" in given.sae else f"{source.testbed}/{given.sae}")
    testbed, how = load_testbed(folder, device.device), {"hook_name": given.hook_name, "scale": given.scale}
    say(str(edit_board(testbed, given.moves, given.square, given.to, sae=sae, **how)))
    return folder
