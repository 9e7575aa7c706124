"""Every verb with values that it cannot take: one error that names the flag or file, never a traceback, no run left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from boardgame_sae import cli
from boardgame_sae.cli.endings import Terminated, ended

NUMBERS = {
    "generate": ("n-games", "max-plies", "validation-fraction", "test-fraction", "seed", "workers"),
    "import-pgn": ("min-elo", "max-plies", "n-games", "seed", "workers"),
    "annotate": ("n-games", "workers"),
    "tournament": ("n-games", "max-plies", "seed"),
    "train-gpt": (
        "n-layers",
        "d-model",
        "batch-size",
        "muon-lr",
        "log-every",
        "grad-clip",
        "cycles",
        "seed",
        "devices",
    ),
    "testbed": ("n-games",),
    "probe": ("min-ply", "n-train-games", "epochs", "lr", "ridge"),
    "train-sae": ("n-activations", "batch-size", "lr", "lr-warmup", "log-every", "n-latents", "k", "seed"),
    "finetune-sae": ("n-steps", "batch-size", "lr", "rank", "sparsity-step", "grad-clip", "n-test-tokens", "seed"),
}
NEEDED = {
    "import-pgn": ["games.pgn"],
    "annotate": ["nowhere"],
    "tournament": ["random", "epsilon_greedy", "--game", "othello4"],
    "train-gpt": ["--corpus", "nowhere"],
    "testbed": ["--model", "nowhere", "--corpus", "nowhere"],
    "probe": ["--testbed", "nowhere"],
    "train-sae": ["--testbed", "nowhere"],
    "finetune-sae": ["nowhere", "--testbed", "nowhere"],
}


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """What a command line that must be refused says; it leaves no run."""
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)

    def call(*argv, code=2):
        assert cli.main([str(word) for word in argv]) == code
        err = capsys.readouterr().err
        assert "Traceback" not in err and "nobody foresaw" not in err and not (tmp_path / "runs").exists()
        return err

    return call


@pytest.mark.parametrize(("verb", "flag"), [(verb, flag) for verb, flags in NUMBERS.items() for flag in flags])
@pytest.mark.parametrize("value", ["-1", "9" * 4000, "nan", "inf", "", "x", "1e999"])
def test_a_number_that_cannot_be_is_refused_by_name(said, verb, flag, value):
    assert flag.replace("-", "") in said(verb, *NEEDED.get(verb, []), f"--{flag}={value}").replace("_", "").replace(
        "-", ""
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seed: 2020-01-01", "field 'seed' is '2020-01-01'"),
        ("game: [othello]", "field 'game' is ['othello']"),
        ("seed: 1\nseed: 2", "line 2: the key 'seed' is given twice"),
        ("seed: .nan", "field 'seed' is nan: must be a finite number"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n" + "c: [" + "*b, " * 30_000 + "]", "stands for more than 100,000 values"),
        ("seed: !!binary aGk=", "line 1: the type binary is not plain data"),
        ("seed: " + "9" * 5000, "has more than 64 bits"),
        ("[" * 2000, "nested deeper than"),
        ("preset: [tiny]", "unknown field 'preset'"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name_and_place(said, tmp_path, text, reason):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    err = said("generate", "--config", path)
    assert str(path) in err and reason in err


@pytest.mark.parametrize(("verb", "flag"), [("train-gpt", "preset"), ("train-sae", "architecture")])
def test_a_choice_that_is_no_text_is_refused(said, tmp_path, verb, flag):
    (tmp_path / "some.yaml").write_text(f"{flag}: [tiny]")
    assert f"field '{flag}' is ['tiny']: must be text" in said(verb, *NEEDED[verb], "--config", "some.yaml")


@pytest.mark.parametrize("words", [["report"], ["check"], ["score", "x"], ["compare", "x"]])
def test_a_verb_without_what_it_works_on_is_refused(said, words):
    assert "required" in said(*words).lower()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["report", "EMPTY"], "neither a finished sweep (sweep.json) nor scores (scores.json), but note.txt"),
        (["report", "runs/*"], "runs/*: no such folder or file, and nothing that ships; these ship here: "),
        (
            ["score", "othello6-tiny/topk-16", "--testbed", "EMPTY"],
            "no testbed, as it has no testbed.json; it holds note.txt",
        ),
        (
            ["compare", "EMPTY", "--against", "EMPTY"],
            "neither a finished sweep (sweep.json) nor scores (scores.json), but note.txt",
        ),
        (["check", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(said, tmp_path, words, reason):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/note.txt").touch()
    assert reason in said(*(str(tmp_path / "empty") if word == "EMPTY" else word for word in words), code=1)


def shell(line, tmp_path):
    """Run a line of shell in which `$SAE` is the program: its exit code and standard error."""
    environment = {**os.environ, "SAE": f"{sys.executable} -m boardgame_sae.cli", "BOARDGAME_SAE_RUNS": str(tmp_path)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("set -o pipefail; $SAE --help | true", None, ""),
        ("$SAE --help >&-", 0, ""),
        ("$SAE --help >/dev/full", 1, "standard output: cannot be written (No space left on device)"),
        ("$SAE import-pgn - <&-", 1, "standard input: there is no game in it"),
        ("$SAE generate --n-games -1 2>&-", 2, ""),
        ("$SAE generate --n-gmaes 1 2>/dev/full", 2, ""),
        ("$SAE generate --game othello4 --n-games 4 2>/dev/full", 0, ""),
        ("$SAE generate --game othello4 --n-games 4 <&- >&- 2>&-", 0, ""),
    ],
)
def test_closed_and_full_standard_streams_end_no_run(tmp_path, line, code, reason):
    found, err = shell(line, tmp_path)
    assert "Traceback" not in err and "Exception" not in err and reason in err
    assert found == code or (code is None and found in (0, 1))


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (MemoryError(), 1, "out of memory; end other programs"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
            1,
            "out of memory (",
        ),
        (RecursionError("maximum recursion depth exceeded"), 1, "nested too deeply"),
        (OSError(28, "No space left on device", "a.json"), 1, "error: a.json: No space left on device"),
        (ValueError(), 2, "error: ValueError"),
        (KeyError("x"), 1, "KeyError: 'x': nobody foresaw this"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again, it resumes"),
        (Terminated(signal.SIGTERM), 143, "terminated; run the same command again, it resumes"),
    ],
)
def test_every_ending_is_a_line_and_a_code(capsys, error, code, reason):
    def work():
        raise error

    assert ended(work) == code
    err = capsys.readouterr().err
    assert reason in err and len(err.strip().splitlines()) == 1


def test_an_error_that_nobody_foresaw_is_shown_in_full_on_request(monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_TRACEBACK", "1")
    with pytest.raises(KeyError):
        ended(lambda: {}["x"])


def test_sigterm_ends_a_run_with_a_message_and_no_half_written_file(tmp_path):
    command = [sys.executable, "-m", "boardgame_sae.cli", "generate", "--game", "othello", "--n-games", "10000000"]
    started = subprocess.Popen([*command, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run/parts").exists() and started.poll() is None:
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 143
    err = started.stderr.read()
    assert err.endswith("terminated; run the same command again, it resumes\n") and "Traceback" not in err
    assert not list((tmp_path / "run").rglob("*.part"))
