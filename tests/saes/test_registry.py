"""The registry of SAE architectures: names, looks and what sets sparsity."""

from typing import Literal

import pytest

from boardgame_sae.config import ConfigError, config
from boardgame_sae.registry import Registry
from boardgame_sae.saes import registry
from boardgame_sae.saes.architectures.relu import ReLUConfig, ReLUSAE
from boardgame_sae.saes.exchange import to_dictionary_learning, to_sae_lens
from boardgame_sae.saes.registry import (
    MARKERS,
    architecture,
    architectures,
    look,
    make_sae,
    sae_class,
    sparsity_field,
    sparsity_fields,
    summary,
)


@pytest.fixture
def newcomer(monkeypatch):
    """Register an architecture `aardvark`, first in the alphabet, as a subclass of the standard SAE, for one test."""
    known = Registry("SAE architecture")
    for name in architectures():
        known.add(name, sae_class(name))
    monkeypatch.setattr(registry, "_ARCHITECTURES", known)

    def register(**options):
        @config
        class AardvarkConfig(ReLUConfig):
            architecture: Literal["aardvark"] = "aardvark"

        @architecture(AardvarkConfig, **options)
        class AardvarkSAE(ReLUSAE):
            """It digs.

            Deep.
            """

        return AardvarkSAE

    return register


def test_each_file_of_the_folder_registers_its_own():
    assert architectures() == tuple(sorted(architectures()))
    assert {"relu", "topk", "batch_topk", "gated", "jumprelu", "p_anneal"} <= set(architectures())


def test_a_newcomer_is_made_by_its_name_and_said_in_its_first_line(newcomer):
    cls = newcomer()
    assert type(make_sae("aardvark", d_model=4, n_latents=8)) is cls
    assert summary("aardvark") == "It digs."


def test_a_name_that_is_taken_is_refused(newcomer):
    newcomer()
    with pytest.raises(ValueError, match="there already is a SAE architecture 'aardvark'"):
        newcomer()


def test_an_unknown_name_is_an_error_with_the_closest():
    with pytest.raises(ConfigError, match="unknown SAE architecture 'topkk'; did you mean 'topk'"):
        sae_class("topkk")


def test_a_newcomer_moves_nobodys_look_and_has_one_of_its_own(newcomer):
    before = {name: look(name) for name in architectures()}
    unknown = look("aardvark")
    newcomer()
    assert {name: look(name) for name in before} == before
    assert look("aardvark") == unknown and unknown not in before.values() and unknown[1] in MARKERS
    assert unknown[0] not in {colour for colour, _ in before.values()}, "not that of the class it extends"


def test_a_declared_look_is_taken(newcomer):
    newcomer(colour="#123456", marker="v")
    assert look("aardvark") == ("#123456", "v")


def test_looks_are_those_of_the_committed_figures():
    assert look("topk") == ("#F781BF", "D")
    assert look("batch_topk") == ("#0072B2", "o")
    assert look("p_anneal") == ("#8C6D1F", "*")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"architecture": "topk", "k": 4, "n_latents": 8}, "k"),
        ({"architecture": "gated"}, "sparsity_coefficient"),
        ({"architecture": "jumprelu"}, "target_l0"),
        ({"architecture": "jumprelu", "sparsity_loss": "l0_target"}, "target_l0"),
        ({"architecture": "jumprelu", "sparsity_loss": "tanh"}, "sparsity_coefficient"),
        ({"architecture": "identity"}, None),
        ({"architecture": "of another library", "k": 3}, None),
    ],
)
def test_what_sets_sparsity_may_depend_on_the_other_fields(fields, field):
    assert sparsity_field(**fields) == field


def test_all_fields_that_set_sparsity(newcomer):
    assert sparsity_fields() == ("k", "sparsity_coefficient", "target_l0")
    cls = newcomer()
    cls.Config.sparsity_field = "depth"
    assert sparsity_field("aardvark") == "depth" and "depth" in sparsity_fields()


def test_an_sae_of_a_form_of_its_own_is_not_exported(newcomer, tmp_path):
    cls = newcomer()
    for write in (to_sae_lens, to_dictionary_learning):
        cls.form = "relu"
        write(make_sae("aardvark", d_model=4, n_latents=8), tmp_path / write.__name__)
        cls.form = None
        with pytest.raises(RuntimeError, match=r"the aardvark SAE computes nothing that \w+ knows"):
            write(make_sae("aardvark", d_model=4, n_latents=8), tmp_path / "none")
    assert not (tmp_path / "none").exists()
