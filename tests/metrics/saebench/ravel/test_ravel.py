"""RAVEL against swaps by hand through whole games, its faults repaired, and the order of SAEs known to differ."""

import numpy as np
import pytest
import torch
from planted import known_saes, planted, trained_sae

from boardgame_sae.metrics.saebench.ravel.masks import Schedule, Swaps, largest_of_mask, train_masks
from boardgame_sae.metrics.saebench.ravel.outcomes import disentanglement, measure, moves_differ
from boardgame_sae.metrics.saebench.ravel.pairs import MIN_COUNT, draw_pairs
from boardgame_sae.metrics.saebench.ravel.ravel_score import MASK_SIZES, RavelConfig, ravel_score, swap_plan
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

CFG = RavelConfig(n_squares=3, n_games=80, n_train=300, n_test=100, n_steps=40, batch_size=32)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, properties=("board",), n_games=80, width=128)


@pytest.fixture(scope="module")
def saes(bed):
    return known_saes(bed)


@pytest.fixture(scope="module")
def scored(bed, saes):
    return {name: ravel_score(Subject(name, "sae", sae, bed), CFG) for name, sae in saes.items()}


def test_a_perfect_sae_is_above_a_trained_one_and_that_above_random_and_permuted_ones(scored):
    values = {name: value.value for name, value in scored.items()}
    assert values["perfect"] > 0.97
    assert values["perfect"] > values["trained"] > max(values["random"], values["permuted"])
    for value in scored.values():
        assert value.interval[0] <= value.value <= value.interval[1]
        assert value.value == pytest.approx((value.parts["cause"] + value.parts["isolation"]) / 2)
    assert scored["perfect"].parts["random_mask"] < 0.6 < scored["perfect"].parts["disentanglement_published"]


def test_the_perfect_saes_masks_are_the_latents_of_their_squares(bed, scored):
    names = [name for columns in bed.columns for name in columns.class_names]
    for row in scored["perfect"].details["by_square"]:
        assert {names[latent] for latent in row["latents"]} <= set(row["states"])


class Identity:
    """An SAE that loses nothing: each channel's positive and negative part."""

    def __init__(self, width):
        self.W_dec = torch.cat([torch.eye(width), -torch.eye(width)])

    def encode(self, x_ND):
        return torch.cat([x_ND, -x_ND], dim=1).relu()

    def decode(self, z_NF):
        return z_NF @ self.W_dec


@pytest.fixture(scope="module")
def real(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_mlp_out", n_games=60)


@pytest.mark.parametrize("on", ["planted", "real"])
def test_an_empty_mask_isolates_all_and_causes_nothing_and_a_full_one_the_other_way_round(on, bed, real):
    place = bed if on == "planted" else real
    plan = place.once(swap_plan, CFG)
    pairs, subject = plan.pairs["test"], Subject("identity", "sae", Identity(place.width), place)
    swaps = Swaps(subject, "test", plan.of.of["test"])
    empty, full = (
        measure(plan.of, swaps, pairs, torch.full((3, 2 * place.width), float(mask))) for mask in (False, True)
    )
    if on == "planted":  # nothing but the token's own activation decides what is read there
        assert full.cause_N.mean() > 0.99 and (full.n_kept_N == 0).mean() > 0.99
        assert disentanglement(full) == pytest.approx(0.5, abs=0.01)
    assert not empty.cause_N.any()
    assert (empty.n_kept_N == empty.n_asked_N).all()
    assert disentanglement(empty) == 0.5


@pytest.fixture(scope="module")
def real_sae(real):
    return trained_sae(real, n_latents=40, k=6, n_steps=50)


@torch.no_grad()
def test_a_swap_is_what_the_whole_game_gives_with_the_last_token_decoded_from_mixed_latents(real, real_sae):
    """By hand: encode both, mix, decode, put into the whole game, read the next residual stream and the output."""
    sae, plan = real_sae, real.once(swap_plan, CFG)
    subject, reading = Subject("x", "sae", sae, real), plan.of.of["test"]
    swaps, pairs = Swaps(subject, "test", reading), plan.pairs["test"].rows(np.arange(0, 250, 6))
    masks_AF = (torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    gpt, where, acts_ND = real.model.gpt, reading.above.where, real.activations("test")
    tokens_BL = torch.from_numpy(real.corpus.rows(where.games_B, gpt.cfg.n_ctx)[0][:, :-1])
    legal_NV = real.corpus.game.legal_tokens(reading.above.boards)
    for error in (True, False):
        got = measure(plan.of, swaps, pairs, masks_AF, error=error)
        for n, (attribute, square, base, source) in enumerate(zip(*pairs[:4], strict=True)):
            f_base, f_source = (sae.encode(acts_ND[row][None])[0] for row in (base, source))
            s = masks_AF[attribute]
            x_D = sae.decode((1 - s) * f_base + s * f_source)
            x_D = x_D + (acts_ND[base] - sae.decode(f_base) if error else 0)
            game, token, found = where.game_N[base], where.token_N[base], {}

            def put(value, x_D=x_D, token=token):
                value = value.clone()
                value[0, token] = x_D
                return value

            def keep(value, found=found):
                found["x"] = value

            later = reading.above.model.read_at
            logits_BLV = gpt(tokens_BL[game][None], {real.hook_name: put, later: keep})
            state_S = plan.of.probe.logits(found["x"][0, token][None])[0].argmax(-1).numpy()
            assert got.cause_N[n] == (state_S[square] == reading.classes_NS[source, square])
            kept_S = pairs.kept_NS[n]
            assert got.n_kept_N[n] == (state_S[kept_S] == reading.classes_NS[base, kept_S]).sum()
            chances_V = logits_BLV[0, token].double().softmax(-1).numpy()
            theirs, own = (chances_V[legal_NV[i] & ~legal_NV[j]].sum() for i, j in ((source, base), (base, source)))
            expected = theirs / (theirs + own) if theirs + own else 0
            assert got.source_share_N[n] == pytest.approx(expected, abs=1e-5)


def test_pairs_are_of_other_games_after_as_many_plies_and_differ_where_they_should(real):
    plan = real.once(swap_plan, CFG)
    for split, pairs in plan.pairs.items():
        reading = plan.of.of[split]
        where, rows = reading.above.where, np.arange(len(pairs.base_N))
        assert (where.game_N[pairs.base_N] != where.game_N[pairs.source_N]).all()
        assert (where.ply_N[pairs.base_N] == where.ply_N[pairs.source_N]).all()
        assert (reading.above.boards.mover_N[pairs.base_N] == reading.above.boards.mover_N[pairs.source_N]).all()
        states = [reading.classes_NS[row_N, pairs.square_N] for row_N in (pairs.base_N, pairs.source_N)]
        assert (states[0] != states[1]).all()
        assert reading.right_NS[pairs.base_N, pairs.square_N].all()
        assert reading.right_NS[pairs.source_N, pairs.square_N].all()
        assert not pairs.kept_NS[rows, pairs.square_N].any()
        n, s = pairs.kept_NS.nonzero()
        assert (reading.classes_NS[pairs.base_N[n], s] != reading.classes_NS[pairs.source_N[n], s]).all()
        assert moves_differ(reading, pairs).any()


def test_no_entity_is_on_both_sides(real):
    """Published, pairs are split and not entities, so that most entities of the test pairs are trained on."""
    plan = real.once(swap_plan, CFG)
    games = [set(plan.of.of[split].above.where.games_B.tolist()) for split in ("train", "validation", "test")]
    assert not (games[0] & games[1] or games[0] & games[2] or games[1] & games[2])
    pairs = plan.pairs["train"]
    n = len(pairs.base_N)
    order = np.random.default_rng(0).permutation(n)
    halves = np.split(order, [int(0.7 * n)])
    train, test = (np.concatenate([pairs.base_N[rows], pairs.source_N[rows]]) for rows in halves)
    assert np.isin(test, train).mean() > 0.3


def test_masks_learn_however_few_pairs_there_are(bed, saes):
    """Published, steps are epochs x whole batches: none at all for fewer pairs than a batch."""
    plan, subject = bed.once(swap_plan, CFG), Subject("perfect", "sae", saes["perfect"], bed)
    swaps, few = Swaps(subject, "train", plan.of.of["train"]), draw_pairs(plan.of, "train", plan.squares, 20, 0)
    assert 2 * (len(few.base_N) // 2048) == 0
    m_AF = train_masks(plan.of, swaps, few, Schedule(20, 32, 1e-3, 0), error=True)
    validation = Swaps(subject, "validation", plan.of.of["validation"])
    read = measure(plan.of, validation, plan.pairs["validation"], largest_of_mask(m_AF, None))
    assert disentanglement(read) > 0.8


def test_the_size_of_the_mask_is_the_best_on_validation_and_at_most_what_was_learned(scored):
    for value in scored.values():
        on_validation = dict(zip(MASK_SIZES, value.details["on_validation"], strict=True))
        assert on_validation[value.details["n_latents"]] == max(on_validation.values())
        assert value.parts["mask_size"] == np.mean([len(row["latents"]) for row in value.details["by_square"]])
    m_AF = torch.tensor([[3.0, -1.0, 2.0, 0.0], [0.0, 0.0, -1.0, 5.0]])
    assert largest_of_mask(m_AF, None).tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]
    assert largest_of_mask(m_AF, 1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_nothing_is_chosen_by_test_truths(bed, saes, scored):
    other = planted(bed.corpus, properties=bed.properties, n_games=80, width=128)
    reading = other.once(swap_plan, CFG).of.of["test"]
    reading.classes_NS[:] = 2 - reading.classes_NS
    after = ravel_score(Subject("trained", "sae", saes["trained"], other), CFG)
    for key in ("n_latents", "on_validation"):
        assert after.details[key] == scored["trained"].details[key]
    assert after.value != scored["trained"].value


def test_what_cannot_be_swapped_is_said(tiny_model, tiny_corpus):
    sae = Identity(16)
    with pytest.raises(UnscorableError, match=f"no square has two states that occur {MIN_COUNT} times"):
        ravel_score(Subject("x", "sae", sae, Testbed(tiny_model, tiny_corpus, "blocks.0.hook_mlp_out", n_games=1)), CFG)
    with pytest.raises(UnscorableError, match="hook_embed is in no block"):
        ravel_score(Subject("x", "sae", sae, Testbed(tiny_model, tiny_corpus, "hook_embed", n_games=25)), CFG)


def test_later_activations_are_the_testbeds_own(real):
    reading = real.once(swap_plan, CFG).of.of["test"]
    rows = np.arange(len(reading.above))
    later_ND = reading.above.read(rows, reading.above.acts_ND).acts_ND
    expected_ND = real.at(reading.above.model.read_at).activations("test")
    torch.testing.assert_close(later_ND, expected_ND, rtol=1e-4, atol=1e-5)
