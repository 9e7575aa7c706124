import numpy as np
import pytest
import torch
from planted import perfect_sae, planted

from boardgame_sae.metrics.subject import Subject
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.studies.stitching import figure, groups, new_properties, novelty, way_from_small_to_large

WIDTH, N = 12, 400


def sae_of(rows_FD, b_dec=0.0):
    """An SAE whose latents are on where activations point along their rows."""
    sae = make_sae("relu", d_model=WIDTH, n_latents=len(rows_FD), subtract_b_dec=False)
    with torch.no_grad():
        sae.W_dec.copy_(rows_FD)
        sae.W_enc.copy_(rows_FD.T)
        sae.b_dec.fill_(b_dec)
    return sae


@pytest.fixture(scope="module")
def pair():
    """Activations of 6 orthogonal directions; a small SAE that has the first 5, a large one that has them all."""
    rng = np.random.default_rng(0)
    rows_FD = torch.from_numpy(np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0][:6]).float()
    on_NF = torch.from_numpy((rng.random((N, 6)) < 0.3) * rng.uniform(0.5, 1.5, (N, 6))).float()
    return sae_of(rows_FD[:5]), sae_of(rows_FD), on_NF @ rows_FD


def test_the_one_latent_more_is_novel_and_all_others_are_not(pair):
    found = novelty(*pair[:2], pair[2])
    assert found.novel_F.tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(found.cosine_F, [1, 1, 1, 1, 1, 0], atol=1e-5)


def test_changes_are_those_of_putting_each_latent_in(pair):
    generator = torch.Generator().manual_seed(3)
    rows = [torch.nn.functional.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (7, 15)]
    small, large = sae_of(rows[0], 0.1), sae_of(rows[1], -0.1)
    with torch.no_grad():
        large.b_enc[4] = -100  # never on: left out
    x_ND, found = pair[2], novelty(small, large, pair[2])
    assert found.latent_F.tolist() == [f for f in range(15) if f != 4]
    before = (x_ND - small(x_ND)).pow(2).sum(1).mean()
    for latent, change in zip(found.latent_F, found.change_F, strict=True):
        added_ND = small(x_ND) + large.encode(x_ND)[:, [latent]] * large.W_dec[latent]
        assert change == pytest.approx(float(((x_ND - added_ND).pow(2).sum(1).mean() - before).detach()), abs=1e-4)


def test_the_way_goes_from_the_small_sae_to_the_large_and_counts_error_and_l0(pair):
    small, large, x_ND = pair
    path = way_from_small_to_large(small, large, x_ND, 0.7, 40)
    for point, sae in ((path[0], small), (path[-1], large)):
        assert point.mse == pytest.approx(float((x_ND - sae(x_ND)).detach().pow(2).sum(1).mean()), abs=1e-5)
        assert point.l0 == pytest.approx(float((sae.encode(x_ND) > 0).sum(1).float().mean()))
    assert [point.phase for point in path] == ["add", "add"] + ["swap"] * 5
    assert path[1].mse == pytest.approx(0, abs=1e-5) and path[0].mse > 0.1  # the novel latent is all that was missing


def test_groups_are_the_connected_latents_each_in_one_step(pair):
    def angle(*degrees):
        return torch.tensor([[np.cos(d), np.sin(d)] + [0.0] * 10 for d in np.radians(degrees)]).float()

    other = torch.eye(WIDTH)[5:7]
    small, large = sae_of(torch.cat([angle(0, 60), other[:1]])), sae_of(torch.cat([angle(30, 85), other[1:]]))
    steps = [(phase, come.tolist(), go.tolist()) for phase, come, go in groups(small, large, 0.7)]
    assert steps == [("add", [2], []), ("swap", [0, 1], [0, 1]), ("drop", [], [2])]


def test_a_novel_latent_that_stands_for_a_new_property_is_found(tiny_corpus):
    bed = planted(tiny_corpus, n_games=60)
    large = perfect_sae(bed)
    lacking = int(np.flatnonzero(bed.supported_P)[3])
    small = make_sae("jumprelu", d_model=bed.width, n_latents=len(large.W_dec))
    small.load_state_dict(large.state_dict())
    with torch.no_grad():
        small.W_enc[:, lacking] = 0  # never on
    subjects = [Subject(name, "sae", sae, bed) for name, sae in (("small", small), ("large", large))]
    what = new_properties(*subjects, np.flatnonzero(bed.supported_P), 0.9, 0.1)
    assert what.tolist() == [2 if column == lacking else 1 for column in np.flatnonzero(bed.supported_P)]
    found = novelty(small, large, bed.activations("test"))
    assert found.latent_F[found.novel_F].tolist() == [lacking]


def test_a_figure_is_drawn_of_rows():
    row = {
        "name": "topk 2", "architecture": "topk", "change": [0.1, -0.2], "cosine": [0.9, 0.1], "mse_small": 1.0,
        "path": [[0.0, 1.0, 2.0, "add"], [0.5, 0.8, 2.5, "add"], [1.0, 0.7, 2.0, "swap"]],
    }  # fmt: skip
    assert len(figure([row], 0.7).axes) == 2
