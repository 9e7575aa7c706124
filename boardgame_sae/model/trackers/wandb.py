"""Weights & Biases. `WANDB_MODE=offline` keeps everything here, and `wandb sync` sends it later."""

import os
from typing import Any

from boardgame_sae.model.trackers.tracker import PROJECT, TrackedRun, TrackerRun, tracker
from boardgame_sae.runs import runs_root


@tracker("wandb", library="wandb")
def open_run(wandb: Any, run: TrackedRun) -> TrackerRun:
    """Open a run beside others, by its id; its files lie where runs go, unless WANDB_DIR says otherwise.

    A step that the server has already is dropped there.
    """
    folder = os.environ.get("WANDB_DIR", str(runs_root()))
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=run.id,
        name=run.name,
        group=run.kind,
        config=run.config,
        dir=folder,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(console="off"),
    )
