"""The groups of a study: SAEs that share a stream, divided among machines that know nothing of each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.config import ConfigError
from boardgame_sae.pipeline.plan import Group, Part, plan
from boardgame_sae.saes.training.train import TrainSAEConfig

TRAINING = TrainSAEConfig(n_activations=1000)
GRID = [
    {"architecture": "topk", "n_latents": 16, "k": [2, 4, 4], "lr": [1e-3, 1e-2], "seed": [0, 1]},
    {"architecture": "relu", "n_latents": 16, "n_activations": [1000, 2000]},
]
FLOORS = [{"architecture": "topk", "n_latents": 16, "k": 4}]


def names(groups):
    return [str(group) for group in groups]


def test_saes_that_share_a_stream_are_one_group_and_baselines_are_one_of_their_own():
    groups = plan({"blocks.0": 12, "blocks.1": 20}, GRID, FLOORS, TRAINING)
    assert names(groups) == [
        "9 SAEs at blocks.0",
        "1 SAE at blocks.0",
        "1 SAE at blocks.0 of the random-weights GPT",
        "baselines at blocks.0",
        "9 SAEs at blocks.1",
        "1 SAE at blocks.1",
        "1 SAE at blocks.1 of the random-weights GPT",
        "baselines at blocks.1",
    ]
    assert {one.sae.d_model for group in groups for one in group.planned if group.hook_name == "blocks.1"} == {20}
    assert [one.training.n_activations for one in groups[1].planned] == [2000]


def test_groups_can_be_kept_small_for_many_workers():
    groups = plan({"blocks.0": 12}, GRID, [], TRAINING, most=4)
    assert [len(group.planned) for group in groups] == [4, 4, 1, 1, 0]
    whole = plan({"blocks.0": 12}, GRID, [], TRAINING)
    assert [one for group in groups for one in group.planned] == [one for group in whole for one in group.planned]


def test_a_study_without_hook_points_has_nothing_to_do():
    assert plan({}, GRID, FLOORS, TRAINING) == []


@given(st.integers(0, 30), st.integers(1, 12))
def test_every_group_is_in_exactly_one_part(n_groups, n_parts):
    groups = [Group(f"blocks.{number}") for number in range(n_groups)]
    parts = [Part.parse(f"{number}/{n_parts}").of(groups) for number in range(1, n_parts + 1)]
    assert sorted(names(group for part in parts for group in part)) == sorted(names(groups))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1", "1/0", "/", "a/b", "-1/4", "1/4/2", "1.0/2", "", "1//2", "\u0661/\u0662"]
)
def test_a_part_that_is_none_is_an_error_that_shows_how_one_is_written(text):
    with pytest.raises(ConfigError, match="must be I/N with I from 1 to N, such as 1/8"):
        Part.parse(text)
