"""`boardgame-sae judge`: into the folder of the SAE's scores, beside what is there, and nothing without being asked."""

import re

import pytest
from stub_judge import endpoint

from boardgame_sae import cli
from boardgame_sae.metrics.results import Scores
from boardgame_sae.pipeline.score import score_saes
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds import testbed as testbeds

HOOK, KEY = "blocks.0.hook_resid_post", "sk-very-secret-0123456789"
FIELDS = {"n_latents": 24, "k": 4, "n_activations": 640, "n_harvested": 500, "batch_size": 64}


@pytest.fixture(scope="module")
def root(tiny_model, tiny_corpus, tmp_path_factory):
    """A testbed and an SAE in folders; runs go beside them."""
    root = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root / "runs"))
        patch.setenv("JUDGE_KEY", KEY)
        tiny_model.save(root / "model")
        testbeds.testbed_run(
            root / "model", tiny_corpus.path, hook_name=HOOK, n_games=60, out=root / "bed", device="cpu"
        )
        train_sae(testbeds.load_testbed(root / "bed", "cpu"), "topk", out=root / "sae", **FIELDS)
        yield root


@pytest.fixture
def judge(root, capsys):
    """Run the verb: (exit code, standard output, standard error)."""

    def call(url, *more):
        fixed = ["--testbed", root / "bed", "--model", "stub", "--key-variable", "JUDGE_KEY", "--device", "cpu"]
        words = ["judge", root / "sae", "--url", url, "--n-latents", "3", *fixed, *more]
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_dry_run_says_what_it_would_cost_and_sends_and_keeps_nothing(root, judge, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY")
    with endpoint(lambda body: "None") as (url, requests):
        code, out, _ = judge(url, "--dry-run")
    assert code == 0 and requests == [] and out.splitlines()[-1] == str(root / "sae")
    assert re.search(r"asking stub at http://127.*: 6 requests, about \d+ tokens in and at most 360 out", out)
    assert not list((root / "runs").glob("scores/*/scores.json")) and not (root / "runs" / "answers").exists()


def test_it_is_added_to_the_scores_which_stay_and_which_keep_it(root, judge):
    with endpoint(lambda body: "None") as (url, requests):
        code, out, _ = judge(url)
        assert code == 0 and len(requests) == 6
        folder = score_saes([root / "sae"], root / "bed", suite="quick", device="cpu")[0]
        assert out.splitlines()[-1] == str(folder) and "autointerp_llm" in out and "0.5000" in out
        both = Scores.load(folder)
        assert {"autointerp_llm", "core"} <= set(both) and both["autointerp_llm"].value == 0.5
        code, _, _ = judge(url)
    assert code == 0 and len(requests) == 6  # answers are kept
    again = Scores.load(folder)
    assert set(again) == set(both) and again["core"].plain() == both["core"].plain()
    assert (
        again["autointerp_llm"].config["url"] == url and again["autointerp_llm"].config["key_variable"] == "JUDGE_KEY"
    )
    assert damaged_files(folder) == [] and (folder / "autointerp_llm").is_dir()
    assert all(KEY.encode() not in path.read_bytes() for path in files(root))


def test_without_the_key_nothing_is_done_and_the_variable_is_named(root, judge, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY")
    before = files(root)
    with endpoint(lambda body: "None") as (url, requests):
        code, out, err = judge(url)
    assert code == 1 and out == "" and "error: the environment variable JUDGE_KEY is not set" in err
    assert requests == [] and files(root) == before


def test_a_failure_leaves_the_scores_as_they_were(root, judge):
    folder = score_saes([root / "sae"], root / "bed", suite="quick", device="cpu")[0]
    before = (folder / "scores.json").read_bytes()
    with endpoint(lambda body: (401, {}, KEY.encode())) as (url, _):
        code, _, err = judge(url)
    assert code == 1 and "refused the key in JUDGE_KEY (status 401)" in err and KEY not in err
    assert (folder / "scores.json").read_bytes() == before and damaged_files(folder) == []
    assert (folder / "DONE").exists()


@pytest.mark.parametrize("url", ["localhost:8000", f"http://{KEY}@localhost/v1"])
def test_a_bad_url_is_bad_input(judge, url):
    code, out, err = judge(url)
    assert code == 2 and out == "" and "url" in err and KEY not in err
