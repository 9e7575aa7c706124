import by_hand
import numpy as np
import pytest
import torch
from synthetic import sparse_activations

from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.calibration import threshold_for
from boardgame_sae.saes.training.train import adam, measure, training_step

D, F = 6, 40
KINDS = ("batch_topk", "matryoshka_batch_topk")


def sae_of(name="batch_topk", dtype=torch.float64, **fields):
    return by_hand.unsettled(make_sae(name, d_model=D, n_latents=F, **{"k": 4, **fields})).to(dtype)


def batches(*sizes, dtype=torch.float64):
    return [by_hand.batch(n, D, seed).to(dtype) for seed, n in enumerate(sizes)]


def positives_by_hand(sae, some):
    """All positive pre-activations, the largest first."""
    pre_NF = torch.cat([(x_ND - sae.b_dec) @ sae.W_enc + sae.b_enc for x_ND in some]).detach().numpy()
    return np.sort(pre_NF[pre_NF > 0])[::-1]


@pytest.mark.parametrize("way", ["auto", "dense", "sparse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [0.01, 0.5, 1, 4, 4.7, 15, 39.5])
@pytest.mark.parametrize("sizes", [(100,), (1,), (7, 50, 3, 0, 40)])
def test_the_threshold_is_just_below_the_wanted_value_of_all(sizes, k, dtype, way):
    sae, some = sae_of(dtype=dtype), batches(*sizes, dtype=dtype)
    sae.way = way
    values, wanted = positives_by_hand(sae, some), max(1, int(k * sum(sizes)))
    found = threshold_for(sae, some, k)
    if wanted > len(values):
        assert found == 0
        return
    assert found == pytest.approx(float(values[wanted - 1]), rel=1e-5)
    sae.threshold.fill_(found)
    assert sum(int((sae.encode(x_ND) > 0).sum()) for x_ND in some) == wanted


def test_where_one_batch_holds_nearly_all_large_values_it_is_looked_at_again():
    """At first each batch gives its 2 k n largest; here the second has far more that count."""
    sae, some = sae_of(), batches(300, 30)
    some[1] *= 50
    for k in (1, 2, 3):
        values = positives_by_hand(sae, some)
        assert (positives_by_hand(sae, some[1:]) >= values[k * 330 - 1]).sum() > 2 * k * 30
        assert threshold_for(sae, some, k) == pytest.approx(values[k * 330 - 1], rel=1e-12)


def test_where_one_batch_holds_all_positive_values_it_is_looked_at_again():
    """At first it gives 800 of the 1600 that are wanted; that is no sign that there are no more."""
    sae, some = sae_of(), batches(300, 100)
    with torch.no_grad():
        sae.b_enc -= 1
        some[0] = sae.b_dec.repeat(300, 1)
    some[1] *= 50
    values = positives_by_hand(sae, some)
    assert len(values) > 1600
    assert len(positives_by_hand(sae, some[:1])) < 300
    assert threshold_for(sae, some, 4) == pytest.approx(values[1599], rel=1e-12)


def test_equal_values_all_count():
    sae, row_ND = sae_of(), by_hand.batch(1, D)
    some = [row_ND.expand(25, D).contiguous()]
    values = positives_by_hand(sae, [row_ND])
    for k in (1, 2, 3.5):
        found = threshold_for(sae, some, k)
        assert found == pytest.approx(values[int(np.ceil(k)) - 1], rel=1e-12)
        sae.threshold.fill_(found)
        assert (sae.encode(some[0]) > 0).sum() == 25 * np.ceil(k)


def test_where_too_few_are_positive_the_threshold_is_zero():
    sae = sae_of()
    with torch.no_grad():
        sae.b_enc[3:] = -1e3
    assert threshold_for(sae, batches(50), 4) == 0
    with torch.no_grad():
        sae.b_enc[:] = -1e3
    assert threshold_for(sae, batches(50), 4) == 0


@pytest.mark.parametrize("some", [[], [torch.zeros(0, D, dtype=torch.float64)]])
def test_a_threshold_without_activations_is_an_error(some):
    with pytest.raises(ValueError, match="a threshold is set on activations; give at least one batch"):
        threshold_for(sae_of(), some, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINDS)
def test_after_calibration_k_are_on_at_a_position_in_the_mean(name, dtype):
    fields = {"group_fractions": (0.5, 0.5)} if "matryoshka" in name else {}
    sae, some = sae_of(name, dtype, **fields), batches(100, 37, dtype=dtype)
    x_ND = torch.cat(some)
    assert not sae.calibrated
    assert (sae.encode(x_ND) > 0).sum() == 4 * 137  # till then, of what it is given
    sae.calibrate(some)
    assert sae.calibrated
    for one in (sae, sae.inference()):
        n_on = sum(int((one.encode(x_ND) > 0).sum()) for x_ND in some)
        assert 4 * 137 <= n_on <= 4 * 137 + 1
        assert measure(one, some)["l0"] == pytest.approx(n_on / 137)
    torch.testing.assert_close(sae.inference().encode(x_ND), sae.encode(x_ND))
    assert torch.equal(sae.inference().threshold, sae.threshold.expand(F))
    loss = sae.loss(x_ND)  # training goes on by the batch
    assert (loss.z > 0).sum() == 4 * 137


def test_a_position_is_encoded_the_same_in_any_company():
    sae, x_ND = sae_of(), by_hand.batch(50, D)
    sae.calibrate([x_ND])
    torch.testing.assert_close(sae.encode(x_ND[:3]), sae.encode(x_ND)[:3])


@pytest.mark.parametrize("name", KINDS)
def test_on_fresh_data_the_mean_number_is_near_k(name):
    acts_ND = torch.from_numpy(sparse_activations(12_000, D)[0])
    fields = {"group_fractions": (0.5, 0.5)} if "matryoshka" in name else {}
    sae = make_sae(name, d_model=D, n_latents=F, k=3, **fields)
    optimizer = adam(sae, 3e-3)
    sae.begin_training(150, acts_ND[:128])
    for step in range(150):
        training_step(sae, optimizer, acts_ND[128 * (step % 30) :][:128], step, 3e-3)
    sae.calibrate(list(acts_ND[4000:8000].split(500)))
    told = measure(sae.inference(), [acts_ND[4000:8000]])
    fresh = measure(sae.inference(), list(acts_ND[8000:].split(500)))
    assert 3 <= told["l0"] < 3 + 2 / 4000
    assert fresh["l0"] == pytest.approx(3, rel=0.03)
    assert fresh["explained_variance"] > 0.5


def test_what_is_measured_equals_a_computation_by_hand():
    sae, some = sae_of("topk"), batches(60, 30)
    with torch.no_grad():
        sae.b_enc[:5] = -100
    x_ND = torch.cat(some)
    z_NF = torch.cat([sae.encode(each) for each in some])
    x_hat_ND = z_NF @ sae.W_dec + sae.b_dec
    found = measure(sae, some)
    assert found["l0"] == pytest.approx(float((z_NF > 0).sum()) / 90)
    assert found["alive"] == pytest.approx(float((z_NF > 0).any(0).double().mean()))
    assert found["alive"] <= 35 / 40
    unexplained = float(((x_ND - x_hat_ND.detach()) ** 2).sum() / ((x_ND - x_ND.mean(0)) ** 2).sum().detach())
    assert found["explained_variance"] == pytest.approx(1 - unexplained, rel=1e-9)
