"""A client of any endpoint that speaks OpenAI's chat completions: retries, a cache on disk, a key that stays secret.

The key is read from an environment variable when a request is sent, and goes into that request's header alone: into no
file, message or hash. Redirects are refused, as they would carry it elsewhere. An answer is kept in a file named by the
hash of its request, so that the same request is never sent twice.
"""

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from boardgame_sae.config import ConfigError, canonical_json, record
from boardgame_sae.files import RunError, read_record, write_json

BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses after which the same request may succeed."""
DENIED = (401, 403)
MAX_BYTES, MAX_WAIT = 2**22, 60.0
"""Of an answer; and seconds between two tries."""
Messages = Sequence[dict[str, str]]
"""`role` and `content` of each message."""


@record
class Kept:
    """An answer in the cache."""

    answer: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """None: a redirect is an error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def checked_url(url: str) -> str:
    """The base URL of an endpoint. Raises ConfigError for one that is none, or that holds a secret."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ConfigError("url is no URL; give one like https://api.openai.com/v1") from None
    if parts.scheme not in ("http", "https") or not host or any(sign.isspace() for sign in url):
        raise ConfigError("url must be like https://api.openai.com/v1, or http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError("url holds a user or parameters; put the key into an environment variable (key_variable)")
    return url.rstrip("/")


class ChatClient(NamedTuple):
    """An endpoint, a model, and how patiently they are asked."""

    url: str
    model: str
    key_variable: str | None
    """Name of the environment variable that holds the key; None: the endpoint needs none."""
    cache: Path
    n_retries: int = 5
    timeout: float = 60.0
    """Seconds for one answer."""
    first_wait: float = 1.0
    """Seconds before the first retry; twice as long before each further one."""

    def check_key(self) -> None:
        """Raise RunError unless the key is there, before anything is computed or sent."""
        self._key()

    def is_kept(self, messages: Messages, max_tokens: int) -> bool:
        """Whether the answer is in the cache."""
        return self._file(self._body(messages, max_tokens)).exists()

    def ask(self, messages: Messages, max_tokens: int) -> str:
        """The model's answer, from the cache if it is there.

        Raises RunError, without the key, when there is no key, the endpoint cannot be reached, refuses or answers with
        something else than a chat completion, and for a cached answer that is damaged.
        """
        body = self._body(messages, max_tokens)
        file = self._file(body)
        if file.exists():
            return read_record(Kept, file, "remove it, and the model is asked again").answer
        answer = _without(self._key(), self._content(self._post(canonical_json(body).encode())))
        write_json(file, {"answer": answer})
        return answer

    def _body(self, messages: Messages, max_tokens: int) -> dict[str, Any]:
        return {"model": self.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0}

    def _file(self, body: dict[str, Any]) -> Path:
        request = canonical_json({"url": self.url, "body": body})
        return self.cache / f"{hashlib.sha256(request.encode()).hexdigest()}.json"

    def _key(self) -> str | None:
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise RunError(
                f"the environment variable {self.key_variable} is not set; set it to the key of {self.url}, or name "
                "another with --key-variable (None for an endpoint that needs no key)"
            )
        if not (key.isascii() and key.isprintable()):
            raise RunError(
                f"the environment variable {self.key_variable} holds characters that no key has; set it again"
            )
        return key

    def _post(self, body: bytes) -> bytes:
        """The body of the answer; tried again while the endpoint is busy or cannot be reached."""
        key, wait = self._key(), self.first_wait
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        for left in reversed(range(self.n_retries + 1)):
            try:
                with _OPENER.open(request, timeout=self.timeout) as answer:
                    return answer.read(MAX_BYTES)
            except urllib.error.HTTPError as error:
                if error.code not in BUSY or not left:
                    raise RunError(self._refused(error, key)) from None
                asked_for = error.headers.get("Retry-After", "")
                wait = max(wait, float(asked_for)) if asked_for.isdecimal() else wait
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    reason = _without(key, str(getattr(error, "reason", error)) or type(error).__name__)
                    raise RunError(
                        f"{self.url}: cannot be reached ({reason}); is it running, and the url right?"
                    ) from None
            time.sleep(min(wait, MAX_WAIT))
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _refused(self, error: urllib.error.HTTPError, key: str | None) -> str:
        """What to say of a status. The answer to a wrong key is not quoted, as it may hold parts of the key."""
        if error.code in DENIED:
            said = f"refused the key in {self.key_variable}" if key else "asks for a key; name its --key-variable"
            return f"{self.url}: {said} (status {error.code})"
        if 300 <= error.code < 400:
            return (
                f"{self.url}: redirects (status {error.code}), and a key is not sent on; give the url it redirects to"
            )
        try:
            text = " ".join(error.read(2**12).decode(errors="replace").split())
        except (OSError, http.client.HTTPException):
            text = ""
        busy = (
            f" after {self.n_retries} retries; try again later" if error.code in BUSY else f"; is '{self.model}' there?"
        )
        return f"{self.url}: status {error.code}{busy} {_without(key, text)[:200]}".rstrip()

    def _content(self, answer: bytes) -> str:
        try:
            content = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            content = None
        if not isinstance(content, str):
            raise RunError(
                f"{self.url}: answered with something that is no chat completion; the url is that of an "
                "OpenAI-compatible endpoint, with its /v1"
            )
        return content


def _without(key: str | None, text: str) -> str:
    return text.replace(key, "***") if key else text
