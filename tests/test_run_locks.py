"""Two processes that want one run: the second waits, and then uses what the first made or goes on where it died."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from boardgame_sae.files import RunError
from boardgame_sae.runs import Run, UnfinishedError, finished_only

HOLD = """
    import sys
    from boardgame_sae.runs import Run
    run = Run("kind", "name", {"a": 1}, out=sys.argv[1])
    run.log(step=1)
    print("held", flush=True)
    sys.stdin.readline()
    run.finish(by="the first")
"""


@pytest.fixture
def holder(tmp_path):
    """A process that works in the run `tmp_path / "run"` until it is told to finish it."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), tmp_path / "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def second(tmp_path, monkeypatch, when_it_waits) -> Run:
    """Open the run in this process; `when_it_waits` is called the first time it waits."""
    waited = []

    def sleep(seconds):
        if not waited:
            when_it_waits()
        waited.append(seconds)
        pause(seconds)
        assert len(waited) < 200

    pause = time.sleep
    monkeypatch.setattr(time, "sleep", sleep)
    run = Run("kind", "name", {"a": 1}, out=tmp_path / "run")
    assert waited
    return run


def test_a_second_waits_and_uses_what_the_first_made(tmp_path, holder, monkeypatch, capsys):
    with second(tmp_path, monkeypatch, lambda: (holder.stdin.write("go\n"), holder.stdin.flush())) as run:
        assert run.done and run.summary == {"by": "the first"}
    assert capsys.readouterr().err == f"waiting for another process, which is working in {tmp_path / 'run'}\n"
    assert not (tmp_path / "run/.lock").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_first_dies_the_second_takes_over(tmp_path, holder, monkeypatch, number):
    with second(tmp_path, monkeypatch, lambda: holder.send_signal(number)) as run:
        assert not run.done
        run.load_state()
        run.finish(by="the second")
    assert run.done and not (tmp_path / "run/.lock").exists()


def test_nobody_waits_for_another_run_in_the_same_folder(tmp_path, holder):
    with pytest.raises(RunError, match="holds another run"):
        Run("kind", "name", {"a": 2}, out=tmp_path / "run")


def test_a_wait_can_be_interrupted(tmp_path, holder, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        second(tmp_path, monkeypatch, interrupted)


ADD = """
    import sys, time
    from boardgame_sae.runs import Run
    with Run("kind", "name", {}, out=sys.argv[1]) as run:
        run.reopen()
        number = len((run / "added").read_text())
        time.sleep(0.2)
        (run / "added").write_text("+" * (number + 1))
        run.finish()
"""


def test_two_that_add_to_a_finished_run_do_so_one_after_the_other(tmp_path):
    with Run("kind", "name", {}, out=tmp_path) as run:
        (tmp_path / "added").write_text("")
        run.finish()
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(ADD), tmp_path]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "added").read_text() == "++" and Run("kind", "name", {}, out=tmp_path).done


def test_where_only_finished_runs_may_be_opened_nothing_is_made(tmp_path):
    with finished_only(), pytest.raises(UnfinishedError) as raised:
        Run("kind", "name", {}, out=tmp_path / "run")
    assert raised.value.kind == "kind" and not (tmp_path / "run").exists()
    with Run("kind", "name", {}, out=tmp_path / "run") as run:
        run.finish()
    with finished_only(), Run("kind", "name", {}, out=tmp_path / "run") as run:
        assert run.done
        with pytest.raises(UnfinishedError):
            run.reopen()
    assert (tmp_path / "run/DONE").exists()
