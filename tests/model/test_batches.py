from types import SimpleNamespace

import numpy as np
import pytest
import torch

from boardgame_sae.config import ConfigError
from boardgame_sae.model.batches import check_corpora, step_rows
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import TrainGPTConfig, train_gpt_run
from boardgame_sae.transcripts.generate import generate

WHOLE = slice(None)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Games of two variants of 6x6 Othello."""
    root = tmp_path_factory.mktemp("two")
    names = ("othello6", "othello6_straight")
    held_out = {"validation_fraction": 0.1, "test_fraction": 0.1}
    return [generate(game=name, n_games=200, **held_out, out=root / name) for name in names]


@pytest.mark.parametrize("expected", [False, True])
def test_a_step_reads_of_every_corpus_what_it_reads_of_it_alone(corpora, expected):
    n_ctx = corpora[0].n_ctx
    both = step_rows(corpora, 7, 8, 3, n_ctx, own=WHOLE, expected=expected)
    alone = [step_rows([corpus], 7, 8, 3, n_ctx, own=WHOLE, expected=expected) for corpus in corpora]
    for part, first, second in zip(both, *alone, strict=True):
        assert (part is None) == (not expected and part is both.expected_BLV)
        assert part is None or torch.equal(part, torch.cat([first, second]))
    tokens_BL, plies_BL = corpora[1].batch("train", 7, 8, 3, n_ctx)
    assert (both.tokens_BL[8:].numpy() == tokens_BL).all()
    assert (both.present_BL[8:].numpy() == (plies_BL >= 0)).all()


def test_expected_targets_are_the_legal_moves_of_each_games_own_rules(corpora):
    rows = step_rows(corpora, 0, 4, 0, corpora[0].n_ctx, own=WHOLE, expected=True)
    played = rows.tokens_BL[:, 1:, None].where(rows.present_BL[:, 1:, None], 0)
    assert rows.expected_BLV is not None
    assert rows.expected_BLV.gather(2, played)[..., 0][rows.present_BL[:, 1:]].all()
    assert not torch.equal(*(part.sum(2) for part in rows.expected_BLV.chunk(2)))


def test_a_process_reads_its_own_part_of_every_corpus(corpora):
    whole, odd = (
        step_rows(corpora, 1, 6, 0, corpora[0].n_ctx, own=own, expected=False).tokens_BL
        for own in (WHOLE, slice(1, None, 2))
    )
    assert torch.equal(odd, whole[[1, 3, 5, 7, 9, 11]])


def test_corpora_that_do_not_go_together_are_refused(corpora, tiny_corpus, tiny_corpus_char):
    check_corpora(corpora, 4, expected=True)
    with pytest.raises(ValueError, match="its tokens, or how many a game has, are not those of"):
        check_corpora([corpora[0], tiny_corpus], 4, expected=False)
    with pytest.raises(ValueError, match="batch_size 5 does not divide into 2 corpora"):
        check_corpora(corpora, 5, expected=False)
    with pytest.raises(ConfigError, match="targets 'expected' need random players and one token per move"):
        check_corpora([tiny_corpus_char], 4, expected=True)
    first = np.array([0])
    lone = SimpleNamespace(path="lone", games=lambda *_: first, n_read=lambda _: np.array([1]))
    with pytest.raises(ValueError, match="every train game is a single token"):
        check_corpora([lone], 4, expected=False)


def test_a_gpt_of_two_corpora_is_not_that_of_one_and_has_the_same_bytes_again(corpora, tmp_path):
    cfg = TrainGPTConfig(n_layers=1, d_model=16, n_heads=2, n_steps=6, batch_size=8, eval_every=6, log_every=2)
    how = {"device": "cpu", "checkpoint_seconds": 0.0}
    both = train_gpt_run(corpora[0], cfg, beside=corpora[1:], out=tmp_path / "both", **how)
    alone = train_gpt_run(corpora[0], cfg, out=tmp_path / "alone", **how)
    models = [GameModel.load(folder, "cpu") for folder in (both, alone)]
    assert models[0].hash != models[1].hash
    assert not torch.equal(models[0].gpt.embed.weight, models[1].gpt.embed.weight)
    again = train_gpt_run(corpora[0], cfg, beside=corpora[1:], out=tmp_path / "again", **how)
    assert (again / "model.safetensors").read_bytes() == (both / "model.safetensors").read_bytes()
