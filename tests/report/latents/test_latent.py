"""One latent: numbers that dense arrays bear out, and a page that shows them."""

import numpy as np
import pytest
import torch

import boardgame_sae as bgs
from boardgame_sae import cli
from boardgame_sae.report.latents.latent import latent
from boardgame_sae.report.latents.view import SHARES
from boardgame_sae.saes.hooks import ablate
from boardgame_sae.saes.load import load_sae
from boardgame_sae.testbeds.testbed import load_testbed


@pytest.fixture(scope="module")
def bed(study):
    return load_testbed(study.testbeds[0].folder, "cpu")


@pytest.fixture(scope="module")
def sae(study):
    return load_sae(study.testbeds[0].saes[0])


@pytest.fixture(scope="module")
def dense(bed, sae):
    with torch.no_grad():
        return {split: sae.encode(bed.activations(split)).numpy() for split in ("train", "test")}


@pytest.fixture(scope="module")
def busiest(dense):
    """The latent that is on most often."""
    return int((dense["test"] > 0).mean(0).argmax())


@pytest.fixture(scope="module")
def shown(bed, sae, busiest):
    return latent(sae, bed, busiest, name="mine")


def test_its_histogram_and_density_are_those_of_its_activations(shown, dense, busiest):
    a_N = dense["test"][:, busiest]
    assert shown.density == pytest.approx((a_N > 0).mean()) and sum(shown.counts) == (a_N > 0).sum()
    assert shown.max_activation == pytest.approx(dense["train"][:, busiest].max())
    assert shown.edges[-1] == pytest.approx(a_N.max()) and shown.n_latents == dense["test"].shape[1]


def test_precision_and_recall_by_threshold_are_those_of_its_labels(shown, bed, dense, busiest):
    labels_NP, a_N = bed.labels("test"), dense["test"][:, busiest]
    largest = dense["train"][:, busiest].max()
    assert shown.readings
    for reading in shown.readings:
        columns = next(columns for columns in bed.columns if columns.name == reading.property)
        true_N = labels_NP[:, columns.start + columns.class_names.index(reading.label)]
        assert reading.base == pytest.approx(true_N.mean())
        for t, share in enumerate(SHARES):
            on_N = a_N > np.float32(share) * largest
            both = (on_N & true_N).sum()
            assert reading.precision[t] == pytest.approx(both / max(1, on_N.sum()))
            assert reading.recall[t] == pytest.approx(both / true_N.sum())
            assert reading.f1[t] == pytest.approx(2 * both / max(1, on_N.sum() + true_N.sum()))


def test_classes_and_thresholds_are_those_of_best_correlation_on_train(shown, bed, dense, busiest):
    labels_NP, a_N = bed.labels("train"), dense["train"][:, busiest]
    on_TN = np.stack([a_N > np.float32(share) * a_N.max() for share in SHARES])
    supported = np.flatnonzero(bed.supported_P)
    with np.errstate(invalid="ignore"):
        phi_TP = np.nan_to_num(np.corrcoef(on_TN, labels_NP.T[supported])[: len(SHARES), len(SHARES) :])
    names = [name for columns in bed.columns for name in columns.class_names]
    best = supported[np.argsort(-phi_TP.max(0), kind="stable")[: len(shown.readings)]]
    assert [reading.label for reading in shown.readings] == [names[p] for p in best]
    assert shown.readings[0].chosen == phi_TP[:, np.argmax(phi_TP.max(0))].argmax()


def test_moves_are_those_that_lose_probability_where_the_latent_is_taken_away(bed, sae, dense, busiest, monkeypatch):
    monkeypatch.setattr("boardgame_sae.report.latents.moves.N_ASKED", 1)
    monkeypatch.setattr("boardgame_sae.report.latents.moves.N_MOVES", 100)
    where, row = bed.positions("test"), int(dense["test"][:, busiest].argmax())
    game, token = where.games_B[where.game_N[row]], int(where.token_N[row])
    tokens_BL = torch.from_numpy(bed.corpus.rows(np.array([game]))[0][:, : token + 1])

    def at_the_last(value):
        value[:, -1:] = ablate(sae, [busiest])(value[:, -1:])
        return value

    logits = [bed.run_with_hooks(tokens_BL, hooks)[0, -1] for hooks in ({}, {bed.hook_name: at_the_last})]
    change_V = logits[0].log_softmax(-1) - logits[1].log_softmax(-1)
    expected = {move: float(change) for move, change in zip(bed.model.alphabet, change_V, strict=True) if move}
    found = latent(sae, bed, busiest)
    assert dict(found.promotes + found.suppresses) == pytest.approx({k: v for k, v in expected.items() if v}, abs=1e-5)
    assert all(change > 0 for _, change in found.promotes) and all(change < 0 for _, change in found.suppresses)


def test_it_shows_itself_short_whole_and_as_a_page(shown, busiest):
    assert repr(shown).startswith(f"Latent({busiest} of mine: on at ") and len(repr(shown)) < 150
    assert shown.readings[0].label in str(shown) and "promotes" in str(shown)
    assert shown._repr_html_().count("<svg") == 1 + len(shown.boards) + len(shown.mean)
    page = shown.page()
    assert page.startswith("<!doctype html>") and "http" not in page.replace("http://www.w3.org", "")


def test_a_latent_that_is_never_on_and_one_that_is_not_there(bed, sae, dense):
    with pytest.raises(ValueError, match=f"mine has latents 0 to {sae.cfg.n_latents - 1}, none is {sae.cfg.n_latents}"):
        latent(sae, bed, sae.cfg.n_latents, name="mine")
    with pytest.raises(ValueError, match="none is -1"):
        latent(sae, bed, -1)
    silent = {split: np.zeros((len(bed.positions(split)), 2), np.float32) for split in ("train", "validation", "test")}
    found = bgs.latent(silent, bed, 1)
    assert found.readings == found.boards == found.promotes == [] and "it goes with no class" in str(found)
    assert found.page()


def test_the_verb_shows_a_latent_and_writes_its_page(capsys, study, busiest, tmp_path):
    folder, testbed = study.testbeds[0].saes[0], study.testbeds[0].folder
    words = [
        "latent",
        str(folder),
        str(busiest),
        "--testbed",
        str(testbed),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "o"),
    ]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert f"latent {busiest} of " in out and out.splitlines()[-1] == str(tmp_path / "o")
    assert (tmp_path / "o/latent.html").read_text().startswith("<!doctype html>")
    assert cli.main(["latent", str(folder), "999", "--testbed", str(testbed), "--device", "cpu"]) == 2
    assert "none is 999" in capsys.readouterr().err
    assert cli.main(["latent", str(folder), "3", "--device", "cpu"]) == 2
    assert "'testbed' is required for an SAE that does not ship" in capsys.readouterr().err
