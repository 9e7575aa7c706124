"""A harvest that two processes want is made once."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from boardgame_sae.activations.store import ActivationStore, harvest_run
from boardgame_sae.files import file_hash

FIRST = """
    import sys
    from boardgame_sae.activations import store
    from boardgame_sae.model.game_model import GameModel
    from boardgame_sae.transcripts.corpus import Corpus

    def told_to_go_on(*words):
        print("harvesting", flush=True)
        sys.stdin.readline()
        fill(*words)

    fill, store._fill = store._fill, told_to_go_on
    model, corpus = GameModel.load(sys.argv[1], "cpu"), Corpus.open(sys.argv[2])
    store.harvest_run(model, corpus, "blocks.1.hook_resid_post", n_activations=700)
"""


@pytest.mark.parametrize("first", ["goes on", "dies"])
def test_a_harvest_that_another_process_makes_is_waited_for(
    tiny_model, tiny_corpus, tmp_path, monkeypatch, capsys, first
):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    tiny_model.save(tmp_path / "model")
    command = [sys.executable, "-c", textwrap.dedent(FIRST), tmp_path / "model", tiny_corpus.path.parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "harvesting\n"

        def sleep(seconds):
            if first == "dies":
                process.send_signal(signal.SIGKILL)
            elif not process.stdin.closed:
                process.stdin.write("go on\n")
                process.stdin.close()
            pause(seconds)

        pause = time.sleep
        monkeypatch.setattr(time, "sleep", sleep)
        folder = harvest_run(tiny_model, tiny_corpus, "blocks.1.hook_resid_post", n_activations=700)
    alone = harvest_run(tiny_model, tiny_corpus, "blocks.1.hook_resid_post", n_activations=700, out=tmp_path / "alone")
    assert f"waiting for another process, which is working in {folder}" in capsys.readouterr().err
    assert process.returncode == (-signal.SIGKILL if first == "dies" else 0)
    assert len(ActivationStore.open(folder)) >= 700 and file_hash(folder / "acts.h5") == file_hash(alone / "acts.h5")
