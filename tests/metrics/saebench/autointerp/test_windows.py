"""Windows are what they say: half active, half inactive; the strongest among the active ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from planted import planted, random_sae

from boardgame_sae.metrics.saebench.autointerp.windows import Column, column_of, windows
from boardgame_sae.metrics.subject import Subject


def test_a_column_is_where_the_latent_is_on(tiny_corpus):
    bed = planted(tiny_corpus, n_games=60)
    subject = Subject("x", "sae", random_sae(bed, n_latents=20), bed)
    dense_NF = np.concatenate([part.to_dense() for part in subject.latents("test")])
    for latent in range(20):
        column = column_of(bed.spans("test"), subject.latents("test"), latent)
        assert np.array_equal(column.row_Z, np.flatnonzero(dense_NF[:, latent]))
        assert np.array_equal(column.value_Z, dense_NF[column.row_Z, latent])


@given(
    n_on=st.integers(0, 40),
    n_each=st.integers(1, 30),
    share=st.sampled_from([0.0, 0.5, 2 / 3, 1.0]),
    seed=st.integers(0, 99),
)
def test_inactive_windows_are_inactive_and_as_many_as_active_ones(n_on, n_each, share, seed):
    """Published, windows labelled inactive are drawn unread: on boards 42% of them are active."""
    rng = np.random.default_rng(seed)
    column = Column(np.sort(rng.choice(50, n_on, replace=False)), rng.uniform(0.1, 3, n_on).astype(np.float32))
    drawn = windows(column, 50, n_each, share, rng)
    assert np.array_equal(drawn.active_N, np.isin(drawn.row_N, column.row_Z))
    assert drawn.active_N.sum() == (~drawn.active_N).sum() == min(n_each, n_on, 50 - n_on)
    assert len(np.unique(drawn.row_N)) == len(drawn.row_N)
    n_top = round(share * drawn.active_N.sum())
    strongest = column.row_Z[np.argsort(-column.value_Z, kind="stable")[:n_top]]
    assert set(strongest) <= set(drawn.row_N[drawn.active_N])
