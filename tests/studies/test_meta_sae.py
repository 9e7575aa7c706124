import numpy as np
import pytest
import torch
from planted import perfect_sae, planted

from boardgame_sae.metrics.saebench.meta_structure import MetaStructureConfig, train_meta_sae, variance_explained
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.studies.meta_sae import as_well, classes_of, classified, figure, match, parents_of


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, n_games=60)


def test_a_class_names_its_parents(bed):
    squares, columns = bed.corpus.game.squares, bed.columns[0]
    assert columns.class_names[0] == f"{squares[0]} mine"
    assert parents_of(bed.columns, squares, 0) == ["property mine_yours", f"square {squares[0]}", "word mine"]
    legal = next(each for each in bed.columns if each.name == "legal_move")
    assert parents_of(bed.columns, squares, legal.start) == ["property legal_move", f"square {squares[0]}"]


def test_every_latent_of_a_perfect_sae_has_its_own_class(bed):
    class_F = classes_of(Subject("perfect", "sae", perfect_sae(bed), bed), 0.9)
    wanted = np.flatnonzero(bed.supported_P)
    assert class_F[wanted].tolist() == wanted.tolist()
    own = classified(bed, class_F, 5)
    assert "word mine" in own.parents and own.parents_KP.sum(0).min() >= 5
    assert classified(bed, np.full(9, -1), 5).parents == ()


def planted_rows(n_owners=2, n_squares=8, copies=3, noise=0.05, seed=0):
    """Decoder rows that are a square's part and an owner's, and which parts: the meta structure that is planted."""
    rng = np.random.default_rng(seed)
    parts = np.linalg.qr(rng.normal(size=(24, 24)))[0][: n_owners + n_squares]
    owner, square = (part.ravel() for part in np.meshgrid(*map(np.arange, (n_owners, n_squares)), indexing="ij"))
    owner, square = np.tile(owner, copies), np.tile(square, copies)
    rows = parts[owner] + parts[n_owners + square] + noise * rng.normal(size=(len(owner), 24))
    parents = np.concatenate([owner[:, None] == np.arange(n_owners), square[:, None] == np.arange(n_squares)], 1)
    return torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1), parents


def test_a_planted_meta_structure_is_found_and_beats_shuffles():
    rows_FD, parents_FP = planted_rows()
    meta_sae = train_meta_sae(rows_FD, 16, MetaStructureConfig(n_steps=600, lr=3e-3))
    assert variance_explained(meta_sae, rows_FD)[0] > 0.8
    with torch.no_grad():
        found = match(meta_sae.encode(rows_FD), parents_FP, 50, 0)
    assert found.value > 0.8 > 0.6 > found.shuffled_R.max() and as_well([found]) == pytest.approx(1 / 51)


def test_meta_latents_that_know_the_parents_match_them_wholly_and_random_ones_as_shuffles_do():
    _, parents_FP = planted_rows()
    assert match(torch.from_numpy(parents_FP).float(), parents_FP, 5, 0).value == 1
    matches = [
        match(torch.rand(len(parents_FP), 10, generator=torch.Generator().manual_seed(seed)), parents_FP, 19, seed)
        for seed in range(20)
    ]
    assert 0.25 < np.mean([as_well([one]) for one in matches]) < 0.75
    assert 0.05 < as_well(matches) < 0.95  # of all twenty together


def test_a_figure_is_drawn_of_rows_also_of_one_without_parents():
    row = {"sae": "a", "architecture": "topk"}
    ends = {"match_low": 0.4, "match_high": 0.6, "random_low": 0.2, "random_high": 0.3}
    whole = row | {"match": 0.5, "shuffled_low": 0.2, "shuffled_high": 0.3, "random": 0.25, **ends}
    assert len(figure([row, whole]).axes) == 1
