"""Parents and children are found from what is true together, for every game that states pairs of properties."""

import numpy as np
import pytest
from planted import planted

from boardgame_sae.games.registry import games, load_game
from boardgame_sae.metrics.saebench.data.hierarchies import LARGEST_SHARE, parents
from boardgame_sae.transcripts.corpus import SPLITS
from boardgame_sae.transcripts.generate import generate


@pytest.fixture(scope="module", params=["othello4", "connect_four", "chess"])
def bed(request, tmp_path_factory):
    fractions = {"validation_fraction": 0.3, "test_fraction": 0.3}
    n_games = {"othello4": 300, "connect_four": 300, "chess": 40}[request.param]
    corpus = generate(game=request.param, n_games=n_games, **fractions, out=tmp_path_factory.mktemp(request.param))
    return planted(corpus, n_games=100, width=2048)


def place(name):
    """The square, or the column, in the name of a class: `f3 my knight`, `legal a`."""
    return next(word for word in name.split() if len(word) < 3)


def test_a_child_is_true_only_where_its_parent_is_and_less_often(bed):
    chosen = parents(bed, 1000)
    assert len(chosen) > 3
    for parent in chosen:
        assert len(parent.children) > 1
        for child in parent.children:
            for split in SPLITS:
                assert not (child.true[split] & ~parent.truth.true[split]).any()
                assert min(child.true[split].sum(), (~parent.truth.true[split]).sum()) >= 20
            assert child.true["train"].mean() <= LARGEST_SHARE * parent.truth.true["train"].mean()
            assert place(child.name) == place(parent.truth.name)


def test_all_children_are_found(bed):
    """By hand, from the labels of the whole property."""
    (parent_name, child_name), *_ = bed.corpus.game.hierarchies
    where, game = bed.positions("train"), bed.corpus.game
    boards = bed.corpus.boards(where.games_B)
    labels = game.property_labels(boards[boards.rows(where.game_N, where.ply_N)], [parent_name, child_name])
    parent_NP, child_NC = (labels[name].reshape(len(where), -1) for name in (parent_name, child_name))
    names = [game.property(name).class_names for name in (parent_name, child_name)]
    for parent in parents(bed, 1000):
        if parent.truth.name not in names[0]:
            continue
        true_N = parent_NP[:, list(names[0]).index(parent.truth.name)]
        assert np.array_equal(true_N, parent.truth.true["train"])
        found = {child.name for child in parent.children}
        for column, name in enumerate(names[1]):
            child_N = child_NC[:, column]
            inside = place(name) == place(parent.truth.name) and not (child_N & ~true_N).any()
            if name in found:
                assert inside
            elif inside and child_N.sum() <= LARGEST_SHARE * true_N.sum():
                assert min(_count(bed, child_name, column, split) for split in SPLITS) < 20


def _count(bed, name, column, split):
    where = bed.positions(split)
    boards = bed.corpus.boards(where.games_B)
    labels = bed.corpus.game.property_labels(boards[boards.rows(where.game_N, where.ply_N)], [name])[name]
    return int(labels.reshape(len(where), -1)[:, column].sum())


@pytest.mark.parametrize("name", [name for name in games() if load_game(name).hierarchies])
def test_hierarchies_name_properties_of_the_game(name):
    game = load_game(name)
    for pair in game.hierarchies:
        for property_ in pair:
            assert game.property(property_).name == property_
