"""The study on a planted model: the direction that makes it keep its queen is chosen and helps, the controls do not."""

import numpy as np
import pytest
import torch
from planted_mover import HOOK, PLANTED, WIDTH, PlantedOpening, planted_mover

from boardgame_sae.config import ConfigError
from boardgame_sae.metrics.causal.steering.contrast import Sides
from boardgame_sae.players import openings
from boardgame_sae.studies.skill import NEGATIVE, NONE, RANDOM, STEERED, Begun, SkillStudy, _Skill, skill
from boardgame_sae.studies.study import Setting
from boardgame_sae.testbeds.testbed import Testbed, load_testbed

CFG = SkillStudy(
    coefficients=(0.1, 1.0),
    saes=(),
    games=(Begun(opening="planted", temperature=0.0),),
    player="random",
    max_plies=3,
    n_validation=3,
    n_games=4,
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def bed():
    return Testbed(planted_mover(), load_testbed("chess-small", "cpu").corpus, HOOK)


@pytest.fixture(scope="module")
def rows(bed):
    """The study's rows, with sides that are 10 apart along the planted direction."""
    acts_ND = torch.randn(1200, WIDTH, generator=torch.Generator().manual_seed(0))
    high_N = np.arange(1200) % 2 == 0
    acts_ND[torch.from_numpy(high_N)] += 10 * PLANTED
    sides = Sides({HOOK: acts_ND}, high_N, np.arange(1200) // 4, 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(openings._OPENINGS._known, "planted", PlantedOpening)
        patch.setattr(_Skill, "_sides", lambda self, testbed, split: sides)
        plan = skill(CFG, Setting(bed.corpus.path, bed, "cpu"))
        rows = [row() for row in plan.rows]
        assert plan.figure(rows).axes[1].get_title() == "planted, greedy"
        assert set(plan.columns) >= {"lost", "saved", "legal", "points", "gained", "won"}
    return rows


def test_a_probe_reads_the_planted_sides(rows):
    (probed,) = [row for row in rows if "probe" in row]
    assert probed["probe"] == 1 and (probed["probe_low"], probed["probe_high"]) == (1, 1)
    assert probed["vector"] == "skill 5 less skill 0" and probed["hook"] == "block 0"


@pytest.mark.parametrize("vector", ["contrastive", "probe"])
def test_the_planted_vector_saves_the_queen_and_its_controls_do_not(rows, vector):
    by_control = {row["control"]: row for row in rows if row.get("vector") == vector}
    assert list(by_control) == [STEERED, NEGATIVE, RANDOM]
    (plain,) = [row for row in rows if row.get("control") == NONE]
    steered = by_control[STEERED]
    assert (steered["coefficient"], steered["seeds"]) == ("1", 2) and by_control[NEGATIVE][
        "coefficient"
    ] == "-1"  # a tenth changes nothing
    assert steered["saved"] == pytest.approx(plain["lost"] - steered["lost"]) and steered["saved"] > 600
    assert steered["gained"] > 0.25 and steered["changed"] == 1 and plain["changed"] == 0
    for control in (NEGATIVE, RANDOM):
        assert by_control[control]["saved"] == 0 and by_control[control]["gained"] == 0
        assert by_control[control]["behind"] == pytest.approx(steered["saved"]) and "behind" not in steered


def test_a_game_without_a_built_in_player_is_refused_before_anything_is_read(tiny_model, tiny_corpus):
    other = Testbed(tiny_model, tiny_corpus)
    with pytest.raises(ConfigError, match="othello4 has no built-in player"):
        skill(CFG, Setting(tiny_corpus.path, other, "cpu"))
