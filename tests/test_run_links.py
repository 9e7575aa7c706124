"""A run writes into its own folder and nowhere else, whatever lies in the folder; and one process works in it."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from boardgame_sae.files import RunError, append_bytes, open_new, write_bytes, write_json, write_parquet, writing
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.launch import map_ordered
from boardgame_sae.runs import Run
from boardgame_sae.transcripts.generate import generate
from boardgame_sae.transcripts.pgn.importer import import_pgn_run
from boardgame_sae.weights import write_tensors

LICHESS = Path(__file__).parent / "data/lichess_100.pgn"


@pytest.fixture
def victim(tmp_path) -> Path:
    """A file of somebody else's."""
    (tmp_path / "victim").write_text("mine")
    return tmp_path / "victim"


def hdf5(path: Path) -> None:
    with writing(path) as temporary, new_hdf5(temporary) as file:
        file["a"] = np.arange(3)


WRITERS = {
    "bytes": lambda path: write_bytes(path, b"new"),
    "JSON": lambda path: write_json(path, [1]),
    "Parquet": lambda path: write_parquet(path, {"a": np.arange(3)}),
    "torch tensors": lambda path: write_tensors(path, {"a": torch.ones(2)}),
    "numpy tensors": lambda path: write_tensors(path, {"a": np.ones(2)}),
    "HDF5": hdf5,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["file", ".file.part"])
def test_a_link_with_a_files_name_or_that_of_its_temporary_is_not_followed(tmp_path, victim, kind, name):
    (tmp_path / name).symlink_to(victim)
    WRITERS[kind](tmp_path / "file")
    assert victim.read_text() == "mine"
    assert (tmp_path / "file").is_file() and not (tmp_path / "file").is_symlink()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_new_file_replaces_a_link_and_an_appended_one_refuses_it(tmp_path, victim):
    for name in ("new", "log"):
        (tmp_path / name).symlink_to(victim)
    with open_new(tmp_path / "new") as file:
        file.write(b"new")
    with pytest.raises(RunError, match="log: a link, and nothing is written through links"):
        append_bytes(tmp_path / "log", b"more")
    assert victim.read_text() == "mine" and (tmp_path / "new").read_bytes() == b"new"


def test_links_in_an_unfinished_run_are_gone_when_it_is_opened(tmp_path, victim):
    folder = tmp_path / "run"
    Run("kind", "name", {}, out=folder).close()
    (tmp_path / "elsewhere").mkdir()
    (folder / "parts").symlink_to(tmp_path / "elsewhere")
    (folder / "metrics.jsonl").symlink_to(victim)
    (folder / "timings.jsonl").symlink_to(tmp_path / "nothing yet")
    os.mkfifo(folder / "state.safetensors")
    with Run("kind", "name", {}, out=folder) as run:
        assert run.load_state() is None
        run.log(step=1)
        run.log_time("all", 1.0)
        write_bytes(run / "parts/a", b"1")
        run.save_state({"a": torch.ones(1)}, {})
    assert victim.read_text() == "mine" and list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "nothing yet").exists()


def test_links_are_gone_before_a_finished_run_is_added_to(tmp_path, victim):
    with Run("kind", "name", {}, out=tmp_path / "run") as run:
        run.finish()
    (tmp_path / "run/metrics.jsonl").symlink_to(victim)
    with Run("kind", "name", {}, out=tmp_path / "run") as run:
        run.reopen()
        run.log(step=1)
    assert victim.read_text() == "mine"


def test_links_in_a_folder_that_is_no_run_are_left_alone(tmp_path, victim):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/link").symlink_to(victim)
    with pytest.raises(RunError, match=r"holds link but no run\.json"):
        Run("kind", "name", {}, out=tmp_path / "own")
    assert (tmp_path / "own/link").is_symlink()


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    generate("othello4", n_games=5, out=tmp_path / "run")
    assert (tmp_path / "disk/DONE").exists() and (tmp_path / "run").is_symlink()


def test_an_import_writes_its_list_of_skipped_games_through_no_link(tmp_path, victim):
    from boardgame_sae.transcripts.pgn.importer import ImportPGNConfig

    cfg = ImportPGNConfig(sources=(str(LICHESS),))
    whole = import_pgn_run(cfg, out=tmp_path / "whole")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_bytes((whole / "run.json").read_bytes())
    for name in ("skipped.jsonl", ".skipped.jsonl.part", ".corpus.h5.part", ".DONE.part", "corpus.h5", "parts"):
        (folder / name).symlink_to(victim)
    import_pgn_run(cfg, out=folder)
    assert victim.read_text() == "mine"
    assert (folder / "DONE").read_bytes() == (whole / "DONE").read_bytes()


# One process


def log_a_line(run):
    run.log(step=1)
    return run.folder


def test_a_worker_process_writes_in_the_run_that_its_parent_holds(tmp_path):
    with Run("kind", "name", {}, out=tmp_path) as run:
        assert list(map_ordered(log_a_line, [run, run], workers=2)) == [tmp_path, tmp_path]
        with pytest.raises(RunError, match="already working in this run"):
            Run("kind", "name", {}, out=tmp_path)
        run.finish()
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_a_rank_in_the_environment_does_not_bypass_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with Run("kind", "name", {}, out=tmp_path), pytest.raises(RunError, match="already working"):
        Run("kind", "name", {}, out=tmp_path)


def test_a_state_that_a_kill_left_after_done_goes_at_the_next_opening(tmp_path):
    with Run("kind", "name", {}, out=tmp_path) as run:
        run.save_state({"a": torch.ones(1)}, {})
        state = (tmp_path / "state.safetensors").read_bytes()
        run.finish()
    (tmp_path / "state.safetensors").write_bytes(state)
    Run("kind", "name", {}, out=tmp_path).close()
    assert not (tmp_path / "state.safetensors").exists() and (tmp_path / "DONE").exists()
