"""A sweep on a real Ray cluster of several nodes on this machine: `make cluster`."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from test_groups import STUDY, bytes_of

from boardgame_sae.files import RunError
from boardgame_sae.pipeline.engines import groups
from boardgame_sae.pipeline.engines.engine import Engine
from boardgame_sae.pipeline.sweep import SweepError, sweep_config, sweep_run

pytestmark = pytest.mark.cluster
HELPERS = Path(__file__).parents[1] / "helpers"
SAES = [{"architecture": "topk", "n_latents": 16, "k": 4, "seed": [0, 1, 2, 3, 4, 5]}]
DIVERGING = {"architecture": "relu", "n_latents": 16, "seed": 6, "lr": 1e30}
TRAINING = {**STUDY["training"], "n_activations": 64 * 2000}
ENGINE = {"engine": "ray", "cpus_per_group": 1, "saes_per_group": 1}


def study(*more):
    return sweep_config({**STUDY, "saes": [*SAES, *more], "training": TRAINING}, "study")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The root of the runs of the study, as this process makes them."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root))
        sweep_run(study(), device="cpu")
    return root


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster of three nodes with a CPU each, whose workers write down what they do in `record`."""
    utils = pytest.importorskip("ray.cluster_utils")
    (tmp_path / "record").write_text("")
    monkeypatch.setenv("TEST_RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), *sys.path]))
    monkeypatch.syspath_prepend(str(HELPERS))
    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = utils.Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    cluster.others = [cluster.add_node(**size) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def record(tmp_path):
    return [line.split(" ", 2) for line in (tmp_path / "record").read_text().splitlines()]


def kill_one_in_the_middle(cluster, tmp_path, root):
    """Kill a node that is not the head as soon as it works on an SAE, and return what it was working on."""
    names = {node.node_id: node for node in cluster.others}
    while True:
        seen = record(tmp_path)
        ended = [what for _, happened, what in seen if happened == "ended"]
        for node, _, what in seen:
            training = any(path.stat().st_size for path in root.glob("sae/*/metrics.jsonl"))
            if node in names and what not in ended and not what.endswith("[]") and training:
                cluster.remove_node(names[node], allow_graceful=False)
                return what
        time.sleep(0.05)


def test_a_node_that_is_killed_costs_nothing_but_time(whole, cluster, tmp_path, monkeypatch):
    import recorded

    root, lost = tmp_path / "runs", []
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    monkeypatch.setattr(groups, "do_group", recorded.do_group)
    killer = threading.Thread(target=lambda: lost.append(kill_one_in_the_middle(cluster, tmp_path, root)), daemon=True)
    killer.start()
    with pytest.raises(SweepError, match=r"1 failed, and all else is done:\n  relu-0.1-16 at .*lower lr"):
        sweep_run(study(DIVERGING), device="cpu", engine=Engine(address=cluster.address, **ENGINE))
    killer.join(60)
    seen = record(tmp_path)
    began = [what for _, happened, what in seen if happened == "began"]
    assert len(lost) == 1 and began.count(lost[0]) == 2
    assert len({node for node, _, _ in seen}) == 3
    monkeypatch.undo()
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(root))
    sweep_run(study(), device="cpu")
    assert bytes_of(whole).items() <= bytes_of(root).items()


def test_what_no_node_has_room_for_is_an_error_and_not_a_wait(whole, cluster, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(whole))
    engine = Engine(engine="ray", address=cluster.address, cpus_per_group=2, gpus_per_group=0.5)
    with pytest.raises(RunError, match=r"no machine .* has room for groups of 2 CPUs and 0.5 GPUs .*--gpus-per-group"):
        sweep_run(study(), device="cpu", engine=engine)


def test_a_cluster_that_is_not_there_is_an_error_that_names_it(whole, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(whole))
    with pytest.raises(RunError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 .*ray start --head"):
        sweep_run(study(), device="cpu", engine=Engine(engine="ray", address="127.0.0.1:1"))
