"""Ablation of what stands on a square: where it matters by the rules, by hand on a real GPT, and what is said."""

import numpy as np
import pytest
import torch
from planted import trained_sae

from boardgame_sae.metrics.causal.latent_edits import classifiers
from boardgame_sae.metrics.causal.splice_ablate import (
    SpliceAblateConfig,
    ablated_properties,
    matters,
    splice_ablate_score,
)
from boardgame_sae.metrics.saebench.data.above import above
from boardgame_sae.metrics.score import UnscorableError
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.testbeds.testbed import Testbed

CFG = SpliceAblateConfig(n_properties=2, n_train=60, n_games=40, n_each=20)


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, "blocks.0.hook_resid_post", n_games=60)


@pytest.fixture(scope="module")
def sae(bed):
    return trained_sae(bed, n_latents=40, k=6, n_steps=50)


def test_a_square_matters_where_another_content_changes_the_legal_moves(bed):
    game, part = bed.corpus.game, bed.once(above, "test", CFG.n_games)
    for one in bed.once(ablated_properties, CFG):
        square, content = divmod(one.column, 3)
        assert game.contents[content] != "empty" and one.name == f"{game.squares[square]} {game.contents[content]}"
        for row, it_matters in zip(one.rows["test"], one.matters["test"], strict=True):
            moves = bed.corpus.record(part.where.games_B[part.where.game_N[row]][None]).moves_M.tolist()
            position = game.position_after(moves[: part.where.ply_N[row]])
            others = [game.with_square(position, square, c) for c in game.contents if c != game.contents[content]]
            changed = [game.legal_moves(other) != game.legal_moves(position) for other in others]
            assert any(changed) == it_matters == matters(bed, position, square, content)


@torch.no_grad()
def test_the_score_is_what_whole_games_give_with_latents_switched_off(bed, sae):
    subject = Subject("x", "sae", sae, bed)
    value = splice_ablate_score(subject, CFG)
    part, of, gpt = bed.once(above, "test", CFG.n_games), subject.once(classifiers, CFG.n_train), bed.model.gpt
    tokens_BL = torch.from_numpy(bed.corpus.rows(part.where.games_B, gpt.cfg.n_ctx)[0][:, :-1])
    moved = {True: [], False: []}
    for one, told in zip(bed.once(ablated_properties, CFG), value.details["ablated"], strict=True):
        top = [f for f, ok in zip(of.top_PK[one.column].tolist(), of.counts_PK[one.column].tolist(), strict=True) if ok]
        assert told["latents"] == top[: int(value.parts["n_latents"])]
        own = {True: [], False: []}
        for row, it_matters in zip(one.rows["test"], one.matters["test"].tolist(), strict=True):
            game, token = part.where.game_N[row], part.where.token_N[row]

            def ablate(acts_1LD, token=token, latents=told["latents"]):
                acts_1LD, z_F = acts_1LD.clone(), sae.encode(acts_1LD[0, token][None])[0]
                acts_1LD[0, token] -= z_F[latents] @ sae.W_dec[latents]
                return acts_1LD

            chances = [gpt(tokens_BL[game][None], hooks)[0, token].double().softmax(-1)
                       for hooks in ({}, {bed.hook_name: ablate})]  # fmt: skip
            own[it_matters].append(float((chances[0] - chances[1]).abs().sum()) / 2)
        for where, values in own.items():
            moved[where].append(np.mean(values))
    assert value.parts["moved_matters"] == pytest.approx(np.mean(moved[True]), abs=1e-5)
    assert value.parts["moved_elsewhere"] == pytest.approx(np.mean(moved[False]), abs=1e-5)
    assert value.value == pytest.approx(value.parts["moved_matters"] - value.parts["moved_elsewhere"])
    assert value.interval[0] <= value.value <= value.interval[1]


def test_what_cannot_be_ablated_is_said(tiny_model, tiny_corpus, sae):
    with pytest.raises(UnscorableError, match="no content of a square has 10 validation and test positions"):
        splice_ablate_score(Subject("x", "sae", sae, Testbed(tiny_model, tiny_corpus, n_games=2)), CFG)
    with pytest.raises(UnscorableError, match="hook_embed is in no block"):
        splice_ablate_score(Subject("x", "sae", sae, Testbed(tiny_model, tiny_corpus, "hook_embed", n_games=30)), CFG)
