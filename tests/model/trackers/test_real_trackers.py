"""The trackers' own libraries, offline: what they have afterwards is what metrics.jsonl holds."""

import json
import subprocess
import sys

import pytest

from boardgame_sae.runs import METRICS_FILE

pytestmark = pytest.mark.trackers
CODE = """
import sys
from pathlib import Path
from boardgame_sae.model import train
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.saes.registry import sae_config
from boardgame_sae.saes.training.on_testbed import train_on_testbed
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.corpus import Corpus

corpus_path, root, tracker, stop = sys.argv[1:]
corpus, root, advance = Corpus.open(corpus_path), Path(root), train.Training.advance
cfg = TrainGPTConfig(n_layers=1, d_model=8, n_heads=1, n_steps=12, batch_size=8, log_every=2, eval_every=6)

def stopped(training):
    if training.step == int(stop):
        raise KeyboardInterrupt
    return advance(training)

train.Training.advance = stopped
how = {"device": "cpu", "tracker": tracker}
gpt = train.train_gpt_run(corpus, cfg, out=root / "gpt", checkpoint_seconds=0, **how)
testbed = Testbed(train.GameModel.load(gpt, "cpu"), corpus, n_games=20)
training = TrainSAEConfig(n_activations=800, n_harvested=900, batch_size=100, log_every=2, n_calibration=200)
saes = [sae_config("topk", d_model=8, n_latents=16, k=k) for k in (2, 4)]
print(*train_on_testbed(testbed, saes, training, outs=[root / "sae2", root / "sae4"], **how))
"""


@pytest.fixture
def train(tiny_corpus, tmp_path, monkeypatch):
    """Train a GPT, stopped before a step, and two SAEs in a process of its own; returns its exit code."""
    for name, value in {
        "BOARDGAME_SAE_RUNS": str(tmp_path / "runs"), "WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def run(tracker, stop):
        words = [sys.executable, "-c", CODE, str(tiny_corpus.path), str(tmp_path), tracker, str(stop)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert "the tracker" not in done.stderr, done.stderr  # no warning; a traceback names the variable
        return done

    return run


def written(folder):
    """The numbers at each step of metrics.jsonl, rows of one step joined."""
    by_step = {}
    for line in (folder / METRICS_FILE).read_text().splitlines():
        row = json.loads(line)
        by_step.setdefault(row.pop("step"), {}).update(row)
    return by_step


def test_trackio_keeps_every_row_here_once(train, tmp_path):
    trackio = pytest.importorskip("trackio")
    assert train("trackio", 7).returncode != 0
    done = train("trackio", -1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / name) for name in ("sae2", "sae4")], "nothing else on stdout"
    code = (
        "import json, trackio; runs = trackio.Api().runs('boardgame_sae'); "
        "from trackio.sqlite_storage import SQLiteStorage as s; "
        "print(json.dumps({r.name: s.get_logs('boardgame_sae', r.name) for r in runs}))"
    )
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    logs = json.loads(read.stdout.splitlines()[-1])
    assert trackio and len(logs) == 3
    folders = {json.loads((tmp_path / name / "run.json").read_text())["hash"]: name for name in ("gpt", "sae2", "sae4")}
    for name, rows in logs.items():
        by_step, n_rows = {}, 0
        for row in rows:
            numbers = {key: value for key, value in row.items() if key not in ("step", "timestamp")}
            by_step.setdefault(row["step"], {}).update(numbers)
            n_rows += 1
        folder = tmp_path / folders[name.rpartition("-")[2]]
        assert by_step == written(folder)
        assert n_rows == len((folder / METRICS_FILE).read_text().splitlines())


def test_wandb_keeps_every_row_here_once(train, tmp_path):
    pytest.importorskip("wandb")
    assert train("wandb", 7).returncode != 0
    done = train("wandb", -1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / name) for name in ("sae2", "sae4")]
    histories = {}
    for path in sorted((tmp_path / "runs" / "wandb").glob("offline-run-*/run-*.wandb")):
        histories.setdefault(path.stem.removeprefix("run-"), []).extend(history(path))
    assert len(histories) == 3, "a resumed training has the id that it had"
    for name in ("gpt", "sae2", "sae4"):
        card = json.loads((tmp_path / name / "run.json").read_text())
        by_step = {}
        for row in histories[f"{card['kind']}-{card['hash']}"]:
            by_step.setdefault(row.pop("_step"), {}).update({k: v for k, v in row.items() if not k.startswith("_")})
        assert by_step == written(tmp_path / name)


def history(path):
    """The rows of a run's file."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
            rows.append({"_step": record.history.step.num, **row})
    return rows


def records(data, block=2**15, header=7):
    """The records of a log as LevelDB writes them, after wandb's own header: in blocks, cut where a block ends."""
    place, whole = header, b""
    while place + header <= len(data):
        if block - place % block < header:
            place += block - place % block
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):  # a record in one piece, or the last piece of one
            yield whole
            whole = b""
