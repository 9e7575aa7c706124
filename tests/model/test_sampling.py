"""Branches that share a row's keys write what the GPT writes when it reads each prefix and each new token afresh."""

import pytest
import torch

from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.model.sampling import STOPPED, KeyValueCache, choose, games_per_pass, sample_continuations

SHAPES = [
    GPTConfig(n_layers=1, d_model=8, n_heads=1, d_vocab=5, n_ctx=6),
    GPTConfig(n_layers=2, d_model=12, n_heads=3, d_vocab=9, n_ctx=10, act_fn="gelu"),
    GPTConfig(n_layers=3, d_model=16, n_heads=4, d_vocab=7, n_ctx=16),
]


@pytest.fixture(params=SHAPES, ids=lambda cfg: f"{cfg.n_layers} {cfg.act_fn}")
def gpt(request) -> GPT:
    """Every parameter matters, and no two logits are close."""
    gpt, generator = GPT(request.param), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in gpt.named_parameters():
            spread = torch.randn(weight.shape, generator=generator) * (0.1 if name.endswith("bias") else 0.7)
            weight.copy_(1 + spread if ".ln" in name and name.endswith("weight") else spread)
    return gpt.eval()


def branches(gpt, n_games=5, seed=0):
    """Rows, and places in some of them: several a game, some twice, some games with none, in no order."""
    generator = torch.Generator().manual_seed(seed)
    n_tokens = gpt.cfg.n_ctx
    tokens_BL = torch.randint(gpt.cfg.d_vocab, (n_games, n_tokens), generator=generator)
    pairs = [(b, s) for b in range(n_games) for s in range(n_tokens) if b != 1 and (b + s) % 3]
    pairs += [(0, n_tokens - 1), (2, n_tokens - 1), (2, n_tokens - 1), (4, 0)]
    order = torch.randperm(len(pairs), generator=generator)
    game_N, start_N = torch.tensor(pairs)[order].T
    return tokens_BL, game_N, start_N


@torch.no_grad()
def afresh(gpt, prefix, n_new, stops=(), temperature=0.0, draws=None):
    """The brute force: tokens, and the logits that each was chosen from."""
    read, written, logits = prefix, [], []
    while len(written) < n_new and len(read) <= gpt.cfg.n_ctx and not (written and written[-1] in stops):
        logits.append(gpt(read[None])[0, -1])
        if temperature == 0:
            written.append(int(logits[-1].argmax()))
        else:
            chances = (logits[-1].double() / temperature).softmax(-1)
            written.append(int((chances.cumsum(-1) <= draws[len(written)]).sum()))
        read = torch.cat([read, torch.tensor(written[-1:])])
    return written + [STOPPED] * (n_new - len(written)), logits


def all_afresh(gpt, tokens_BL, game_N, start_N, **how):
    pairs = zip(game_N.tolist(), start_N.tolist(), strict=True)
    return torch.tensor([afresh(gpt, tokens_BL[game, : start + 1], **how)[0] for game, start in pairs])


@pytest.mark.parametrize("stop_ids", [(), (2,), (0, 3)])
def test_greedy_play_equals_the_brute_force(gpt, stop_ids):
    rows = branches(gpt)
    found = sample_continuations(gpt, *rows, n_new=5, stop_ids=stop_ids)
    assert torch.equal(found, all_afresh(gpt, *rows, n_new=5, stops=stop_ids))
    assert len(found.unique()) > 2


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_draws_equal_the_brute_force_with_the_same_numbers(gpt, temperature):
    tokens_BL, game_N, start_N = branches(gpt)
    draws = torch.rand(len(game_N), 4, generator=torch.Generator().manual_seed(8)).double()
    found = sample_continuations(
        gpt,
        tokens_BL,
        game_N,
        start_N,
        n_new=4,
        temperature=temperature,
        stop_ids=[1],
        generator=torch.Generator().manual_seed(8),
    )
    for n, (game, start) in enumerate(zip(game_N.tolist(), start_N.tolist(), strict=True)):
        expected, _ = afresh(gpt, tokens_BL[game, : start + 1], 4, (1,), temperature, draws[n])
        assert found[n].tolist() == expected


def test_the_logits_of_every_step_equal_the_brute_force(gpt, monkeypatch):
    tokens_BL, game_N, start_N = branches(gpt)
    seen = []
    monkeypatch.setattr(
        "boardgame_sae.model.sampling.choose", lambda logits_NV, *_: (seen.append(logits_NV), choose(logits_NV, 0))[1]
    )
    KeyValueCache.of(gpt, tokens_BL).sample(game_N, start_N, 4)
    expected = [afresh(gpt, tokens_BL[game, : start + 1], 4)[1] for game, start in zip(game_N, start_N, strict=True)]
    assert len(seen) == 4
    for step, logits_NV in enumerate(seen):
        there = torch.stack([logits[step] for logits in expected if len(logits) > step])
        torch.testing.assert_close(logits_NV, there, rtol=0, atol=1e-4)


def test_a_branch_stops_at_the_end_of_the_context(gpt):
    last = gpt.cfg.n_ctx - 1
    tokens_BL = branches(gpt)[0]
    starts = torch.tensor([last, last - 1, last - 2])
    found = sample_continuations(gpt, tokens_BL, torch.zeros(3, dtype=torch.int64), starts, n_new=4)
    assert (found != STOPPED).sum(1).tolist() == [1, 2, 3]


def test_what_comes_after_a_place_changes_nothing(gpt):
    tokens_BL, game_N, start_N = branches(gpt)
    one = sample_continuations(gpt, tokens_BL, game_N[:1], start_N[:1], n_new=4)
    changed_BL = tokens_BL.clone()
    changed_BL[game_N[0], start_N[0] + 1 :] = 0
    assert torch.equal(one, sample_continuations(gpt, changed_BL, game_N[:1], start_N[:1], n_new=4))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neither_the_memory_nor_the_order_of_branches_changes_a_token(gpt, temperature):
    tokens_BL, game_N, start_N = branches(gpt)

    def sample(order=slice(None), memory=2**29):
        generator = torch.Generator().manual_seed(1)
        how = {"n_new": 3, "temperature": temperature, "generator": generator, "memory": memory}
        return sample_continuations(gpt, tokens_BL, game_N[order], start_N[order], **how)

    whole = sample()
    assert games_per_pass(gpt, gpt.cfg.n_ctx, 9, 3, memory=1) == 1
    assert torch.equal(whole, sample(memory=1))
    if not temperature:
        order = torch.arange(len(game_N)).flip(0)
        assert torch.equal(whole[order], sample(order))


def test_another_generator_draws_others(gpt):
    rows = branches(gpt)
    found = [
        sample_continuations(gpt, *rows, n_new=4, temperature=1.0, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    ]
    assert not torch.equal(*found)


def test_draws_follow_the_distribution():
    logits_V = torch.tensor([-torch.inf, 0.0, 1.0, -1.0, -torch.inf])
    uniform_N = torch.arange(100_000) / 100_000
    token_N = choose(logits_V.expand(len(uniform_N), 5), 2.0, uniform_N)
    shares = token_N.bincount(minlength=5) / len(uniform_N)
    torch.testing.assert_close(shares, (logits_V / 2).softmax(-1), rtol=0, atol=2e-5)
    assert shares[0] == shares[4] == 0


def test_no_branch_writes_nothing(gpt):
    none = torch.empty(0, dtype=torch.int64)
    assert sample_continuations(gpt, branches(gpt)[0], none, none, n_new=3).shape == (0, 3)


@pytest.mark.parametrize(
    ("start", "settings", "complaint"),
    [
        (-1, {}, "outside its row"),
        (99, {}, "outside its row"),
        (0, {"n_new": 0}, "n_new=0 must be positive"),
        (0, {"temperature": -1.0}, "temperature=-1.0 not negative"),
    ],
)
def test_bad_places_and_settings_are_refused(start, settings, complaint):
    gpt = GPT(SHAPES[0])
    with pytest.raises(ValueError, match=complaint):
        sample_continuations(
            gpt, branches(gpt)[0], torch.tensor([0]), torch.tensor([start]), **{"n_new": 2, **settings}
        )
