"""Baselines with a decoder: channels and probes as SAEs, so that scores of decoders have a floor and a ceiling."""

import math

import numpy as np
import pytest
import torch
from baseline_scores import scores_of
from planted import planted

from boardgame_sae.metrics.baselines.activations import Channels, ChannelSAE, residual_channels
from boardgame_sae.metrics.baselines.probes import ProbeSAE, probe_sae
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.metrics.score import scores_in
from boardgame_sae.probes.fit import ProbeConfig, load_probe
from boardgame_sae.testbeds.probing import fit_missing_probes

PROPERTIES = ("mine_yours", "occupied", "legal_move")
NEED_DECODERS = {name for name, score in scores_in("quick").items() if {"decode", "W_dec"} & set(score.needs)}


@pytest.fixture(scope="module")
def bed(tiny_corpus, tmp_path_factory):
    """A planted testbed with a probe of each property but one."""
    bed = planted(tiny_corpus, properties=PROPERTIES, n_games=60, width=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path_factory.mktemp("runs")))
        cfg = ProbeConfig(fit="closed_form", n_train_games=200, n_test_games=20)
        for name, folder in fit_missing_probes(bed, cfg):
            if name != "legal_move":
                bed.probes[name] = load_probe(folder, bed.hook_name)
    assert set(bed.probes) == {"mine_yours", "occupied"}
    return bed


@pytest.fixture(scope="module")
def probes(bed):
    return probe_sae(bed)


def test_channels_are_given_back_exactly_and_their_latents_are_those_without_a_decoder(bed):
    acts_ND, sae = bed.activations("test"), ChannelSAE(bed.width)
    z_NF = sae.encode(acts_ND)
    assert torch.equal(sae.decode(z_NF), acts_ND)
    assert torch.equal(z_NF, Channels().encode(acts_ND))
    torch.testing.assert_close(z_NF @ sae.W_dec, acts_ND)
    assert torch.equal(z_NF, (acts_ND @ sae.W_enc).clamp(min=0))
    source = as_latent_source(sae, bed)
    assert (source.d_in, source.two_sided, source.reads_labels) == (bed.width, False, False)


def test_a_probes_latent_is_on_exactly_where_the_probe_predicts_its_label(bed, probes):
    acts_ND = bed.activations("test")
    on_NP = probes.latents.encode(acts_ND) > 0
    for columns in bed.columns:
        own_NP = on_NP[:, columns.start : columns.stop]
        if columns.name not in bed.probes:
            assert not own_NP.any()
            continue
        probe = bed.probes[columns.name]
        predicted_NS = probe.logits(acts_ND).argmax(-1)
        one_hot_NSC = torch.nn.functional.one_hot(predicted_NS, probe.targets.n_classes)
        assert torch.equal(own_NP, probe.targets.columns(one_hot_NSC).bool())
        assert own_NP.any() and not own_NP.all()


def test_its_activation_is_the_logits_lead_over_the_next_class(bed, probes):
    probe, acts_ND = bed.probes["mine_yours"], bed.activations("test")[:5]
    logits_NSC, z_NP = probe.logits(acts_ND).numpy(), probes.latents.encode(acts_ND).numpy()
    columns, none = bed.columns[0], int(probe.targets.none)
    for n in range(5):
        for place in range(columns.stop - columns.start):
            square, label = divmod(place, probe.targets.group)
            own = logits_NSC[n, square]
            lead = own[label + none] - max(np.delete(own, label + none))
            assert z_NP[n, columns.start + place] == pytest.approx(max(lead, 0), abs=1e-4)


def test_its_decoder_is_the_least_squares_fit_on_train_positions(bed, probes):
    sae, acts_ND = probes.latents, bed.activations("train").double().numpy()
    z_NP = sae.encode(bed.activations("train")).double().numpy()
    z_NQ = np.hstack([z_NP, np.ones((len(z_NP), 1))])
    best_QD, *_ = np.linalg.lstsq(z_NQ, acts_ND, rcond=1e-6)  # labels of a square add up: some fits are rounding alone
    missed = ((acts_ND - sae.decode(torch.from_numpy(z_NP).float()).double().numpy()) ** 2).sum()
    least = ((acts_ND - z_NQ @ best_QD) ** 2).sum()
    assert missed == pytest.approx(least, rel=1e-4)
    assert missed < 0.7 * ((acts_ND - acts_ND.mean(0)) ** 2).sum()
    silent_P = ~(z_NP > 0).any(0)
    assert silent_P.any() and sae.W_dec[silent_P].abs().max() == 0


def test_without_any_probe_it_says_nothing_and_gives_back_the_mean(tiny_corpus):
    bare = planted(tiny_corpus, properties=PROPERTIES, n_games=10, width=64)
    sae = probe_sae(bare).latents
    assert isinstance(sae, ProbeSAE) and not sae.encode(bare.activations("test")).any()
    torch.testing.assert_close(sae.b_dec, bare.activations("train").mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "make"), [("residual", residual_channels), ("probe_sae", probe_sae)])
def test_every_score_of_decoders_is_there_and_finite(bed, kind, make):
    found = scores_of(kind, make(bed), "quick")
    assert NEED_DECODERS and set(found) >= NEED_DECODERS
    for name in NEED_DECODERS:
        assert all(math.isfinite(number) for number in (found[name].value, *found[name].parts.values())), name
