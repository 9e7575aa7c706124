"""Names of what ships: nothing that happens to lie in the current folder hides them."""

import json

import pytest
from exported_saes import WRITERS, trained_like

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange.sae_lens import to_sae_lens
from boardgame_sae.saes.load import load_sae, sae_folder
from boardgame_sae.testbeds.shipped import context_size_of, find_sae

NAME = "mini/topk-2"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A shipped testbed of one SAE, seen from another folder."""
    folder = tmp_path / "shipped/mini"
    (folder / "model").mkdir(parents=True)
    (folder / "testbed.json").write_text('{"model": "model"}')
    (folder / "model/cfg.json").write_text('{"hash": "abc", "gpt": {"n_ctx": 31}}')
    (folder / "DONE").write_text("{}")
    trained_like("topk").save(folder / "saes/topk-2")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("BOARDGAME_SAE_TESTBEDS", str(tmp_path / "shipped"))
    return folder / "saes/topk-2"


def nothing(folder):
    folder.mkdir(parents=True)


def notes(folder):
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text('{"notes": "mine"}')


def damaged(folder):
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text("{")


def a_file(folder):
    folder.parent.mkdir()
    folder.write_text("")


@pytest.mark.parametrize("lies_there", [nothing, notes, damaged, a_file])
def test_an_unrelated_folder_hides_no_shipped_sae(shipped, tmp_path, lies_there):
    lies_there(tmp_path / "here" / NAME)
    assert find_sae(NAME) == sae_folder(NAME) == shipped
    assert load_sae(NAME).cfg.k == 4


@pytest.mark.parametrize("library", WRITERS)
def test_an_export_hides_no_shipped_sae_and_is_found_by_its_path(shipped, tmp_path, library):
    here = tmp_path / "here" / NAME
    WRITERS[library](load_sae(NAME), here)
    assert find_sae(NAME) == shipped
    assert sae_folder(here) == here and find_sae(f"./{NAME}") == here.relative_to(tmp_path / "here")
    assert "foreign" in load_sae(here).metadata and "foreign" in load_sae(f"./{NAME}").metadata


def test_an_sae_that_was_saved_here_is_meant_by_its_name(shipped, tmp_path):
    trained_like("relu").save(tmp_path / "here" / NAME)
    assert load_sae(NAME).cfg.architecture == "relu"
    assert load_sae(shipped).cfg.architecture == "topk"
    with pytest.raises(RunError, match=r"the testbed mini has no SAE 'topk-3' \(did you mean 'topk-2'\?\); a copy"):
        load_sae("mini/topk-3")


def test_an_export_tells_the_context_of_the_shipped_model(shipped, tmp_path):
    assert (context_size_of("abc"), context_size_of("abd"), context_size_of(None)) == (31, None, None)
    sae = load_sae(shipped)
    sae.metadata = {"model": "abc"}
    to_sae_lens(sae, tmp_path / "out")
    assert json.loads((tmp_path / "out/cfg.json").read_text())["metadata"]["context_size"] == 31
