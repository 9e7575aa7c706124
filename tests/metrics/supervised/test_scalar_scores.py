"""Properties of the whole position, and those whose truth is not always known, scored beside boards: on chess."""

from dataclasses import replace

import baseline_scores
import brute_force
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from boardgame_sae.metrics.subject import Subject
from boardgame_sae.metrics.supervised.by_property import SupervisedConfig
from boardgame_sae.metrics.supervised.coverage_score import coverage_score
from boardgame_sae.metrics.supervised.reconstruction_score import reconstruction_score
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.probes.fit import ProbeConfig, load_probe, probe_run
from boardgame_sae.report.latents.boards import mean_boards
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds import testbed as testbeds
from boardgame_sae.testbeds.testbed import Testbed
from boardgame_sae.transcripts.generate import generate

PROPERTIES = ("piece_moved", "legal_move", "can_check_next", "skill", "en_passant", "threat")
SPLITS = ("train", "validation", "test")
FULL = SupervisedConfig()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """An untrained GPT, and 150 short games of chess by players of two temperatures, half of the skills forgotten."""
    fields = {"game": "chess", "players": ["search:depth=1,temperature=8/0.25"], "max_plies": 14, "n_games": 150}
    fields |= {"validation_fraction": 0.3, "test_fraction": 0.3}
    corpus = generate(**fields, out=tmp_path_factory.mktemp("chess") / "corpus")
    known = np.array(corpus.arrays["games/skill_first"])
    skills = np.where(np.arange(len(known)) % 2, known, -1)
    corpus = replace(corpus, arrays={**corpus.arrays, "games/skill_first": skills})
    cfg = GPTConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=63, d_vocab=32)
    card = {"game": "chess", "tokenization": "char", "alphabet": list(corpus.alphabet), "hash": "untrained"}
    return GameModel(GPT(cfg, seed=0).eval(), card), corpus


@pytest.fixture(scope="module")
def bed(played):
    return Testbed(*played, properties=PROPERTIES)


def telling(bed):
    """Latents that say each supported class of the testbed, with noise that grows from one to the next."""
    given = {}
    for seed, split in enumerate(SPLITS):
        labels_NP = bed.labels(split)[:, bed.supported_P]
        rng = np.random.default_rng(seed)
        noise_NF = rng.random(labels_NP.shape) * np.linspace(0, 1.2, labels_NP.shape[1])
        latents_NF = np.where(labels_NP, 0.2 + 0.8 * rng.random(labels_NP.shape), noise_NF * noise_NF / 2)
        given[split] = latents_NF.astype(np.float32)
    return given


@pytest.fixture(scope="module")
def subject(bed):
    return Subject("telling", "sae", telling(bed), bed)


def columns_of(bed, name):
    return next(columns for columns in bed.columns if columns.name == name)


def known(bed, name, split):
    """Positions that count for a property: all, but those of unknown skill."""
    skill = columns_of(bed, "skill")
    labels_NP = bed.labels(split)
    return labels_NP[:, skill.start : skill.stop].any(1) if name == "skill" else np.ones(len(labels_NP), bool)


@pytest.mark.parametrize("name", ["can_check_next", "skill", "legal_move"])
def test_coverage_of_scalars_equals_brute_force_where_the_truth_is_known(bed, subject, name):
    columns = columns_of(bed, name)
    chosen = [p for p in range(columns.start, columns.stop) if bed.supported_P[p]]
    parts = []
    for split in ("train", "test"):
        rows = known(bed, name, split)
        parts += [subject.given[split][rows], bed.labels(split)[rows][:, chosen]]
    rows = brute_force.held_out(*parts)
    found = coverage_score(subject, FULL).details["by_property"][name]
    assert found["value"] == pytest.approx(np.mean([row[6] for row in rows]), abs=1e-9)
    np.testing.assert_allclose(found["details"]["f1"], [row[6] for row in rows], atol=1e-6)
    np.testing.assert_allclose(found["details"]["always_on"], [row[7] for row in rows], atol=1e-6)
    assert found["interval"][0] < found["value"] < found["interval"][1]


def test_games_of_which_a_truth_is_unknown_may_fill_a_whole_span(played, bed, subject, monkeypatch):
    expected = [score(subject, FULL).plain() for score in (coverage_score, reconstruction_score)]
    monkeypatch.setattr(testbeds, "GAMES_AT_ONCE", 1)
    other = Testbed(*played, properties=PROPERTIES)
    spans = other.spans("test")
    assert any(not known(bed, "skill", "test")[span.start : span.stop].any() for span in spans)
    anew = Subject("telling", "sae", subject.given, other)
    assert [score(anew, FULL).plain() for score in (coverage_score, reconstruction_score)] == expected


@torch.no_grad()
@pytest.mark.parametrize("n_games", [5, 1000])
def test_the_published_scale_is_that_of_every_token_of_half_of_the_train_games(played, n_games):
    model, corpus = played
    bed = Testbed(model, corpus, properties=("can_check_next",), n_games=n_games)
    sae = make_sae("topk", d_model=16, n_latents=24, k=2, seed=4)
    games, offsets = corpus.games("train")[:n_games], corpus.arrays["token_offsets"]
    largest, acts = [], []

    def put(value):
        acts.append(value[0])
        return value

    for game in games[: len(games) // 2]:
        tokens = np.array(corpus.arrays["tokens"][offsets[game] : offsets[game + 1]], np.int64)[: model.gpt.cfg.n_ctx]
        model.gpt(torch.from_numpy(tokens)[None], {bed.hook_name: put})
        largest.append(sae.encode(acts[-1]).numpy().max(0))
    found_F = Subject("x", "sae", sae, bed).reference_max_F
    np.testing.assert_allclose(found_F, np.max(largest, axis=0), rtol=1e-5, atol=1e-6)
    scored_F = sae.encode(bed.activations("train")).numpy().max(0)
    assert not np.allclose(found_F, scored_F)


def test_the_classes_of_skill_are_supported_where_skill_is_known(bed):
    columns = columns_of(bed, "skill")
    assert bed.supported_P[columns.start : columns.stop].tolist() == [True, True, False, False, False, False]
    assert (columns.square_P == -1).all()
    for split in SPLITS:
        rows = columns.known(bed.labels(split))
        assert 0 < rows.sum() < len(rows)
        assert columns_of(bed, "threat").known(bed.labels(split)).all()


def test_high_is_the_plain_mean_over_high_level_properties_with_a_supported_class(subject):
    for score in (coverage_score, reconstruction_score):
        found = score(subject, FULL)
        assert found.details["headline"] == "piece_moved"
        assert found.details["unsupported"] == ["en_passant"]
        assert found.details["high"] == ["legal_move", "can_check_next", "skill", "threat"]
        assert found.parts["high"] == pytest.approx(np.mean([found.parts[name] for name in found.details["high"]]))
        assert "en_passant" not in found.parts


def test_reconstruction_of_a_scalar_is_the_f1_of_its_one_label(bed, subject):
    found = reconstruction_score(subject, FULL).details["by_property"]
    assert found["can_check_next"]["details"]["f1"] == pytest.approx([found["can_check_next"]["value"]], abs=1e-6)
    assert 0 < found["skill"]["value"] <= 1


def test_a_headline_without_support_hands_over_to_the_next_property_and_says_so(played):
    bed = Testbed(*played, properties=("en_passant", "can_check_next", "legal_move"))
    found = coverage_score(Subject("telling", "sae", telling(bed), bed), FULL)
    assert (found.details["headline"], found.details["unsupported"]) == ("can_check_next", ["en_passant"])
    assert found.value == found.details["by_property"]["can_check_next"]["value"]
    assert found.details["high"] == ["can_check_next", "legal_move"]


def test_no_supported_class_at_all_is_an_error(played):
    bed = Testbed(*played, properties=("en_passant",))
    with pytest.raises(ValueError, match="no class of en_passant is true and false often enough"):
        coverage_score(Subject("x", "sae", telling(Testbed(*played, properties=("threat",))), bed), FULL)


def test_baselines_have_every_property_and_read_those_that_have_a_probe(played, tmp_path):
    bed = Testbed(*played, properties=PROPERTIES)
    shared = {"hook_names": (bed.hook_name,), "fit": "closed_form", "n_train_games": 40, "n_test_games": 20}
    unread = ("en_passant", "threat")
    for name in set(PROPERTIES) - set(unread):
        folder = probe_run(bed.model, bed.corpus, ProbeConfig(property=name, **shared), out=tmp_path / name)
        bed.probes[name] = load_probe(folder, bed.hook_name)
    found = baseline_scores.made_of_testbed(bed)
    for scores in found.values():
        for name in ("coverage", "board_reconstruction"):
            assert list(scores[name].details["by_property"]) == [each for each in PROPERTIES if each != "en_passant"]
            assert scores[name].parts["high"] > 0
    assert found["probe"]["board_reconstruction"].parts["threat"] == 0  # nothing reads it, so nothing says it
    assert found["probe"]["board_reconstruction"].parts["skill"] > 0


def test_a_position_has_no_mean_board_where_the_headline_is_not_about_squares(bed, played):
    on_1N = csr_array((np.ones(5), np.arange(5), [0, 5]), (1, len(bed.positions("test"))))
    assert [len(means) for means in mean_boards(bed, on_1N)] == [2]
    assert mean_boards(Testbed(*played, properties=("can_check_next",)), on_1N) == [[]]
