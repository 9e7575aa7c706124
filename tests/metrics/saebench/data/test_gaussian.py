"""A Gaussian code's bits: reverse water-filling, the rate of Gaussian data, and what other data cost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.metrics.saebench.data.gaussian import gaussian, water_level


@given(variances=st.lists(st.floats(0, 100), min_size=1, max_size=8), share=st.floats(0.01, 0.99))
def test_the_level_leaves_just_the_precision_unsaid(variances, share):
    variance_D = torch.tensor(variances, dtype=torch.float64)
    precision = share * float(variance_D.sum())
    assert float(variance_D.clamp(max=water_level(variance_D, precision)).sum()) == pytest.approx(precision)


def test_nothing_is_said_of_what_varies_less_than_the_precision():
    x_ND = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (gaussian(x_ND, 100.0).bits(x_ND) == 0).all()
    assert (
        gaussian(torch.ones(9, 3, dtype=torch.float64), 0.0).bits(torch.zeros(2, 3, dtype=torch.float64)) == 0
    ).all()


def test_data_like_those_it_was_made_for_cost_the_rate_of_a_gaussian_and_others_cost_more():
    x_ND = torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_ND = x_ND * torch.tensor([8.0, 2.0, 0.1])
    code = gaussian(x_ND, 0.5)
    variance_D = torch.linalg.eigvalsh(torch.cov(x_ND.T, correction=0))
    rate = float((variance_D / code.level).clamp(min=1).log2().sum()) / 2
    assert code.bits(x_ND).mean() == pytest.approx(rate, rel=1e-9)
    assert code.bits(2 * x_ND).mean() == pytest.approx(rate + 2 * 3 / (2 * np.log(2)), rel=1e-3)
