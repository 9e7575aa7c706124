"""Which language model judges, and about how many latents."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from boardgame_sae.config import Count, Natural, Positive, Seed, config
from boardgame_sae.metrics.saebench.autointerp.openai_client import ChatClient, checked_url
from boardgame_sae.runs import runs_root

CACHE = "answers"
"""Folder of the cached answers, below the folder of runs."""


@config
class JudgeConfig:
    """Which model is asked, and about how many latents."""

    url: str
    """Base URL of an OpenAI-compatible endpoint: https://api.openai.com/v1, http://localhost:8000/v1."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name there."""
    key_variable: str | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; None: the endpoint needs no key."""
    n_latents: Count = 50
    """Maximum number of latents; they are drawn among those that are on often enough."""
    n_explain: Count = 15
    """Active positions that an explanation is made from."""
    n_judge: Count = 7
    """Active positions that it is tried on, and as many inactive ones."""
    n_parallel: Count = 4
    """Requests at a time."""
    n_retries: Natural = 5
    """Further tries while the endpoint is busy or cannot be reached."""
    timeout: Positive = 60.0
    """Seconds for one answer."""
    seed: Seed = 0
    """Which latents and positions are drawn."""

    def __post_init__(self) -> None:
        checked_url(self.url)
        if self.key_variable is not None and not re.fullmatch("[A-Z_][A-Z0-9_]*", self.key_variable):
            raise ValueError(
                "key_variable must be the name, in capital letters, of the environment variable that holds the key, "
                "and never the key itself"
            )

    def client(self, cache: Path | None = None) -> ChatClient:
        """The client of the endpoint. cache: folder of answers, by default below the folder of runs."""
        folder = runs_root() / CACHE if cache is None else cache
        return ChatClient(checked_url(self.url), self.model, self.key_variable, folder, self.n_retries, self.timeout)
