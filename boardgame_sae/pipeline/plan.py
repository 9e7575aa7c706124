"""Who does what of a study: SAEs that can train on one stream are a group, which one worker trains and scores.

Groups follow from the study alone, never from what is done already, so that machines which know nothing of each other
divide them in the same way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from boardgame_sae.config import ConfigError
from boardgame_sae.pipeline.grid import Planned, expand, on_one_stream
from boardgame_sae.saes.training.train import TrainSAEConfig


@dataclass(frozen=True)
class Group:
    """SAEs of one stream of activations; or, without any, what is scored beside SAEs and needs none: the baselines."""

    hook_name: str
    random: bool = False
    """Whether they are SAEs of the random-weights GPT."""
    planned: tuple[Planned, ...] = ()

    def __str__(self) -> str:
        what = f"{len(self.planned)} SAE{'s'[: len(self.planned) != 1]}" if self.planned else "baselines"
        return f"{what} at {self.hook_name}{' of the random-weights GPT' if self.random else ''}"

    @property
    def n_activations(self) -> int:
        """Activations that its SAEs are trained on, each of them on all."""
        training = self.planned[0].training if self.planned else None
        return 0 if training is None else training.n_activations


def plan(
    widths: Mapping[str, int],
    saes: Sequence[Mapping[str, Any]],
    random_saes: Sequence[Mapping[str, Any]],
    training: TrainSAEConfig,
    most: int = 0,
) -> list[Group]:
    """The groups of a study, hook point by hook point: the trained GPT's SAEs, the random-weights GPT's, the baselines.

    widths: of the activations, by hook point. most: SAEs per group; 0: all that can train on one stream.
    Raises ConfigError as `expand` does.
    """
    groups = list[Group]()
    for hook_name, width in widths.items():
        for random, entries in ((False, saes), (True, random_saes)):
            planned = list(dict.fromkeys(expand(entries, width, training)))  # one that is listed twice is made once
            for places in on_one_stream(planned):
                size = most or len(places)
                parts = [places[start : start + size] for start in range(0, len(places), size)]
                groups += [Group(hook_name, random, tuple(planned[place] for place in part)) for part in parts]
        groups.append(Group(hook_name))
    return groups


class Part(NamedTuple):
    """One of several equal parts of a study's groups: what one task of a job array does."""

    number: int
    """From 1 to `n_parts`."""
    n_parts: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `3/8`, the third of eight. Raises ConfigError for anything else."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        part = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= part.number <= part.n_parts:
            raise ConfigError(f"part is {text!r}: must be I/N with I from 1 to N, such as 1/8 for the first of eight")
        return part

    def of(self, groups: Sequence[Group]) -> list[Group]:
        """The groups of this part; every group is in exactly one."""
        return list(groups[self.number - 1 :: self.n_parts])
