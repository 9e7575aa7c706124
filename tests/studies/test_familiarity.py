import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from boardgame_sae.config import ConfigError
from boardgame_sae.games import MoveRecord
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.studies.familiarity.clamping import (
    alike,
    calibration_change,
    calibration_error,
    clamped,
    outcome,
)
from boardgame_sae.studies.familiarity.figure import figure
from boardgame_sae.studies.familiarity.openings import CONTRASTS, drawn_openings, equal_numbers, kinds
from boardgame_sae.studies.familiarity.separation import frequencies
from boardgame_sae.studies.familiarity.study import FamiliarityStudy, familiarity
from boardgame_sae.studies.familiarity.training_set import opening_keys, openings_read
from boardgame_sae.studies.over_games import over_seeds
from boardgame_sae.studies.study import Setting, write_tables
from boardgame_sae.testbeds.testbed import Testbed

PLIES = (4, 5)


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=50)


def test_a_planted_latent_of_familiarity_is_ranked_first_and_one_that_reads_the_ply_is_not():
    rng = np.random.default_rng(0)
    ply_N, first_N = rng.choice([8, 9, 10], 3000), rng.random(3000) < 0.5
    first_N[ply_N == 10] |= rng.random((ply_N == 10).sum()) < 0.8  # the ply tells the kinds apart, if one lets it
    latents_NF = (rng.random((3000, 6)) < 0.2).astype(float)
    latents_NF[:, 1] = ply_N == 10
    latents_NF[:, 2] = first_N & (ply_N == 8)  # of one kind of opening only
    latents_NF[:, 3] = np.where(first_N, rng.random(3000) < 0.6, rng.random(3000) < 0.1) * rng.uniform(0.1, 2, 3000)
    latents_NF[:, 4] = np.where(first_N, rng.random(3000) < 0.1, rng.random(3000) < 0.5)
    counted = frequencies(csr_array(latents_NF), first_N, ply_N)
    assert (counted.best(first=True), counted.best(first=False)) == (3, 4)
    assert counted.separation(first=True)[3] == pytest.approx(0.5, abs=0.06)
    assert counted.separation(first=True)[1] == counted.separation(first=True)[2] == 0


def test_the_training_set_is_played_again_and_counted_as_the_gpt_read_it(bed, tiny_corpus, tiny_model):
    read = openings_read(bed, PLIES)
    training = tiny_model.card["training"]
    assert read.n_read == training["n_steps"] * training["batch_size"]
    read_B = np.concatenate(
        [tiny_corpus.batch_games("train", step, 16, order) for order in [_order(training)] for step in range(20)]
    )
    record = tiny_corpus.record(np.arange(len(tiny_corpus)))
    openings = [tuple(record[[game]].moves_M[:4].tolist()) for game in read_B]
    wanted = [openings.count(tuple(moves[:4].tolist())) for moves in record]
    assert read.count(record, 4).tolist() == wanted


def _order(training):
    from boardgame_sae.config import seed_for

    return seed_for(training["seed"], "order")


def test_words_of_openings_are_equal_where_the_openings_are():
    record = MoveRecord.of([[1, 2, 3], [1, 2, 4], [2, 1, 3], [1, 2], [1, 2, 0]])
    assert len(set(opening_keys(record, 3).tolist())) == 5
    keys = opening_keys(record, 2).tolist()
    assert keys[0] == keys[1] == keys[3] == keys[4] != keys[2]


def test_what_is_read_in_a_corpus_that_cannot_be_played_again_is_not_known(bed, tiny_corpus):
    config = {**tiny_corpus.config, "seed": 99}
    other = Testbed(bed.model, type(tiny_corpus)(tiny_corpus.path, tiny_corpus.attributes, tiny_corpus.arrays))
    other.corpus.__dict__["config"] = config
    with pytest.raises(ConfigError, match="does not give its games again"):
        openings_read(other, PLIES)
    other.corpus.__dict__["config"] = {key: value for key, value in config.items() if key != "players"}
    with pytest.raises(ConfigError, match="cannot be played again"):
        openings_read(other, PLIES)


def test_an_impossible_opening_differs_by_one_move_that_the_rules_forbid_there(bed, tiny_corpus):
    drawn, game = drawn_openings(bed, PLIES, 80, 0, "test"), tiny_corpus.game
    n = len(drawn.ply_N) // 2
    assert drawn.possible_N.sum() == n > 20
    for own, broken, ply in zip(drawn.tokens_NL[:n], drawn.tokens_NL[n:], drawn.ply_N, strict=False):
        (place,) = np.flatnonzero(own != broken)
        assert 0 < place < ply - 1 and broken[place] not in own and broken[place] > 0
        position = game.position_after(_moves(game, own[:place]))
        assert game.judge(position, tiny_corpus.alphabet[broken[place]]) != "legal"
        assert game.judge(position, tiny_corpus.alphabet[own[place]]) == "legal"
        legal = [game.move_text(position, move) for move in game.legal_moves(position)]
        assert tiny_corpus.alphabet[own[place]] in legal


def _moves(game, tokens):
    position, moves = game.start(), []
    for token in tokens:
        moves.append(game.parse_move(position, game.alphabet[token]))
        position = game.play(position, moves[-1])
    return moves


def test_the_chance_of_an_opening_is_that_of_random_play(bed):
    drawn = drawn_openings(bed, PLIES, 80, 0, "test")
    read, game = bed.once(openings_read, PLIES), bed.corpus.game
    for row in range(5):
        moves, chance, position = _moves(game, drawn.tokens_NL[row][: drawn.ply_N[row]]), 1.0, game.start()
        for move in moves:
            chance /= len(game.legal_moves(position))
            position = game.play(position, move)
        assert drawn.expected_N[row] == pytest.approx(read.n_read * chance)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_kinds_are_equally_many_at_every_ply(bed, contrast):
    drawn = drawn_openings(bed, PLIES, 200, 0, "train")
    chosen = kinds(drawn, contrast, 1, 30, 0)
    assert len(chosen.row_N)
    for ply in PLIES:
        own_N = drawn.ply_N[chosen.row_N] == ply
        assert chosen.first_N[own_N].sum() * 2 == own_N.sum()
    if contrast == "alike in chance":
        both = [np.sort(drawn.expected_N[chosen.row_N[side]]) for side in (chosen.first_N, ~chosen.first_N)]
        np.testing.assert_allclose(*both)


def test_equal_numbers_of_strata_that_have_both():
    first_N = np.array([True, True, False, False, False, True, False])
    chosen = equal_numbers(first_N, ~first_N, np.array([0, 0, 0, 1, 1, 2, 2]), np.random.default_rng(0))
    assert chosen.first_N.sum() == 2 and set(chosen.row_N) & {3, 4} == set() and {2, 5, 6} <= set(chosen.row_N)


def test_what_is_predicted_is_compared_with_the_truth_of_random_play():
    legal_NV = np.array([[False, True, True, False], [False, False, False, True]])
    p_NV = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.7, 0.1, 0.1, 0.1]]).double()
    found = outcome(p_NV.log(), legal_NV)
    np.testing.assert_allclose(found.legal_mass_N, [0.8, 0.1])
    np.testing.assert_allclose(found.divergence_N, [0.5 * np.log(0.5 / 0.5) + 0.5 * np.log(0.5 / 0.3), -np.log(0.1)])
    np.testing.assert_allclose(found.entropy_N, torch.distributions.Categorical(p_NV).entropy())
    assert found.greedy_N.tolist() == [1, 0] and found.chance_N.tolist() == [0.5, 0]
    assert calibration_error(found, np.arange(2)).value == pytest.approx((0.0 + 0.7) / 2)
    better = outcome(torch.tensor([[1e-9, 0.5, 0.5, 1e-9], [0.7, 0.1, 0.1, 0.1]]).double().log(), legal_NV)
    assert calibration_change(found, better, np.arange(2)).value == pytest.approx(0.0, abs=1e-6)
    one_game = over_seeds([calibration_change(better, found, np.zeros(2))])
    assert one_game.interval == pytest.approx((0.0, 0.0), abs=1e-6)


def test_a_clamped_latent_is_what_it_is_set_to_and_others_stay():
    sae = make_sae("relu", d_model=6, n_latents=6, subtract_b_dec=False)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(6))
        sae.W_dec.copy_(torch.eye(6))
    x_ND = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    latents_NF = sae.encode(clamped(x_ND, x_ND[:, 2].numpy(), 3.0, sae.W_dec[2].detach())).detach()
    torch.testing.assert_close(latents_NF[:, 2], torch.full((5,), 3.0))
    torch.testing.assert_close(latents_NF[:, [0, 1, 3, 4, 5]], x_ND[:, [0, 1, 3, 4, 5]])


def test_latents_alike_have_about_the_same_mean_and_are_on_often_enough():
    mean_F, share_F = np.array([1.0, 1.1, 5.0, 0.9, 1.0, 1.2]), np.array([0.5, 0.5, 0.5, 0.5, 0.001, 0.5])
    assert alike(mean_F, share_F, 0, [5], 1, 0)[0] in (1, 2, 3)
    assert alike(mean_F, share_F, 0, [5, 2], 9, 0) == [1, 3]


def test_the_study_runs_on_a_testbed_and_its_control_is_a_random_gpt(bed, tmp_path):
    sae = make_sae("topk", d_model=bed.width, n_latents=24, k=4, seed=1)
    sae.save(tmp_path / "sae")
    cfg = FamiliarityStudy(
        saes=(str(tmp_path / "sae"),), control=({"architecture": "topk", "k": 2, "n_latents": 8},), plies=PLIES,
        training=type(FamiliarityStudy().training)(n_activations=256, n_harvested=256, batch_size=64, lr=1e-3),
        often=1, n_games=200, n_clamped=20, scales=(1.0,), n_alike=2, seeds=(0, 1),
    )  # fmt: skip
    plan = familiarity(cfg, Setting(tmp_path, bed, "cpu"))
    rows = [compute() for compute in plan.rows]
    write_tables(tmp_path, rows, plan)
    assert {row["contrast"] for row in rows} == set(CONTRASTS)
    clamps = [row for row in rows if row["who"] == "sae"]
    assert len(clamps) == 6 and all(row["n_clamped"] <= 20 and np.isfinite(row["entropy"]) for row in clamps)
    assert sum("random weights" in row["who"] and "latent" in row for row in rows) == 6
    assert len(figure(rows).axes) == 2
