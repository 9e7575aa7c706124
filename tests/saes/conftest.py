import os
from pathlib import Path

import h5py
import pytest
from synthetic import sparse_activations

from boardgame_sae.activations.store import FORMAT, VERSION, ActivationStore


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> ActivationStore:
    """4,000 synthetic activations of width 16 on disk, scaled by 3."""
    path = tmp_path_factory.mktemp("acts") / "acts.h5"
    with h5py.File(path, "w") as file:
        file["acts"] = 3 * sparse_activations(4000)[0]
        file.attrs.update({"format": FORMAT, "version": VERSION, "hook_name": "made.up"})
    return ActivationStore.open(Path(path))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Checkpoints at every step would wait for the disk at every step."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
