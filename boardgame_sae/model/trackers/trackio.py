"""Trackio, which keeps everything here, in TRACKIO_DIR; with TRACKIO_SPACE_ID it sends it to a Space of the hub."""

from contextvars import Context
from typing import Any

from boardgame_sae.model.trackers.tracker import PROJECT, TrackedRun, TrackerRun, tracker


@tracker("trackio", library="trackio")
def open_run(trackio: Any, run: TrackedRun) -> TrackerRun:
    """Open a run, or the one of that name that was begun; trackio tells runs by their names.

    In a context of its own, as trackio ends the run that is open in the same one.
    """
    about = {"project": PROJECT, "name": run.name, "group": run.kind, "config": run.config}
    how = {"resume": "allow" if run.resumed else "never", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    return Context().run(trackio.init, **about, **how)
