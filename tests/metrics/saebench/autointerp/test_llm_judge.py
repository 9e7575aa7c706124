"""The language model's score with stubs for models: one that knows, one that always says None, one that babbles."""

import numpy as np
import pytest
from planted import perfect_sae, planted, random_sae
from stub_judge import endpoint

from boardgame_sae.config import ConfigError, from_mapping
from boardgame_sae.metrics.saebench.autointerp.llm_judge import JudgeConfig, all_tasks, cost, llm_score
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.metrics.subject import Subject

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _own_runs_and_key(monkeypatch, tmp_path):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path))
    monkeypatch.setenv("JUDGE_KEY", KEY)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=110)


@pytest.fixture(scope="module")
def subject(bed):
    return Subject("perfect", "sae", perfect_sae(bed), bed)


def judging(url, **fields):
    return JudgeConfig(url=url, model="stub", key_variable="JUDGE_KEY", n_latents=6, n_parallel=2, **fields)


def explains(body):
    return "in random order" not in body["messages"][0]["content"]


def knowing(subject):
    """A judge that has seen where each latent is on: it names the latent, and reads its name."""
    known = {}
    for task in all_tasks(subject, judging("http://x")):
        known[task.explain[1]["content"]] = task.latent
        truth = [str(number) for number, on in enumerate(task.active_N, 1) if on]
        known[task.latent] = ", ".join(truth)

    def reply(body):
        user = body["messages"][1]["content"]
        if explains(body):
            return f"This latent is on when it is latent {known[user]}."
        return known[int(user.split("it is latent ")[1].split(".")[0])]

    return reply


def test_a_judge_that_knows_scores_one(subject):
    with endpoint(knowing(subject)) as (url, requests):
        value = llm_score(subject, judging(url))
    assert value.value == 1 and value.interval == (1, 1)
    assert value.parts == {"always_none": 0.5, "unparsable": 0}
    assert len(requests) == 12
    assert all(row["explanation"] == f"it is latent {row['latent']}" for row in value.details["latents"])
    assert value.details["eval_result_metrics"]["autointerp"]["autointerp_score"] == 1


def test_a_judge_that_always_says_none_scores_a_half(subject):
    """As published it scores 10 of 14."""
    with endpoint(lambda body: "None") as (url, _):
        value = llm_score(subject, judging(url))
    assert value.value == value.parts["always_none"] == 0.5 and value.parts["unparsable"] == 0


def test_answers_that_cannot_be_read_count_as_none_and_are_reported(subject):
    """As published, these latents are dropped without a word."""
    good = knowing(subject)
    spoilt = all_tasks(subject, judging("http://x"))[2].latent

    def reply(body):
        answer = good(body)
        return answer if explains(body) or f"it is latent {spoilt}." not in body["messages"][1]["content"] else "Hm!"

    with endpoint(reply) as (url, _):
        value = llm_score(subject, judging(url))
    assert value.value == pytest.approx((5 + 0.5) / 6) and value.parts["unparsable"] == pytest.approx(1 / 6)
    assert [row["latent"] for row in value.details["latents"] if row["unparsable"]] == [spoilt]


def test_a_second_run_sends_nothing_and_the_estimate_says_so(subject, tmp_path):
    with endpoint(knowing(subject)) as (url, requests):
        cfg = judging(url)
        tasks = all_tasks(subject, cfg)
        before = cost(tasks, cfg.client())
        assert before.n_requests == 12 and before.tokens_in > 1000 and requests == []
        first = llm_score(subject, cfg)
        assert len(requests) == 12
        sent = sum(len(message["content"]) for _, _, body in requests for message in body["messages"])
        assert before.tokens_in == pytest.approx(sent / 3, rel=0.1)
        assert cost(tasks, cfg.client())[:] == (0, 0, 0)
        assert llm_score(subject, cfg).plain() == first.plain() and len(requests) == 12
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY not in str(first)


def test_tasks_are_what_they_say(bed):
    subject = Subject("random", "sae", random_sae(bed, n_latents=40), bed)
    dense_NF = np.concatenate([part.to_dense() for part in subject.latents("test")])
    for task in all_tasks(subject, judging("http://x")):
        assert task.active_N.sum() * 2 == len(task.active_N) == len(task.positions) == 14
        assert 0 < (dense_NF[:, task.latent] > 0).mean() < 1
        assert not task.active_N[:7].all() or not task.active_N.any()  # in random order
        lines = task.explain[1]["content"].splitlines()
        shown = [float(line.split("activation ")[1].split(")")[0]) for line in lines]
        assert len(lines) == 15 and shown == sorted(shown, reverse=True) and shown[0] == 1


def test_it_is_in_no_suite():
    assert all("autointerp_llm" not in scores_in(suite) for suite in ("quick", "supervised", "saebench", "all"))


def test_a_config_needs_an_endpoint_and_a_model_and_holds_no_key():
    with pytest.raises(ConfigError, match=r"'url' is required"):
        from_mapping(JudgeConfig, {"model": "m"}, "judge")
    with pytest.raises(ConfigError, match=r"'model' is"):
        from_mapping(JudgeConfig, {"url": "http://a/v1", "model": ""}, "judge")
    with pytest.raises(ConfigError) as caught:
        from_mapping(JudgeConfig, {"url": f"http://{KEY}@a/v1", "model": "m"}, "judge")
    assert KEY not in str(caught.value) and "environment variable" in str(caught.value)


def test_a_key_given_for_the_name_of_its_variable_is_refused_without_showing_it():
    with pytest.raises(ConfigError) as caught:
        from_mapping(JudgeConfig, {"url": "http://a/v1", "model": "m", "key_variable": KEY}, "judge")
    assert KEY not in str(caught.value) and "never the key itself" in str(caught.value)
