"""Meta-structure: composed rows against separate ones, what is learnt by heart, norms, and the plain formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import permuted_sae, planted, random_sae

from boardgame_sae.metrics.saebench.meta_structure import (
    MetaStructureConfig,
    explained,
    meta_structure_score,
    train_meta_sae,
    unit_rows,
    variance_explained,
)
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.metrics.subject import Subject

CFG = MetaStructureConfig(n_steps=250, lr=3e-3)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=20, width=128, properties=("board",))


def directions(n, width=128, seed=0):
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def composed(n, n_parts, width=128, seed=0):
    """Rows that are sums of two of a few shared directions."""
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(n_parts, 2, replace=False) for _ in range(n)])
    parts = directions(n_parts, width, seed)
    return F.normalize(parts[pairs[:, 0]] + parts[pairs[:, 1]], dim=1)


def with_rows(bed, rows_FD):
    sae = random_sae(bed, n_latents=len(rows_FD), k=4)
    with torch.no_grad():
        sae.W_dec.copy_(rows_FD)
    return Subject("x", "sae", sae, bed)


def test_rows_that_share_their_parts_are_explained_and_separate_ones_are_not(bed):
    shared, separate = (
        meta_structure_score(with_rows(bed, rows), CFG) for rows in (composed(300, 12), directions(300))
    )
    assert shared.value > 0.8 and separate.value < 0.1
    assert separate.value == pytest.approx(separate.parts["random_directions"], abs=0.1)
    assert shared.interval is None and shared.sums is None


def test_random_directions_are_learnt_by_heart_which_the_published_number_takes_for_structure():
    found = explained(directions(300), CFG)
    assert found.trained_on > 0.4 and found.held_out < 0.1


def test_norms_and_the_order_of_rows_do_not_matter_and_zero_rows_are_left_out(bed):
    rows = composed(80, 8)
    scale = torch.linspace(0.1, 9, 80)[:, None]
    plain, scaled = (meta_structure_score(with_rows(bed, one), CFG).value for one in (rows, rows * scale))
    assert plain == pytest.approx(scaled, abs=1e-3)
    published = [variance_of_unscaled(one) for one in (directions(80), directions(80) * scale)]
    assert abs(published[0] - published[1]) > 0.02
    dead = torch.cat([rows, torch.zeros(5, 128)])
    torch.testing.assert_close(unit_rows(with_rows(bed, dead)), rows)


def variance_of_unscaled(rows_FD):
    """As published: rows as they are, explained where they were trained on."""
    return variance_explained(train_meta_sae(rows_FD, 20, CFG), rows_FD)[0]


def test_a_permuted_decoder_has_the_same_rows_and_so_nearly_the_same_structure(bed):
    """This score asks for no truth: it cannot tell an SAE from the same rows in another order."""
    subject = with_rows(bed, composed(300, 12))
    other = Subject("x", "sae", permuted_sae(subject.given), bed)
    a, b = (meta_structure_score(one, CFG).value for one in (subject, other))
    assert a == pytest.approx(b, abs=0.1)


def test_it_is_the_plain_formula_and_the_same_again(bed):
    subject = with_rows(bed, composed(60, 8))
    rows = unit_rows(subject)
    meta = train_meta_sae(rows[6:], 15, CFG)
    rebuilt = meta.decode(meta.encode(rows[:6])).detach()
    plain = 1 - ((rows[:6] - rebuilt) ** 2).sum() / ((rows[:6] - rows[:6].mean(0)) ** 2).sum()
    assert variance_explained(meta, rows[:6])[0] == pytest.approx(float(plain), abs=1e-5)
    first, again = (meta_structure_score(subject, CFG) for _ in range(2))
    assert first == again
    metrics = first.details["eval_result_metrics"]["meta_structure"]
    assert metrics["decoder_fraction_variance_explained"] == first.parts["published"]
    assert first.details["eval_type_id"] == "meta_structure_decoder_variance"


def test_latents_of_both_signs_count_once(bed):
    class BothSigns:
        W_dec = composed(40, 8)

        def encode(self, x):
            return x @ self.W_dec.T

        def decode(self, z):
            return z @ self.W_dec

    subject = Subject("x", "sae", BothSigns(), bed)
    assert subject.source.two_sided
    torch.testing.assert_close(unit_rows(subject), BothSigns.W_dec)


def test_a_decoder_of_few_rows_cannot_be_scored_and_the_reason_is_given(bed):
    with pytest.raises(UnscorableError, match="8 decoder rows that are not zero; 20 are needed"):
        meta_structure_score(with_rows(bed, directions(8)), CFG)
