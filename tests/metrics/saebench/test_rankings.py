"""On activations whose features are known, every score puts the SAE that has them first, on three games.

The perfect SAE's latents are the labels. It beats one with noise in its directions, and
that beats one with random weights; a perfect SAE whose decoder rows are shuffled loses where the score reads the
decoder.
"""

from dataclasses import fields

import pytest
from planted import perfect_sae, permuted_sae, planted, random_sae, worn_sae

from boardgame_sae.config import from_mapping, to_mapping
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.transcripts.generate import generate

GAMES = {
    "othello6": (("mine_yours", "occupied", "legal_move"), 200, 45, 160),
    "connect_four": (("mine_yours", "legal_column", "wins_next", "must_block"), 500, 110, 128),
    "chess": (("color", "piece"), 120, 25, 1024),
}
"""By game: properties, games in the corpus, games per split, width."""
SMALL = {"n_concepts": 4, "n_sets": 3, "n_pairs": 4, "n_parents": 4, "n_latents": 12, "n_train": 400, "n_test": 200}
SMALL |= {"n_squares": 3, "n_steps": 40}
READS_DECODER = ("scr", "tpp", "ravel", "mdl")
EVERYWHERE = ("sparse_probing", "sparse_probing_sae_probes", "absorption", "scr", "tpp", "autointerp", "ravel", "mdl")


def value_of(name, sae, bed):
    """The score, larger for better."""
    score = scores()[name]
    small = {field.name: SMALL[field.name] for field in fields(score.config) if field.name in SMALL}
    cfg = from_mapping(score.config, {**to_mapping(score.config()), **small}, name)
    return (1 if score.better == "higher" else -1) * score.function(Subject("x", "sae", sae, bed), cfg).value


@pytest.fixture(scope="module", params=GAMES)
def saes(request, tmp_path_factory):
    properties, n_games, n_scored, width = GAMES[request.param]
    shares = {"validation_fraction": 0.25, "test_fraction": 0.25}
    corpus = generate(game=request.param, n_games=n_games, **shares, out=tmp_path_factory.mktemp("corpus") / "c")
    bed = planted(corpus, properties=properties, n_games=n_scored, width=width)
    k = round(float(bed.labels("train").sum(1).mean()))
    perfect, useless = perfect_sae(bed), random_sae(bed, n_latents=2 * width, k=k)
    return bed, {"perfect": perfect, "worn": worn_sae(bed), "random": useless, "permuted": permuted_sae(perfect)}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_perfect_sae_is_first_and_the_random_one_last(saes, name):
    bed, by_name = saes
    values = {which: value_of(name, sae, bed) for which, sae in by_name.items()}
    at_the_ceiling = values["perfect"] == values["worn"] == 1  # as sparse probing of chess pieces
    assert (values["perfect"] > values["worn"] or at_the_ceiling) and values["worn"] > values["random"], values
    if name in READS_DECODER:
        assert values["perfect"] > values["permuted"], values
