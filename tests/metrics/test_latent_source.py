from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import nn

from boardgame_sae.files import RunError
from boardgame_sae.metrics.baselines.activations import Channels, Neurons
from boardgame_sae.metrics.baselines.probes import ProbeOutputs
from boardgame_sae.metrics.counting.latent_columns import as_latents
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK, OTHER, D, LATENTS = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", 16, 24
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=8)


@pytest.fixture(scope="module")
def acts_ND(bed):
    return bed.activations("train")


def weight(*shape, seed=0):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Plain:
    """Nothing but an encode."""

    def __init__(self):
        self.W = weight(D, LATENTS)

    def encode(self, x):
        return F.relu(x @ self.W)


class Bare(Plain):
    """Encode, decode and W_dec, no torch module."""

    def __init__(self, d_out=D, **attributes):
        super().__init__()
        self.W_dec = weight(LATENTS, d_out, seed=1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def decode(self, z):
        return z @ self.W_dec


class Linear(nn.Module):
    """The shape of dictionary_learning's: linear layers, `activation_dim`, more arguments to encode."""

    def __init__(self, d_out=D):
        super().__init__()
        self.activation_dim = D
        self.encoder, self.decoder = nn.Linear(D, LATENTS), nn.Linear(LATENTS, d_out, bias=False)
        self.register_buffer("threshold", torch.tensor(0.05))

    def encode(self, x, return_active=False, use_threshold=True):
        z = F.relu(self.encoder(x))
        z = z * (z > self.threshold) if use_threshold else z
        return (z, z > 0) if return_active else z

    def decode(self, z):
        return self.decoder(z)


class Lens(nn.Module):
    """The shape of SAELens's: `cfg`, W_enc and W_dec; a normalization that decode undoes once; heads to flatten."""

    def __init__(self, *, heads=False, d_out=D, hook_name=None, hook_name_out=None, **cfg):
        super().__init__()
        self.W_enc, self.W_dec = nn.Parameter(weight(D, LATENTS)), nn.Parameter(weight(LATENTS, d_out, seed=1))
        self.hook_z_reshaping_mode = heads
        told = SimpleNamespace(hook_name=hook_name, hook_name_out=hook_name_out)
        self.cfg = SimpleNamespace(d_in=D, d_sae=LATENTS, metadata=told, **cfg)

    def encode(self, x):
        if self.hook_z_reshaping_mode:
            self.d_head = x.shape[-1]
            x = x.flatten(-2)
        self.norm = x.norm(dim=-1, keepdim=True)
        return F.relu(x / self.norm @ self.W_enc)

    def decode(self, z):
        x = z @ self.W_dec * self.norm
        del self.norm
        return x.unflatten(-1, (-1, self.d_head)) if self.hook_z_reshaping_mode else x


def rows(source, bed, split="train", batch=50):
    """The latents (N, F) of a split, read in batches."""
    acts_ND = bed.activations(split)
    parts = [
        source.read(split, start, min(start + batch, len(acts_ND)), acts_ND[start : start + batch]).to_dense()
        for start in range(0, len(acts_ND), batch)
    ]
    return np.concatenate(parts)


# objects


@pytest.mark.parametrize("make", [Plain, Bare, Linear, Lens])
def test_latents_are_those_of_the_objects_own_encode(bed, acts_ND, make):
    thing = make()
    with torch.no_grad():
        expected = thing.encode(acts_ND).numpy()
    source = as_latent_source(thing, bed)
    assert (source.name, source.given, source.is_given) == (make.__name__, thing, False)
    np.testing.assert_allclose(rows(source, bed), expected, rtol=1e-5, atol=1e-6)
    assert source.encode(acts_ND[:3]).dtype == torch.float32


def test_an_sae_of_ours_is_taken_live_saved_and_already_wrapped(bed, acts_ND, tmp_path):
    sae = make_sae("topk", d_model=D, n_latents=LATENTS, k=3)
    sae.metadata = {"hook_name": HOOK}
    sae.train().save(tmp_path)
    live = as_latent_source(sae, bed, "mine")
    assert (live.name, live.d_in, live.hook_name, live.reads_labels) == ("mine", D, HOOK, False)
    assert not sae.training
    assert torch.equal(live.W_dec, sae.W_dec) and torch.equal(live.W_enc, sae.W_enc)
    assert torch.equal(live.decode(live.encode(acts_ND)), sae(acts_ND).detach())
    for path in (tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(rows(as_latent_source(path, bed), bed), rows(live, bed))
    again = as_latent_source(live, bed)
    assert (again.name, again.given) == ("mine", sae)
    with pytest.raises(ValueError, match="says it reads"):
        as_latent_source(live, bed.at(OTHER))


def test_what_an_object_says_is_found_wherever_it_says_it(bed):
    linear, lens, bare = Linear(), Lens(hook_name=HOOK), Bare()
    for source, W_dec, d_in, hook_name in (
        (as_latent_source(linear, bed), linear.decoder.weight.T, D, None),
        (as_latent_source(lens, bed), lens.W_dec, D, HOOK),
        (as_latent_source(bare, bed), bare.W_dec, None, None),
        (as_latent_source(Bare(d_in=D, hook_name=HOOK), bed), bare.W_dec, D, HOOK),
        (as_latent_source(Bare(W_enc=bare.W.numpy(), metadata={"hook_name": HOOK}), bed), bare.W_dec, D, HOOK),
        (as_latent_source(Bare(encoder=nn.Linear(D, LATENTS)), bed), bare.W_dec, D, None),
    ):
        assert torch.equal(source.W_dec, W_dec) and not source.W_dec.requires_grad
        assert (source.d_in, source.hook_name) == (d_in, hook_name)
        assert source.decode is not None
    assert torch.equal(as_latent_source(linear, bed).W_enc, linear.encoder.weight.T)


def test_bases_and_probes_have_no_decoder(bed):
    neurons = bed.at("blocks.1.mlp.hook_post")
    for thing, where in ((Neurons(), neurons), (Channels(), bed), (ProbeOutputs([5]), bed), (Plain(), bed)):
        source = as_latent_source(thing, where)
        assert source.decode is None and source.W_dec is None and source.d_in is None
        assert source.reads_labels == isinstance(thing, ProbeOutputs)
    expected = neurons.activations("train").clamp(min=0).numpy()
    np.testing.assert_array_equal(rows(as_latent_source(Neurons(), neurons), neurons), expected)


@pytest.mark.parametrize(
    "thing",
    [
        Bare(d_out=10),
        Linear(d_out=10),
        Lens(d_out=10),
        Bare(d_out=D, cfg=SimpleNamespace(d_out=D)),  # nothing but a transcoder states the width it writes
        Lens(hook_name=HOOK, hook_name_out="blocks.0.hook_mlp_out"),
        Bare(metadata={"hook_name_out": "blocks.0.hook_mlp_out"}),
        Bare(d_out=10, hook_name_out=HOOK),
    ],
)
def test_a_transcoder_has_decoder_rows_but_no_decode(bed, thing):
    source = as_latent_source(thing, bed)
    assert source.decode is None
    assert len(source.W_dec) == LATENTS
    assert rows(source, bed).shape[1] == LATENTS


def test_what_writes_where_it_reads_reconstructs(bed):
    assert as_latent_source(Lens(hook_name=HOOK, hook_name_out=HOOK), bed).decode is not None
    assert as_latent_source(Bare(d_in=D, hook_name_out=HOOK, cfg=SimpleNamespace(d_out=D)), bed).decode is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [Linear, Lens])
def test_other_number_formats_come_back_as_float32(bed, acts_ND, make, dtype):
    thing = make().to(dtype)
    with torch.no_grad():
        z_NF = thing.encode(acts_ND.to(dtype))
        x_ND = thing.decode(z_NF)
    source = as_latent_source(thing, bed)
    assert source.W_dec.dtype == torch.float32
    found = source.read("train", 0, len(acts_ND), acts_ND)
    assert found.values_Z.dtype == np.float32
    np.testing.assert_array_equal(found.to_dense(), z_NF.float().numpy())
    torch.testing.assert_close(source.decode(source.encode(acts_ND)), x_ND.float(), rtol=1e-5, atol=1e-7)


def test_an_object_without_parameters_in_half_precision_is_told_by_its_matrices(bed, acts_ND):
    thing = Bare()
    thing.W, thing.W_dec = thing.W.half(), thing.W_dec.half()
    expected = thing.encode(acts_ND.half()).float().numpy()
    np.testing.assert_array_equal(rows(as_latent_source(thing, bed), bed, batch=len(acts_ND)), expected)


def test_a_decode_that_forgets_how_encode_normalized_may_be_repeated(bed, acts_ND):
    source = as_latent_source(Lens(), bed)
    z_NF = source.encode(acts_ND)
    first_ND, again_ND = source.decode(z_NF), source.decode(z_NF)
    assert torch.equal(first_ND, again_ND)
    scaled_ND = source.decode(source.encode(2 * acts_ND))
    torch.testing.assert_close(scaled_ND, 2 * first_ND)


def test_heads_are_split_for_what_wants_them_apart(tiny_model, tiny_corpus):
    bed = Testbed(tiny_model, tiny_corpus, "blocks.0.attn.hook_z", n_games=8)
    x_ND, apart, flat = bed.activations("train"), Lens(heads=True), Lens()
    source, expected = as_latent_source(apart, bed), as_latent_source(flat, bed)
    np.testing.assert_array_equal(rows(source, bed), rows(expected, bed))
    assert apart.d_head == D // tiny_model.gpt.cfg.n_heads
    assert torch.equal(source.decode(source.encode(x_ND)), expected.decode(expected.encode(x_ND)))


@pytest.mark.parametrize("form", [torch.Tensor.to_sparse_csr, torch.Tensor.to_sparse, torch.Tensor.numpy, as_latents])
def test_encode_may_give_any_kind_of_matrix(bed, form):
    class Other(Plain):
        def encode(self, x):
            return form(super().encode(x))

    np.testing.assert_array_equal(rows(as_latent_source(Other(), bed), bed), rows(as_latent_source(Plain(), bed), bed))


# latents that are given


@pytest.fixture(scope="module")
def given(bed):
    """Sparse latents of every split, (N, F)."""
    dense = {split: F.relu(bed.activations(split) @ weight(D, LATENTS) - 0.3) for split in SPLITS}
    assert all(0 < (each > 0).float().mean() < 0.7 for each in dense.values())
    return dense


KINDS = {
    "numpy": torch.Tensor.numpy,
    "torch": lambda z: z,
    "parameter": nn.Parameter,
    "half": lambda z: z.to(torch.bfloat16),
    "csr": torch.Tensor.to_sparse_csr,
    "coo": torch.Tensor.to_sparse,
    "scipy": lambda z: scipy.sparse.csr_matrix(z.numpy()),
    "scipy array": lambda z: scipy.sparse.csc_array(z.numpy()),
    "latents": as_latents,
}


@pytest.mark.parametrize("by_split", [False, True], ids=["one", "by split"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_gives_the_rows_of_the_dense_one(bed, given, kind, by_split):
    form = KINDS[kind]
    thing = {split: form(z) for split, z in given.items()} if by_split else form(torch.cat(list(given.values())))
    source = as_latent_source(thing, bed)
    assert source.is_given and source.given is thing and source.name == "given latents"
    assert source.decode is None and source.W_dec is None and source.d_in is None
    for split in SPLITS:
        z_NF = (given[split].to(torch.bfloat16).float() if kind == "half" else given[split]).numpy()
        n = len(z_NF)
        for start, stop in ((0, n), (0, 7), (7, 7), (7, n - 3), (n - 3, n)):
            found = source.read(split, start, stop)
            assert found.shape == (stop - start, LATENTS)
            np.testing.assert_array_equal(found.to_dense(), z_NF[start:stop])
        np.testing.assert_array_equal(rows(source, bed, split), z_NF)


def test_a_table_may_be_wrapped_again(bed, given):
    again = as_latent_source(as_latent_source(given, bed, "theirs"), bed)
    assert again.name == "theirs"
    np.testing.assert_array_equal(rows(again, bed), given["train"].numpy())


def test_a_table_knows_no_other_activations_rows_or_splits(bed, given, acts_ND):
    source, n = as_latent_source(given, bed), len(acts_ND)
    with pytest.raises(ValueError, match=r"known at the scored positions only.* give the object that computed them"):
        source.encode(acts_ND)
    with pytest.raises(ValueError, match=rf"positions 3\.\.{n + 1} are not within the {n} of train"):
        source.read("train", 3, n + 1)
    with pytest.raises(ValueError, match="unknown split 'dev'; the splits are train, validation, test"):
        source.read("dev", 0, 1)


# what cannot be scored


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda z: z[:-1],
            r"x: an array of shape \({less}, 24\), but \({all}, n_latents\) was expected; give one row ",
        ),
        (lambda z: z[:, 0], r"x: an array of shape \({all},\), but"),
        (lambda z: z[None], r"x: an array of shape \(1, {all}, 24\), but"),
        (lambda z: z.to_sparse_csr()[0], r"x: an array of shape \(24,\), but"),
        (lambda z: z.where(z < z.max(), torch.nan), "x: what cannot be scored: latents hold NaN"),
    ],
)
def test_an_array_must_have_a_finite_row_for_each_position(bed, given, change, message):
    z_NF = torch.cat(list(given.values()))
    message = message.replace("{less}", str(len(z_NF) - 1)).replace("{all}", str(len(z_NF)))
    with pytest.raises(ValueError, match=message):
        as_latent_source(change(z_NF), bed, "x")


def test_the_rows_expected_are_told_for_each_split_and_in_all(bed):
    n = {split: len(bed.positions(split)) for split in SPLITS}
    wanted = f"{n['train']} for train, {n['validation']} for validation, {n['test']} for test, {sum(n.values())} in all"
    with pytest.raises(ValueError, match=wanted):
        as_latent_source(np.zeros((3, 4)), bed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: {"train": given["train"]}, "a mapping of 'train' was given, but one of exactly 'train', 'valid"),
        (lambda given: {}, "a mapping of nothing was given"),
        (lambda given: {**given, "dev": given["test"]}, "'test', 'dev' was given"),
        (lambda given: {**given, "test": given["test"][:, :5]}, "24 for train, 24 for validation, 5 for test latents"),
        (
            lambda given: {**given, "test": given["test"][1:]},
            r"for test an array of shape \(\d+, 24\), but \(\d+, n_la",
        ),
        (lambda given: {**given, "test": given["test"].tolist()}, r"for test a list, but \(\d+, n_latents\)"),
        (lambda given: {**given, "test": given["test"] * torch.nan}, "for test what cannot be scored: latents hold N"),
    ],
)
def test_a_mapping_must_have_the_same_latents_of_exactly_the_splits(bed, given, change, message):
    with pytest.raises(ValueError, match=message):
        as_latent_source(change(given), bed)


@pytest.mark.parametrize(
    ("thing", "given"), [(7, "a int"), ([[1.0]], "a list"), (Plain, "the class Plain itself"), (None, "a NoneType")]
)
def test_what_has_no_encode_and_is_no_array_is_refused(bed, thing, given):
    with pytest.raises(
        ValueError, match=f"{given} gives no latents: expected an object with `encode`.* array .*mapping"
    ):
        as_latent_source(thing, bed)


def test_a_path_without_an_sae_is_a_run_error(bed, tmp_path):
    with pytest.raises(RunError, match="no SAE"):
        as_latent_source(tmp_path / "nothing", bed)


@pytest.mark.parametrize(
    "thing",
    [
        make_sae("relu", d_model=9, n_latents=LATENTS),
        Bare(cfg=SimpleNamespace(d_in=9)),
        Bare(activation_dim=9),
        Bare(W_enc=weight(9, LATENTS)),
        Bare(encoder=nn.Linear(9, LATENTS)),
    ],
)
def test_another_width_than_the_hook_points_is_refused(bed, thing):
    with pytest.raises(
        ValueError, match=r"width 9.* cannot be scored at blocks\.0\.hook_resid_post.* width 16; give a"
    ):
        as_latent_source(thing, bed)


def test_a_width_read_off_a_transposed_matrix_says_so(bed):
    with pytest.raises(ValueError, match=r"width 24 \(by the shape of its weights: W_enc is \(d_in, n_latents\)\)"):
        as_latent_source(Bare(W_enc=weight(LATENTS, D)), bed)


def test_another_hook_point_than_the_testbeds_is_refused(bed):
    with pytest.raises(ValueError, match=rf"Lens says it reads {OTHER}, the testbed reads {HOOK}; .*testbed\.at\("):
        as_latent_source(Lens(hook_name=OTHER), bed)
    with pytest.raises(ValueError, match=r"says it reads model\.layers\.3.*this GPT has no such place"):
        as_latent_source(Bare(hook_name="model.layers.3"), bed)


@pytest.mark.parametrize("normalization", ["expected_average_only_in", "covariance_whitening"])
def test_a_normalization_that_is_not_folded_in_is_refused(bed, normalization):
    with pytest.raises(ValueError, match=f"normalize_activations is '{normalization}'.* fold them into its weights"):
        as_latent_source(Lens(normalize_activations=normalization), bed)
    for known in ("none", "layer_norm", "constant_norm_rescale"):
        as_latent_source(Lens(normalize_activations=known), bed)


def test_what_chooses_among_a_whole_batch_is_refused(bed, acts_ND):
    sae = make_sae("batch_topk", d_model=D, n_latents=LATENTS, k=3)
    for thing in (sae, Bare(topk_threshold=torch.tensor(0.1))):
        with pytest.raises(ValueError, match=r"is in training.* give its inference form"):
            as_latent_source(thing, bed)
    sae.calibrate([acts_ND])
    as_latent_source(sae, bed)
    as_latent_source(sae.inference(), bed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda z: z[1:],
            r"encode of Wrong gave an array of shape \(4, 24\), but \(5, n_latents\) was expected; give l",
        ),
        (lambda z: z.T, r"an array of shape \(24, 5\), but"),
        (lambda z: z.sum(1), r"an array of shape \(5,\), but"),
        (lambda z: (z, z), r"a tuple, but \(5, n_latents\) was expected; give latents only"),
        (lambda z: None, "a NoneType, but"),
        (lambda z: z * torch.nan, "what cannot be scored: latents hold NaN"),
        (lambda z: z[:, :3], r"gave 3 latents, but its W_dec has shape \(24, 16\); W_dec is \(n_latents, d_out\)"),
    ],
)
def test_encode_must_give_a_finite_row_for_each_position(bed, acts_ND, wrong, message):
    class Wrong(Bare):
        def encode(self, x):
            return wrong(super().encode(x))

    source = as_latent_source(Wrong(), bed)
    with pytest.raises(ValueError, match=message):
        source.read("train", 0, 5, acts_ND[:5])


def test_a_source_needs_the_activations_of_the_positions_it_is_asked_for(bed, acts_ND):
    source = as_latent_source(Plain(), bed)
    for given, n in ((None, 0), (acts_ND[:3], 3)):
        with pytest.raises(ValueError, match=f"reads the activations of 5 positions, but {n} were given"):
            source.read("train", 0, 5, given)


def test_an_encode_that_raises_raises(bed, acts_ND):
    class Broken(Plain):
        def encode(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        as_latent_source(Broken(), bed).read("train", 0, 5, acts_ND[:5])


def test_reading_leaves_no_gradients_behind_but_encode_passes_them(bed, acts_ND):
    source = as_latent_source(Linear(), bed)
    source.read("train", 0, 5, acts_ND[:5])
    x_ND = acts_ND[:5].clone().requires_grad_()
    source.decode(source.encode(x_ND)).sum().backward()
    assert x_ND.grad.abs().sum() > 0
