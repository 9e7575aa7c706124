"""The client against a stub endpoint: what is sent, retries, the cache, and errors that never hold the key."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_judge import endpoint

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.metrics.saebench.autointerp import openai_client
from boardgame_sae.metrics.saebench.autointerp.openai_client import ChatClient, checked_url

KEY, ASKED = "sk-very-secret-0123456789", [{"role": "user", "content": "?"}]


@pytest.fixture(autouse=True)
def _key_and_no_waiting(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)


@pytest.fixture
def waits(monkeypatch):
    waits = []
    monkeypatch.setattr(openai_client.time, "sleep", waits.append)
    return waits


def client(url, folder, **settings):
    return ChatClient(url, "a-model", "JUDGE_KEY", folder, **settings)


def in_turn(*answers):
    """A stub's answers one after another, the last again and again."""
    left = list(answers)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


def test_a_request_has_the_form_of_the_api_and_the_key_in_its_header_alone(tmp_path):
    with endpoint(lambda body: "yes") as (url, requests):
        assert client(url, tmp_path).ask(ASKED, 7) == "yes"
    ((path, headers, body),) = requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "a-model", "messages": ASKED, "max_tokens": 7, "temperature": 0}
    assert all(KEY not in file.read_text() and KEY not in file.name for file in tmp_path.rglob("*"))


def test_what_was_asked_once_is_never_sent_again_and_anything_else_is(tmp_path):
    with endpoint(lambda body: "yes") as (url, requests):
        first = client(url, tmp_path)
        assert not first.is_kept(ASKED, 7)
        for _ in range(3):
            assert client(url, tmp_path).ask(ASKED, 7) == "yes"
        assert len(requests) == 1 and first.is_kept(ASKED, 7)
        first.ask(ASKED, 8)
        first.ask([{"role": "user", "content": "!"}], 7)
        first._replace(model="other").ask(ASKED, 7)
    assert len(requests) == 4
    assert client(url, tmp_path).ask(ASKED, 7) == "yes"  # also with nobody there


def test_another_key_is_the_same_request(tmp_path, monkeypatch):
    with endpoint(lambda body: "yes") as (url, requests):
        client(url, tmp_path).ask(ASKED, 7)
        monkeypatch.setenv("JUDGE_KEY", "another")
        client(url, tmp_path).ask(ASKED, 7)
    assert len(requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_a_busy_endpoint_is_asked_again_and_waited_for_longer_each_time(tmp_path, waits, status):
    busy = (status, {}, b"busy")
    with endpoint(in_turn(busy, busy, busy, "yes")) as (url, requests):
        assert client(url, tmp_path).ask(ASKED, 7) == "yes"
    assert len(requests) == 4 and waits == [1, 2, 4]


def test_an_endpoint_may_say_how_long_to_wait_but_not_for_ever(tmp_path, waits):
    with endpoint(in_turn((429, {"Retry-After": "9"}, b""), (429, {"Retry-After": "86400"}, b""), "yes")) as (url, _):
        client(url, tmp_path).ask(ASKED, 7)
    assert waits == [9, 60]


def refused(tmp_path, answer, **settings):
    """The message of an error, and how many requests were sent."""
    with endpoint(lambda body: answer) as (url, requests), pytest.raises(RunError) as caught:
        client(url, tmp_path, **settings).ask(ASKED, 7)
    assert KEY not in str(caught.value) and url in str(caught.value)
    assert not list(tmp_path.iterdir())  # what failed is not kept
    return str(caught.value), len(requests)


def test_an_endpoint_that_stays_busy_is_an_error_after_the_last_retry(tmp_path, waits):
    message, n_sent = refused(tmp_path, (429, {}, b"slow down"), n_retries=2)
    assert "status 429 after 2 retries; try again later slow down" in message and n_sent == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_named_by_its_variable_and_what_the_endpoint_says_of_it_is_not_shown(tmp_path, waits, status):
    message, n_sent = refused(tmp_path, (status, {}, f"Incorrect key {KEY[:6]}***".encode()))
    assert f"refused the key in JUDGE_KEY (status {status})" in message and n_sent == 1
    assert KEY[:6] not in message


def test_an_unknown_model_shows_what_the_endpoint_says_without_the_key(tmp_path, waits):
    message, n_sent = refused(tmp_path, (404, {}, f"no such model for {KEY}".encode()))
    assert "is 'a-model' there? no such model for ***" in message and n_sent == 1 and waits == []


def test_a_redirect_is_not_followed_with_the_key(tmp_path):
    with endpoint(lambda body: "stolen") as (other, elsewhere):
        for status in (301, 302, 303, 307, 308):
            message, _ = refused(tmp_path, (status, {"Location": f"{other}/x"}, b""))
            assert f"redirects (status {status})" in message
    assert elsewhere == []


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"null", b"{}", b'{"choices": []}', b'{"choices": [{"message": {}}]}', b"\xff\xfe",
     b'{"choices": [{"message": {"content": null}}]}', b'{"choices": 3}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_chat_completion_is_an_error_that_says_so(tmp_path, body):
    message, n_sent = refused(tmp_path, (200, {}, body))
    assert "no chat completion" in message and n_sent == 1


def test_nobody_there_is_an_error_that_says_so(tmp_path, waits):
    with endpoint(lambda body: "yes") as (url, _):
        pass
    with pytest.raises(RunError, match=r"127\.0\.0\.1.*cannot be reached .*refused.*is it running"):
        client(url, tmp_path, n_retries=1).ask(ASKED, 7)
    assert waits == [1]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_an_error_before_anything_is_sent(tmp_path, monkeypatch, value):
    monkeypatch.delenv("JUDGE_KEY") if value is None else monkeypatch.setenv("JUDGE_KEY", value)
    with endpoint(lambda body: "yes") as (url, requests):
        for call in (client(url, tmp_path).check_key, lambda: client(url, tmp_path).ask(ASKED, 7)):
            with pytest.raises(RunError, match="variable JUDGE_KEY is not set; set it"):
                call()
    assert requests == []


@pytest.mark.parametrize("key", ["sk-secret\nX-Header: 1", "sk-sécret", "sk-secret\t2"])
def test_a_key_that_no_header_can_hold_is_an_error_that_does_not_show_it(tmp_path, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with endpoint(lambda body: "yes") as (url, requests), pytest.raises(RunError) as caught:
        client(url, tmp_path).ask(ASKED, 7)
    assert "JUDGE_KEY holds characters" in str(caught.value) and "cret" not in str(caught.value) and not requests


def test_an_endpoint_that_needs_no_key_gets_none(tmp_path):
    with endpoint(lambda body: "yes") as (url, requests):
        client(url, tmp_path)._replace(key_variable=None).ask(ASKED, 7)
    assert "Authorization" not in requests[0][1]


def test_an_answer_that_holds_the_key_is_kept_without_it(tmp_path):
    with endpoint(lambda body: f"your key is {KEY}") as (url, _):
        assert client(url, tmp_path).ask(ASKED, 7) == "your key is ***"
    assert all(KEY not in file.read_text() for file in tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["", "{", '{"answer": 3}', "[]"])
def test_a_damaged_answer_in_the_cache_is_named_with_the_fix(tmp_path, damage):
    with endpoint(lambda body: "yes") as (url, _):
        client(url, tmp_path).ask(ASKED, 7)
        (file,) = tmp_path.iterdir()
        file.write_text(damage)
        with pytest.raises(RunError, match=file.name):
            client(url, tmp_path).ask(ASKED, 7)


@pytest.mark.parametrize(
    "url",
    ["", "api.openai.com", "ftp://a/v1", "http://", "https:///v1", "http://a b/v1", "http://[::1", "http://a:x/v1",
     f"https://me:{KEY}@a/v1", f"https://{KEY}@a/v1", f"https://a/v1?api_key={KEY}", f"https://a/v1#{KEY}"],
)  # fmt: skip
def test_a_url_that_is_none_or_holds_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError) as caught:
        checked_url(url)
    assert KEY not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text):
    with contextlib.suppress(ConfigError):
        assert checked_url(text).lower().startswith("http")


def test_a_cached_answer_is_plain_json(tmp_path):
    with endpoint(lambda body: "yes") as (url, _):
        client(url, tmp_path).ask(ASKED, 7)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {"answer": "yes"}
