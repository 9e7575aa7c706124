"""Every registered SAE architecture in the formats of other libraries, and as SAEBench reads it."""

import json

import pytest
import torch
from exported_saes import WRITERS, F, assert_same, batch, can_write, trained_like
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from boardgame_sae.files import RunError
from boardgame_sae.saes.exchange import libraries, recognise, saebench_view
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures

each = pytest.mark.parametrize("name", architectures())
each_library = pytest.mark.parametrize("library", WRITERS)
each_pair = pytest.mark.parametrize(
    ("library", "name"),
    [(library, name) for library in WRITERS for name in architectures() if can_write(library, name)],
)


@each
@each_library
def test_what_a_library_cannot_hold_is_not_written(tmp_path, name, library):
    if not can_write(library, name):
        with pytest.raises(RunError, match=f"computes nothing that {libraries()[library].title} knows"):
            WRITERS[library](trained_like(name), tmp_path)
        assert not list(tmp_path.iterdir())


@each_pair
@settings(max_examples=12, deadline=None, derandomize=True)
@given(d_model=st.integers(1, 9), extra=st.integers(0, 20), seed=st.integers(0, 2**31), data=st.data())
def test_there_and_back_latents_and_reconstructions_stay(tmp_path_factory, name, library, d_model, extra, seed, data):
    subtract, unit = data.draw(st.booleans(), "subtract_b_dec"), data.draw(st.booleans(), "unit")
    sae = trained_like(name, d_model, 2 * d_model + extra, seed, unit=unit, subtract_b_dec=subtract)
    x_ND = batch(d_model, 60, seed)
    assume((sae.inference().encode(x_ND) > 0).any())
    folder = tmp_path_factory.mktemp("there")
    WRITERS[library](sae, folder)
    assert_same(libraries()[library].read(folder), sae, x_ND)
    assert recognise(folder) == library
    assert_same(load_sae(folder), sae, x_ND)


@each_pair
def test_there_and_back_an_sae_remembers_how_and_where_it_was_trained(tmp_path, name, library):
    sae = trained_like(name)
    sae.metadata = {"hook_name": "blocks.3.hook_resid_post", "model": "abc", "inference": {"l0": 2.5}}
    WRITERS[library](sae, tmp_path)
    again = load_sae(tmp_path)
    assert again.trained_as == sae.trained_as
    metadata = dict(again.metadata)
    foreign = metadata.pop("foreign")
    assert metadata == {**sae.metadata, "trained_as": sae.trained_as}
    assert "boardgame_sae" not in json.dumps(foreign)
    WRITERS[library](again, tmp_path)
    assert load_sae(tmp_path).metadata == again.metadata
    assert not again.training
    again.save(tmp_path / "ours")
    assert load_sae(tmp_path / "ours").metadata == again.metadata


@each
@torch.no_grad()
@pytest.mark.parametrize("unit", [True, False])
def test_the_saebench_view_has_rows_of_norm_one_and_the_same_reconstruction(name, unit):
    sae, x_BLD = trained_like(name, unit=unit), batch(n=35).view(5, 7, -1)
    view = saebench_view(sae)
    torch.testing.assert_close(view.W_dec.norm(dim=1), torch.ones(F))
    z_BLF, plain_BLF = view.encode(x_BLD), sae.inference().encode(x_BLD)
    assert torch.equal(z_BLF > 0, plain_BLF > 0)
    torch.testing.assert_close(z_BLF, plain_BLF * sae.inference().W_dec.norm(dim=1))
    sparse = view.encode_sparse(x_BLD.flatten(0, 1))
    sparse_NF = sparse if isinstance(sparse, torch.Tensor) else torch.from_numpy(sparse.toarray())
    torch.testing.assert_close(sparse_NF, z_BLF.flatten(0, 1))
    torch.testing.assert_close(view(x_BLD), sae.inference()(x_BLD))
    torch.testing.assert_close(view.decode(z_BLF), z_BLF @ view.W_dec + view.b_dec)
    if sae.inference().form == "relu":
        torch.testing.assert_close(z_BLF, ((x_BLD - view.b_dec) @ view.W_enc + view.b_enc).relu())
