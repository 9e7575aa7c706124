import pytest
import torch

from boardgame_sae.probes.data import Targets
from boardgame_sae.probes.probe import Probe

KINDS = {
    "exclusive": Targets(3, False),
    "exclusive or none": Targets(2, True),
    "true or false": Targets(1, True),
}
WIDTH, GROUPS = 32, 5


def probe_of(targets, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight_DSC = torch.randn(WIDTH, GROUPS, targets.n_classes, generator=generator, dtype=torch.float64)
    return Probe(weight_DSC, torch.randn(GROUPS, targets.n_classes, generator=generator).double(), targets)


@pytest.fixture(params=KINDS)
def probe(request):
    return probe_of(KINDS[request.param])


def test_there_is_a_direction_for_every_label_in_the_order_of_columns(probe):
    directions_PD = probe.directions()
    assert directions_PD.shape == (GROUPS * probe.targets.group, WIDTH)
    for p, direction_D in enumerate(directions_PD):
        group, label = divmod(p, probe.targets.group)
        own, *others = [label + probe.targets.none, *range(probe.targets.n_classes)]
        others.remove(own)
        rest_D = sum(probe.weight_DSC[:, group, c] for c in others) / len(others)
        expected_D = probe.weight_DSC[:, group, own] - rest_D  # the mean of all classes differs from it by a factor
        cosine = torch.nn.functional.cosine_similarity(direction_D, expected_D, dim=0)
        assert cosine == pytest.approx(1, abs=1e-12)


def test_a_shift_shared_by_all_classes_leaves_probabilities_and_directions(probe):
    shift_DS1 = 10 * torch.randn(WIDTH, GROUPS, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    shifted = Probe(probe.weight_DSC + shift_DS1, probe.bias_SC, probe.targets)
    acts_ND = torch.randn(20, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    torch.testing.assert_close(shifted.probabilities(acts_ND), probe.probabilities(acts_ND))
    torch.testing.assert_close(shifted.directions(), probe.directions())


def test_moving_along_a_direction_makes_its_label_likelier(probe):
    acts_ND = torch.randn(50, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) / WIDTH**0.5
    before_NP = probe.targets.columns(probe.probabilities(acts_ND))
    for p, direction_D in enumerate(probe.directions()):
        step_D = 0.1 * direction_D / direction_D.norm()
        up_N, down_N = (probe.targets.columns(probe.probabilities(acts_ND + sign * step_D))[:, p] for sign in (1, -1))
        assert (up_N > before_NP[:, p]).all()
        assert (down_N < before_NP[:, p]).all()


def test_of_a_true_or_false_group_it_is_half_the_difference():
    probe = probe_of(KINDS["true or false"])
    half_DS = (probe.weight_DSC[:, :, 1] - probe.weight_DSC[:, :, 0]) / 2
    torch.testing.assert_close(probe.directions(), half_DS.T)
