"""Sets of squares over arrays, on every numpy that is supported."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.games.bits import counts


@given(st.lists(st.integers(0, 2**64 - 1)), st.sampled_from([(-1,), (-1, 1), (1, -1)]))
def test_the_squares_of_each_set_are_counted_in_any_shape(sets, shape):
    found = counts(np.array(sets, np.uint64).reshape(shape))
    assert found.dtype == np.uint8 and found.shape == np.empty(len(sets)).reshape(shape).shape
    assert found.ravel().tolist() == [bits.bit_count() for bits in sets]
