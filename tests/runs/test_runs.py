"""A run folder is whole at every moment: killed, on a full disk, opened twice or by mistake."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from boardgame_sae import runs
from boardgame_sae.files import RunError, file_hash, read_json, write_bytes, write_json, writing
from boardgame_sae.hdf5.writer import new_hdf5
from boardgame_sae.runs import Run, canonical_json, read_timings, run_hash, runs_root
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.runs.state import pack_state, unpack_state


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def new_run(folder: Path, **config) -> Run:
    return Run("kind", "name", config or {"a": 1}, {"corpus": "abc"}, out=folder)


# Files that appear whole or not at all


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError, SystemExit])
def test_writing_leaves_the_old_file_and_no_temporary_one_when_the_block_raises(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), writing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error("stop")
    assert path.read_text() == "old" and names_in(tmp_path) == ["file.txt"]


def test_writing_does_not_touch_the_old_file_until_it_is_done(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_bytes(path, b"old")
    with writing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and names_in(tmp_path) == ["deep/file.txt"]


def test_writing_fails_when_the_block_wrote_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "file.txt"):
        pass
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("n_rows", [0, 3, 100_000])
def test_a_new_hdf5_file_holds_what_was_put_into_it_in_one_piece(tmp_path, n_rows):
    with new_hdf5(tmp_path / "a.h5") as file:
        file["deep/rows"] = np.arange(n_rows)
        file.attrs["name"] = "é"
    with h5py.File(tmp_path / "a.h5") as file:
        rows = file["deep/rows"]
        assert np.array_equal(rows[()], np.arange(n_rows)) and file.attrs["name"] == "é"
        assert rows.chunks is None and (rows.id.get_offset() is None) == (n_rows == 0)


def test_written_json_is_read_back_and_its_bytes_do_not_depend_on_key_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, 0.1]})
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": [1, 0.1]}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("damage", [b"", b'{"a": 1', b"\xff\xff"])
def test_damaged_json_is_a_run_error_that_names_the_file(tmp_path, damage):
    (tmp_path / "a.json").write_bytes(damage)
    with pytest.raises(RunError, match="damaged") as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(str(tmp_path / "a.json"))


def test_a_missing_json_is_a_run_error_that_names_the_file(tmp_path):
    with pytest.raises(RunError, match="no such file") as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(str(tmp_path / "a.json"))


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_hash(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    import numpy as np, torch
    from boardgame_sae.files import RunError, writing
    from boardgame_sae.hdf5.writer import new_hdf5
    from boardgame_sae.runs import Run

    run = Run("kind", "name", {"a": 1}, out=sys.argv[1])
    run.log(step=1)
    run.save_state({"w": torch.arange(3)}, {"step": 1})
    run.log(step=2)
    with writing(run / "data.h5") as path, new_hdf5(path) as file:
        file["old"] = np.arange(3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    def h5():
        with writing(run / "data.h5") as path, new_hdf5(path) as file:
            for part in range(20):
                file[str(part)] = np.ones(1000)

    def log():
        for step in range(10_000):
            run.log(step=step)

    attempts = {
        "state.safetensors": lambda: run.save_state({"w": torch.ones(100_000)}, {"step": 2}),
        "data.h5": h5,
        "metrics.jsonl": log,
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except RunError as error:
            mend = "make room and run the same command again"
            print(name, str(error).startswith(str(run / name)), mend in str(error))
"""


def test_a_full_disk_is_a_run_error_with_the_mend_and_spoils_nothing(tmp_path):
    out = tmp_path / "run"
    script = textwrap.dedent(FULL_DISK)
    done = subprocess.run([sys.executable, "-c", script, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [f"{name} True True" for name in ("state.safetensors", "data.h5", "metrics.jsonl")]
    assert done.stdout.splitlines() == said
    assert names_in(out) == [".lock", "data.h5", "metrics.jsonl", "run.json", "state.safetensors"]
    with Run("kind", "name", {"a": 1}, out=out) as run:
        tensors, meta = run.load_state()
        assert tensors["w"].tolist() == [0, 1, 2] and meta["step"] == 1
        assert (run / "metrics.jsonl").read_text() == '{"step":1}\n'
    with h5py.File(out / "data.h5") as file:
        assert file["old"][()].tolist() == [0, 1, 2]


# Whose folder it is


def test_a_run_goes_below_the_runs_root_under_its_kind_name_and_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    with Run("gpt", "othello", {"a": 1}) as run:
        assert run.folder == tmp_path / "gpt" / f"othello-{run.hash}" and runs_root() == tmp_path
        card = read_json(run / "run.json")
    assert card == {"kind": "gpt", "name": "othello", "config": {"a": 1}, "inputs": {}, "hash": run.hash}


def test_the_hash_depends_on_kind_config_and_inputs_but_not_on_the_name(tmp_path):
    def hash_of(kind, name, config, inputs):
        return Run(kind, name, config, inputs, out=tmp_path / f"{kind}{name}{config}{inputs}").hash

    first = hash_of("gpt", "x", {"a": 1}, {"c": "1"})
    assert first == hash_of("gpt", "y", {"a": 1}, {"c": "1"})
    others = [
        ("sae", "x", {"a": 1}, {"c": "1"}),
        ("gpt", "x", {"a": 2}, {"c": "1"}),
        ("gpt", "x", {"a": 1}, {"c": "2"}),
    ]
    assert first not in [hash_of(*other) for other in others]


@pytest.mark.parametrize(
    ("kind", "config", "inputs", "difference"),
    [
        ("kind", {"a": 2, "b": 1}, {"corpus": "abc"}, "its config has a = 1, not 2"),
        ("kind", {"a": 1, "b": 1, "c": 0}, {"corpus": "abc"}, "its config has c = None, not 0"),
        ("kind", {"a": 1, "b": 1}, {"corpus": "xyz"}, "its inputs has corpus = 'abc', not 'xyz'"),
        ("other", {"a": 1, "b": 1}, {"corpus": "abc"}, "its kind is 'kind', not 'other'"),
    ],
)
def test_another_run_in_the_same_folder_is_refused_and_the_difference_named(tmp_path, kind, config, inputs, difference):
    new_run(tmp_path, a=1, b=1).close()
    with pytest.raises(RunError) as caught:
        Run(kind, "name", config, inputs, out=tmp_path)
    assert difference in str(caught.value) and str(tmp_path) in str(caught.value)
    new_run(tmp_path, a=1, b=1).close()  # the refusal did not keep the lock


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"thesis\.tex but no run\.json"):
        new_run(tmp_path)
    assert names_in(tmp_path) == ["thesis.tex"]


def test_a_folder_that_a_kill_left_before_its_card_was_whole_is_taken(tmp_path):
    (tmp_path / ".run.json.part").write_text('{"half')
    with new_run(tmp_path) as run:
        run.finish()
    assert names_in(tmp_path) == ["DONE", "run.json"]


def test_a_place_that_cannot_be_a_folder_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made a run folder"):
        new_run(tmp_path / "file")


def test_a_damaged_card_is_a_run_error_that_does_not_keep_the_folder_locked(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: damaged"):
        new_run(tmp_path)
    (tmp_path / "run.json").unlink()
    new_run(tmp_path).close()


def test_a_process_does_not_wait_for_itself(tmp_path):
    with new_run(tmp_path), pytest.raises(RunError, match="this process is already working in this run"):
        new_run(tmp_path)
    new_run(tmp_path).close()


# Logs and resume states


def test_load_state_gives_the_tensors_and_cuts_metrics_back_to_when_it_was_saved(tmp_path):
    with new_run(tmp_path) as run:
        run.log(step=1, loss=0.5)
        run.save_state({"w": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}, {"step": 1, "note": [None, "é"]})
        run.log(step=2, loss=0.25)
        run.log_time("train", 1.5)
    with new_run(tmp_path) as run:
        tensors, meta = run.load_state()
        assert torch.equal(tensors["w"], torch.arange(6.0).view(2, 3).T) and tensors["n"] == 3
        assert meta["step"] == 1 and meta["note"] == [None, "é"]
        assert (run / "metrics.jsonl").read_text() == '{"loss":0.5,"step":1}\n'
        assert len((run / "timings.jsonl").read_text().splitlines()) == 1


def test_load_state_without_a_state_starts_the_metrics_anew(tmp_path):
    with new_run(tmp_path) as run:
        run.log(step=1)
    with new_run(tmp_path) as run:
        assert run.load_state() is None and not (run / "metrics.jsonl").exists()


def test_a_state_saved_before_any_metrics_cuts_all_of_them(tmp_path):
    with new_run(tmp_path) as run:
        run.save_state({"w": torch.ones(1)}, {"step": 0})
        run.log(step=1)
        run.load_state()
        assert (run / "metrics.jsonl").read_bytes() == b""


def damage_by_truncation(path):
    path.write_bytes(path.read_bytes()[:-3])


def damage_by_garbage(path):
    path.write_bytes(b"\xff" * 100)


def damage_by_another_file(path):
    save_file({"w": torch.ones(3)}, path)


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_by_garbage, damage_by_another_file])
def test_a_damaged_state_is_a_run_error_that_names_it(tmp_path, damage):
    with new_run(tmp_path) as run:
        run.save_state({"w": torch.ones(3)}, {"step": 0})
        damage(run / "state.safetensors")
        with pytest.raises(RunError, match=r"state\.safetensors: (truncated or )?damaged"):
            run.load_state()


# Done


def finished(folder) -> Path:
    with new_run(folder) as run:
        assert not run.done
        run.log(step=1)
        run.log_time("all", 3.0)
        run.save_state({"w": torch.ones(3)}, {})
        write_bytes(run / "parts/a.bin", b"0123456789")
        (run / ".a.part").write_text("left by a kill")
        (run / "parts/.tmpEC8lhs").write_text("left by a kill in the middle of a safetensors file")
        run.finish(loss=0.5)
        assert run.done
    return folder


def test_finish_keeps_only_what_the_run_made_and_hashes_all_but_the_times(tmp_path):
    finished(tmp_path)
    assert names_in(tmp_path) == ["DONE", "metrics.jsonl", "parts/a.bin", "run.json", "timings.jsonl"]
    assert set(read_json(tmp_path / "DONE")["files"]) == {"metrics.jsonl", "parts/a.bin", "run.json"}
    with new_run(tmp_path) as again:
        assert again.done and again.summary == {"loss": 0.5} and run_hash(tmp_path) == again.hash


@pytest.mark.parametrize("whole", ["", '{"what":"train","seconds":2.5,"steps":4,"n_steps":8,"at":1}\n'])
def test_half_a_line_that_a_kill_left_of_the_timings_is_gone_after_a_resume(tmp_path, whole):
    new_run(tmp_path).close()
    (tmp_path / "timings.jsonl").write_text(f'{whole}{{"at":17,"sec')
    with new_run(tmp_path) as run:
        run.log_time("train", 1.25, steps=2, n_steps=8)
        run.finish()
    *before, last = read_timings(tmp_path)
    assert [timing.seconds for timing in before] == [2.5] * bool(whole)
    assert (last.what, last.seconds, last.steps, last.n_steps, last.beside) == ("train", 1.25, 2, 8, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "holds a list"),
        ("", "damaged"),
        ("\x00", "damaged"),
        ('{"what":"tr', "damaged"),
        ('{"what":"train"}', "'seconds'"),
        ('{"what":1,"seconds":1}', "'what'"),
        ('{"what":"train","seconds":"long"}', "'seconds'"),
        ('{"what":"train","seconds":-1}', "'seconds'"),
        ('{"what":"train","seconds":NaN}', "'seconds'"),
        ('{"what":"train","seconds":1,"steps":0}', "'steps'"),
        ('{"what":"train","seconds":1,"n_steps":2.5}', "'n_steps'"),
        ('{"what":"train","seconds":1,"beside":null}', "'beside'"),
    ],
)
def test_a_line_of_the_timings_that_is_none_is_named_with_its_field(tmp_path, line, message):
    (tmp_path / "timings.jsonl").write_text(f'{{"what":"look","seconds":0,"more":[]}}\n{line}\n')
    with pytest.raises(RunError, match=rf"timings\.jsonl: line 2.*{message}.*; remove that line"):
        read_timings(tmp_path)


def test_a_run_without_timings_has_none(tmp_path):
    assert read_timings(tmp_path) == []


def test_a_run_that_is_interrupted_holds_no_half_written_file(tmp_path):
    def interrupted():
        with new_run(tmp_path) as run:
            run.log(step=1)
            write_bytes(run / "parts/.a.bin.part", b"0123")  # of a worker that was ended in the midst of it
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(tmp_path) == ["metrics.jsonl", "run.json"]


def test_finish_lets_the_next_one_open_the_folder(tmp_path):
    run = new_run(tmp_path)
    run.finish()
    new_run(tmp_path).close()


def test_the_resume_state_outlives_a_done_file_that_cannot_be_written(tmp_path, monkeypatch):
    with new_run(tmp_path) as run:
        run.save_state({"w": torch.ones(3)}, {})

        def full(*_):
            raise RunError("disk full")

        monkeypatch.setattr(runs, "write_done", full)
        with pytest.raises(RunError):
            run.finish()
        assert run.load_state() is not None and not run.done


def test_an_intact_run_has_no_damaged_files(tmp_path):
    finished(tmp_path)
    (tmp_path / "timings.jsonl").write_text("another machine\n")
    assert damaged_files(tmp_path) == []


@pytest.mark.parametrize("place", [0, 5, 9])
def test_one_changed_byte_is_found(tmp_path, place):
    path = finished(tmp_path) / "parts/a.bin"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert damaged_files(tmp_path) == ["parts/a.bin"]


def test_a_missing_file_is_found(tmp_path):
    (finished(tmp_path) / "metrics.jsonl").unlink()
    assert damaged_files(tmp_path) == ["metrics.jsonl"]


def test_the_hash_of_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"run\.json: no such file"):
        run_hash(tmp_path)
    new_run(tmp_path).close()
    with pytest.raises(RunError, match="not finished"):
        run_hash(tmp_path)


# States as tensors and plain data

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
TENSORS = st.builds(
    lambda shape, dtype, fill: torch.full(shape, fill, dtype=dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
    st.integers(0, 3),
)
KEYS = st.sampled_from(["a", "b", "a/b", "0", "", "tensor", "items", "a'", 0, 1, 2])
LEAVES = (
    TENSORS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=10,
)


def same(a, b) -> bool:
    """Equal, with tuples as lists, keys of their own type and in order, tensors of their dtype and shape."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        kinds = [(type(key), key) for key in a] == [(type(key), key) for key in b]
        return isinstance(b, dict) and kinds and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(STATES)
@example({0: torch.zeros(1), "0": torch.ones(1)})
@example({"a/b": torch.zeros(1), "a": {"b": torch.ones(2)}, "a'": torch.ones(3)})
def test_a_nested_state_survives_packing_and_json(state):
    tensors, plain = pack_state(state)
    assert same(state, unpack_state(tensors, json.loads(canonical_json(plain))))


def test_a_packed_state_does_not_change_with_the_weights_it_was_taken_from():
    weight = torch.zeros(2)
    tensors, plain = pack_state({"w": weight})
    weight += 1
    assert unpack_state(tensors, plain)["w"].tolist() == [0, 0]


def test_optimizer_states_survive_a_saved_state(tmp_path):
    def trained(n_steps, state=None):
        weights = [torch.linspace(-1, 1, 12).view(3, 4).requires_grad_(), torch.ones(2).requires_grad_()]
        optimizers = [torch.optim.AdamW(weights, betas=(0.9, 0.95)), torch.optim.Muon(weights[:1])]
        if state is not None:
            for weight, saved in zip(weights, state["weights"], strict=True):
                weight.data.copy_(saved)
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        for _ in range(n_steps):
            (weights[0].pow(2).sum() + weights[1].pow(4).sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        return {"weights": [w.detach() for w in weights], "optimizers": [o.state_dict() for o in optimizers]}

    tensors, plain = pack_state(trained(2))
    with new_run(tmp_path) as run:
        run.save_state(tensors, {"plain": plain})
        tensors, meta = run.load_state()
    resumed = trained(3, unpack_state(tensors, meta["plain"]))
    for ours, theirs in zip(resumed["weights"], trained(5)["weights"], strict=True):
        assert torch.equal(ours, theirs)


def test_progress_counts_on_without_a_terminal(capfd):
    with runs.progress(10, "play", "games", initial=4) as bar:
        bar.update(6)
    assert bar.n == 10 and "play" in capfd.readouterr().err
