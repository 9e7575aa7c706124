import numba
import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The same bytes need the same number of threads, and numba's parallel loops change torch's."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    yield
    numba.set_num_threads(before)
