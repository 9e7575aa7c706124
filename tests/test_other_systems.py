"""What Windows lacks is not needed: the same commands without the modules, signals and flags that only others have."""

import subprocess
import sys
import textwrap

WITHOUT = """
import os, signal, sys

import filelock  # it locks in its own way on each system

for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
del signal.SIGHUP, signal.pthread_sigmask, os.getuid, os.O_NOFOLLOW, os.O_CLOEXEC
"""


def without(code: str, folder) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has nothing of what Windows lacks."""
    script = WITHOUT + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_games_are_played_and_an_sae_is_scored(tmp_path):
    code = """
        from boardgame_sae.cli import main

        assert main(["generate", "--game", "othello4", "--n-games", "300", "--out", "corpus"]) == 0
        assert main(["check", "corpus"]) == 0

        import boardgame_sae as bgs

        testbed = bgs.load_testbed("othello6-tiny", "cpu")
        scores = bgs.evaluate(bgs.load_sae("othello6-tiny/topk-16"), testbed, "supervised")
        assert scores["coverage"].value > 0.4
        assert sys.modules["fcntl"] is None
    """
    done = without(code, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_run_is_worked_in_by_one_process_alone(tmp_path):
    code = """
        import subprocess, time
        from boardgame_sae.runs import Run

        another = "from boardgame_sae.runs import Run; print(Run('kind', 'name', {}, out='run').done)"
        with Run("kind", "name", {}, out="run") as run:
            second = subprocess.Popen([sys.executable, "-c", another], stdout=subprocess.PIPE, text=True)
            time.sleep(1)
            assert second.poll() is None
            run.finish()
        assert second.communicate()[0].strip() == "True"
    """
    done = without(code, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_workers_play_the_same_games(tmp_path):
    code = """
        from boardgame_sae.cli import main

        if __name__ == "__main__":
            words = ["generate", "--game", "othello4", "--n-games", "20000"]
            assert main([*words, "--out", "one"]) == 0
            assert main([*words, "--workers", "2", "--out", "two"]) == 0
    """
    (tmp_path / "play.py").write_text(WITHOUT + textwrap.dedent(code))
    done = subprocess.run([sys.executable, "play.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "one/corpus.h5").read_bytes() == (tmp_path / "two/corpus.h5").read_bytes()
