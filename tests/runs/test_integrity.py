"""What a finished run vouches for, it vouches for as it was: any change is noticed, cheaply, by whatever opens it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.files import RunError, write_bytes
from boardgame_sae.runs import Run, integrity
from boardgame_sae.runs.integrity import content_of, damaged_files, read_done, sha256_of, verified


@pytest.fixture
def finished(tmp_path) -> Path:
    """A finished run with a file, a folder and a log of times."""
    with Run("kind", "name", {"a": 1}, out=tmp_path / "run") as run:
        write_bytes(run / "parts/a.bin", b"0123456789")
        run.log(step=1)
        run.log_time("all", 3.0)
        run.finish(loss=0.5)
    return tmp_path / "run"


@pytest.fixture(params=[2**26, 1], ids=["small", "large"])
def sized(request, finished, monkeypatch) -> Path:
    """The run, its files taken for small or for large ones, all of them older than the clock can mistake."""
    monkeypatch.setattr(integrity, "LARGE", request.param)
    monkeypatch.setattr(integrity, "SETTLED", -1)
    monkeypatch.setattr(integrity, "_HASHES", {})
    return finished


def forget(monkeypatch) -> None:
    """As if another process began."""
    monkeypatch.setattr(integrity, "_HASHES", {})


def flip(path: Path, place: int = 0) -> None:
    """Change one byte, and set the time of the last change back."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


# What is found


@pytest.mark.parametrize("name", ["parts/a.bin", "metrics.jsonl", "run.json"])
@pytest.mark.parametrize("opened", [".", "here"])
def test_a_changed_byte_is_an_error_that_names_the_file_and_the_fix(sized, name, opened, monkeypatch):
    place = sized if opened == "." else sized / name
    assert verified(place) and verified(place)
    forget(monkeypatch)
    flip(sized / name)
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            verified(place)
        assert str(caught.value).startswith(f"{sized / name}: changed since it was written")
        assert "restore it, or move" in str(caught.value)


def test_a_change_is_found_by_the_process_that_has_hashed_the_file_before(sized):
    assert verified(sized)
    flip(sized / "parts/a.bin")
    with pytest.raises(RunError, match=r"a\.bin: changed"):
        verified(sized)


def test_a_missing_file_is_an_error(sized):
    (sized / "parts/a.bin").unlink()
    for opened in (sized, sized / "parts", sized / "parts/a.bin"):
        with pytest.raises(RunError, match=r"a\.bin: missing"):
            verified(opened)
    assert verified(sized / "metrics.jsonl")


def test_a_device_in_place_of_a_file_is_not_read(finished):
    (finished / "parts/a.bin").unlink()
    (finished / "parts/a.bin").symlink_to("/dev/zero")
    with pytest.raises(RunError, match=r"a\.bin: missing"):
        verified(finished)


@given(st.data())
def test_no_changed_byte_of_done_changes_what_it_says_unnoticed(data):
    done = {"files": {"a": "00" * 32}, "summary": {"loss": 0.5}}
    text = json.dumps({**done, "hash": integrity.done_hash(done)}, indent=1).encode()
    place, bit = data.draw(st.integers(0, len(text) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(text)
    changed[place] ^= 1 << bit
    folder = Path(os.environ["BOARDGAME_SAE_RUNS"]) / "flipped"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "DONE").write_bytes(changed)
    try:
        found = read_done(folder)[1:]
    except RunError as error:
        found = str(folder / "DONE") in str(error)
    assert found in (True, (done["files"], done["summary"], ()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"a": 1}, "summary": 3}',
        "null",
        '{"files": {}, "summary": {}, "optional": 3}',
    ],
)
def test_a_done_of_another_form_is_an_error(finished, text):
    (finished / "DONE").write_text(text)
    with pytest.raises(RunError, match="DONE: damaged"):
        verified(finished)


def test_a_copy_may_leave_out_an_optional_folder_but_only_whole(tmp_path):
    with Run("test", "whole", {}, {}, tmp_path / "run") as run:
        for name in ("a/one.bin", "a/two.bin", "b/one.bin"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_bytes(name.encode())
        run.finish(["a"])
    shutil.copytree(run.folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/a")
    assert verified(tmp_path / "copy")
    assert damaged_files(tmp_path / "copy") == []
    assert read_done(tmp_path / "copy").left_out == ("a",)
    (run / "a/one.bin").unlink()
    assert damaged_files(run.folder) == ["a/one.bin"]
    with pytest.raises(RunError, match=r"a/one\.bin: missing"):
        verified(run.folder)
    shutil.rmtree(tmp_path / "copy/b")
    with pytest.raises(RunError, match=r"b/one\.bin: missing"):
        verified(tmp_path / "copy")


# What is none of its business


def test_files_of_the_users_own_are_simply_read(tmp_path, finished):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model.bin").write_bytes(b"abc")
    (tmp_path / "DONE").write_text("dinner, homework")
    (finished / "notes.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine/model.bin", finished / "notes.txt", tmp_path / "nowhere"):
        assert not verified(path)


def test_times_may_differ_and_a_run_that_is_not_done_vouches_for_nothing(finished):
    (finished / "timings.jsonl").write_text("another machine\n")
    assert verified(finished) and not verified(finished / "timings.jsonl")
    (finished / "DONE").unlink()
    flip(finished / "parts/a.bin")
    assert not verified(finished)


def test_a_run_is_itself_by_any_path(finished, monkeypatch):
    (finished.parent / "link").symlink_to(finished)
    monkeypatch.chdir(finished.parent)
    for path in ("run", "link", "run/parts/../parts/a.bin", "link/../run/parts"):
        assert verified(path)


# How often files are hashed


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the files that are hashed, as they are."""
    names: list[str] = []

    def counting(path, really=integrity.file_hash):
        names.append(path.name)
        return really(path)

    monkeypatch.setattr(integrity, "file_hash", counting)
    return names


def test_small_files_are_hashed_once_per_process_and_large_ones_once(sized, hashed, monkeypatch):
    verified(sized), verified(sized)
    assert sorted(hashed) == ["a.bin", "metrics.jsonl", "run.json"]
    forget(monkeypatch)
    hashed.clear()
    assert verified(sized)
    assert bool(hashed) == (integrity.LARGE > 1)


def test_a_file_that_changed_just_now_is_hashed_each_time(finished, hashed):
    for _ in range(2):
        sha256_of(finished / "parts/a.bin")
    assert hashed == ["a.bin", "a.bin"]


@pytest.mark.parametrize("record", [b"", b"[]", b"{", b'{"parts/a.bin": 3}', None])
def test_the_record_of_large_files_may_be_missing_damaged_or_unwritable(sized, record, monkeypatch):
    if record is None:
        monkeypatch.setattr(integrity, "write_json", lambda path, value: (_ for _ in ()).throw(OSError("read-only")))
    else:
        (sized / integrity.RECORD_FILE).write_bytes(record)
    assert verified(sized)
    forget(monkeypatch)
    assert verified(sized)


def test_a_copy_does_not_inherit_the_record(sized, tmp_path, monkeypatch, hashed):
    verified(sized)
    copied = Path(shutil.copytree(sized, tmp_path / "copy"))
    flip(copied / "parts/a.bin")
    with pytest.raises(RunError, match=r"a\.bin: changed"):
        verified(copied)


# What something holds


def test_content_is_that_of_names_and_bytes_and_not_of_times(finished, tmp_path):
    before = content_of(finished)
    copied = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copied / "timings.jsonl").write_text("")
    assert content_of(copied) == before
    flip(copied / "parts/a.bin")
    with pytest.raises(RunError, match="changed"):
        content_of(copied)
    (copied / "DONE").unlink()
    with pytest.raises(RunError, match="not finished"):
        content_of(copied)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a").write_bytes(b"1")
    one = content_of(tmp_path / "own")
    (tmp_path / "own/a").write_bytes(b"2")
    assert content_of(tmp_path / "own") != one


def test_a_run_made_from_what_has_changed_since_is_refused_by_name(tmp_path):
    with Run("kind", "name", {"a": 1}, {"corpus": "x"}, tmp_path / "run", content={"corpus": "1"}) as run:
        run.finish()
    Run("kind", "name", {"a": 1}, {"corpus": "x"}, tmp_path / "run", content={"corpus": "1"}).close()
    with pytest.raises(RunError, match="was made from the corpus as it was before it changed"):
        Run("kind", "name", {"a": 1}, {"corpus": "x"}, tmp_path / "run", content={"corpus": "2"})


def test_a_finished_run_is_not_reused_when_a_file_of_it_has_changed(finished):
    flip(finished / "parts/a.bin")
    with pytest.raises(RunError, match=r"a\.bin: changed"):
        Run("kind", "name", {"a": 1}, out=finished)
