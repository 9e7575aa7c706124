"""What the page has of latents, against the scores' own tables, the games' pictures and the GPT itself."""

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from scipy.sparse import csr_array

from boardgame_sae.files import RunError
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.pipeline.study_folder import Scored
from boardgame_sae.report.explorer.latent_details import N_BINS, N_BOARDS, latent_details
from boardgame_sae.report.explorer.latent_files import drawn_once, latent_table, script, write_latents
from boardgame_sae.report.latents.boards import mean_boards, peaks
from boardgame_sae.report.latents.moves import moves
from boardgame_sae.report.latents.tables import read_latents
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def listed(study):
    return study.testbeds[0]


@pytest.fixture(scope="module")
def table(listed):
    return read_latents(listed.score_folders[1])


@pytest.fixture(scope="module")
def subject(listed):
    sae = load_sae(listed.saes[1])
    return Subject("one", "sae", sae, load_testbed(listed.folder, "cpu"))


@pytest.fixture(scope="module")
def details(subject, table):
    return latent_details(subject, table)


def test_the_table_has_every_latent_that_stands_for_a_class(table):
    columns = latent_table(table)
    shown = np.flatnonzero(table["property"] != "")
    assert columns["latent"] == shown.tolist() and len(shown) > 3
    for place, latent in enumerate(shown):
        assert columns["classes"][columns["class"][place]] == (table["property"][latent], table["label"][latent])
        assert columns["f1"][place] == pytest.approx(table["f1"][latent], abs=1e-6)


def test_at_the_latents_own_threshold_the_histogram_gives_the_scores_numbers(table, details):
    """The counts above a bin are those of a classifier: at the threshold that was chosen they give its test scores."""
    for place, latent in enumerate(np.flatnonzero(table["property"] != "")):
        step = round(table["threshold"][latent] * N_BINS)
        hits, misses = sum(details["true"][place][step:]), sum(details["false"][place][step:])
        assert hits / max(hits + misses, 1) == pytest.approx(table["precision"][latent], abs=1e-12)
        assert hits / max(details["positives"][place], 1) == pytest.approx(table["recall"][latent], abs=1e-12)


def test_every_bin_counts_the_activations_in_it(subject, table, details):
    (latents,) = subject.latents("test")
    labels_NP = subject.testbed.labels("test")
    names = [name for columns in subject.testbed.columns for name in columns.class_names]
    for place, latent in enumerate(np.flatnonzero(table["property"] != "")):
        own = latents.columns(int(latent), int(latent) + 1)
        true_Z = labels_NP[own.rows_Z, names.index(table["label"][latent])]
        edges = np.append(np.arange(N_BINS) / N_BINS * table["max_activation"][latent], np.inf)
        for name, here_Z in (("true", true_Z), ("false", ~true_Z)):
            assert sum(details[name][place]) == here_Z.sum()
            rough = np.histogram(own.values_Z[here_Z], edges)[0]  # the scores compare in single precision
            counted = np.pad(details[name][place], (0, N_BINS - len(details[name][place])))
            assert np.abs(np.cumsum(rough) - np.cumsum(counted)).max() <= 1


def test_boards_are_the_strongest_of_different_games(subject, table, details):
    game, (latents,) = subject.testbed.corpus.game, subject.latents("test")
    for place, latent in enumerate(np.flatnonzero(table["property"] != "")):
        boards = details["boards"][place]
        values = [activation for _, activation in boards]
        assert 1 <= len(boards) <= N_BOARDS and values == sorted(values, reverse=True)
        strongest = latents.columns(int(latent), int(latent) + 1).values_Z.max()
        assert values[0] == pytest.approx(strongest, abs=5e-4)
        for number, _ in boards:
            board = details["positions"][number]
            assert board["picture"] == game.picture(game.replay(board["text"])[-1])
    assert len({board["text"] for board in details["positions"]}) == len(details["positions"])


def test_pictures_come_back_from_their_parts(details):
    drawn = drawn_once(details)
    before, after = ([*of["positions"], *chain.from_iterable(of["mean"])] for of in (details, drawn))
    for plain, numbered in zip(before, after, strict=True):
        assert "".join(drawn["picture_parts"][part] for part in numbered["picture"]) == plain["picture"]
    assert len(drawn["picture_parts"]) == len(set(drawn["picture_parts"]))


def test_what_boards_have_in_common_is_the_difference_of_rates(subject, table, details):
    (latents,) = subject.latents("test")
    kind = latents.values_Z.dtype.type
    for place, latent in enumerate(np.flatnonzero(table["property"] != "")):
        own = latents.columns(int(latent), int(latent) + 1)
        on_Z = own.rows_Z[own.values_Z > kind(table["threshold"][latent]) * kind(table["max_activation"][latent])]
        if len(on_Z) == 0:
            continue
        on_1N = csr_array((np.ones(len(on_Z)), on_Z, [0, len(on_Z)]), (1, latents.n_positions))
        assert details["mean"][place] == mean_boards(subject.testbed, on_1N)[0]


def test_moves_are_those_that_a_single_latent_shows(subject, table, details):
    """The page asks for all latents at once; whatever shows one of them asks for it alone."""
    (latents,) = subject.latents("test")
    for place, latent in enumerate(np.flatnonzero(table["property"] != "").tolist()):
        own = peaks(subject.testbed, latents.columns(latent, latent + 1))
        (alone,) = moves(subject.testbed, subject.source, [latent], own)
        for kind in ("promotes", "suppresses"):
            found, expected = dict(details[kind][place]), dict(getattr(alone, kind))
            for move in {*found, *expected}:  # what is rounded to nothing is left out
                assert found.get(move, 0.0) == pytest.approx(expected.get(move, 0.0), abs=1e-3)


def test_a_script_hands_over_its_data_and_nothing_else():
    value = {"text": "</script> \u2028 é", "n": [1, 2]}
    text = script("latents", 3, value)
    assert text.startswith("explorer.latents(3,") and text.isascii()
    assert json.loads(text.removeprefix("explorer.latents(3,").removesuffix(");\n")) == value


def test_details_are_of_the_best_and_of_saes_that_are_at_hand(study, listed, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    files = write_latents([study], tmp_path / "latents", n_detailed=2, device="cpu")
    assert [one.file for one in files] == [0, 1, 2, 3] and sum(one.detailed for one in files) == 2
    assert len(list((tmp_path / "latents").iterdir())) == 6
    scores = Scores.load(listed.score_folders[1])
    scores.subject |= {"name": "stranger", "content": "of other weights"}
    alone = type(listed)(listed.hook_name, listed.folder, (), (), (), (Scored(scores, None, own=True),))
    (one,) = write_latents([type(study)("x", "x", testbeds=(alone,))], tmp_path / "b", n_detailed=2, device="cpu")
    same = next(of for of in files if of.name == listed.scored[1].subject["name"])
    assert not one.detailed and one.n_latents == same.n_latents


def test_an_sae_whose_weights_a_packed_testbed_leaves_out_is_shown_without_details(
    study, listed, tmp_path, monkeypatch
):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    gone, *here = listed.saes
    packed = replace(study, testbeds=(replace(listed, saes=tuple(here), left_out=(gone.name,)),))
    files = {one.name: one for one in write_latents([packed], tmp_path / "all", n_detailed=99, device="cpu")}
    assert not files[gone.name].detailed and files[gone.name].n_latents
    assert all(one.detailed for name, one in files.items() if name != gone.name)
    lost = replace(study, testbeds=(replace(listed, saes=tuple(here)),))
    with pytest.raises(RunError, match=f"{gone.name}: scored at .*, but not among the sweep's SAEs"):
        write_latents([lost], tmp_path / "lost", n_detailed=99, device="cpu")
