"""Checkpoints of othello_world's minGPT: the logits of the architecture written out here."""

import pytest
import torch
import torch.nn.functional as F

from boardgame_sae import cli
from boardgame_sae.files import RunError
from boardgame_sae.model.exchange.files import open_foreign
from boardgame_sae.model.exchange.importers import EXACT_GELU, from_mingpt
from boardgame_sae.model.game_model import GameModel


def mingpt_state(*, n_layer=2, width=32, vocabulary=61, block_size=59, seed=0):
    """Random weights by the names of othello_world's minGPT, every one away from its start."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def put(name, *shape, mean=0.0):
        state[name] = mean + 0.2 * torch.randn(shape, generator=generator)

    def linear(name, n_out, n_in):
        put(f"{name}.weight", n_out, n_in)
        put(f"{name}.bias", n_out)

    put("pos_emb", 1, block_size, width)
    put("tok_emb.weight", vocabulary, width)
    norms = ["ln_f"]
    for i in range(n_layer):
        norms += [f"blocks.{i}.ln1", f"blocks.{i}.ln2"]
        for part in ("key", "query", "value", "proj"):
            linear(f"blocks.{i}.attn.{part}", width, width)
        state[f"blocks.{i}.attn.mask"] = torch.ones(1, 1, block_size, block_size).tril()
        linear(f"blocks.{i}.mlp.0", 4 * width, width)
        linear(f"blocks.{i}.mlp.2", width, 4 * width)
    for name in norms:
        put(f"{name}.weight", width, mean=1.0)
        put(f"{name}.bias", width)
    put("head.weight", vocabulary, width)
    return state


@torch.no_grad()
def mingpt_logits(state, n_head, tokens_L):
    """Logits (L, V) of one game, as mingpt/model.py computes them without dropout, a head at a time."""
    length = len(tokens_L)
    x = state["tok_emb.weight"][tokens_L] + state["pos_emb"][0, :length]

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    for i in range(sum(name.endswith("attn.key.weight") for name in state)):
        block = f"blocks.{i}"
        read = norm(x, f"{block}.ln1")
        keys, queries, values = (
            linear(read, f"{block}.attn.{part}").chunk(n_head, -1) for part in ("key", "query", "value")
        )
        heads = []
        for k, q, v in zip(keys, queries, values, strict=True):
            scores = q @ k.T / k.shape[-1] ** 0.5
            scores = scores.masked_fill(state[f"{block}.attn.mask"][0, 0, :length, :length] == 0, float("-inf"))
            heads.append(scores.softmax(-1) @ v)
        x = x + linear(torch.cat(heads, -1), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.ln2"), f"{block}.mlp.0")), f"{block}.mlp.2")
    return norm(x, "ln_f") @ state["head.weight"].T


def texts(length=59, seed=1):
    return torch.randint(0, 61, (length,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("shape", [{}, {"n_layer": 8, "width": 128}], ids=["shallow", "deep"])
def test_a_checkpoint_gives_its_logits(tmp_path, shape):
    state, tokens_L = mingpt_state(**shape), texts()
    torch.save(state, tmp_path / "gpt.ckpt")
    model = from_mingpt(tmp_path / "gpt.ckpt", n_heads=8)
    expected = mingpt_logits(state, 8, tokens_L)
    assert (model.gpt(tokens_L[None])[0] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (model.gpt.cfg.act_fn, model.gpt.cfg.n_ctx, model.game.spec) == (EXACT_GELU, 59, "othello")


@torch.no_grad()
def test_the_number_of_heads_matters_and_must_be_given(tmp_path, capsys):
    state, tokens_L = mingpt_state(), texts()
    torch.save(state, tmp_path / "gpt.ckpt")
    two, four = (from_mingpt(state, n_heads=n).gpt(tokens_L[None])[0] for n in (2, 4))
    assert not torch.allclose(two, four, atol=1e-2)
    words = ["import", str(tmp_path / "gpt.ckpt"), "--out", str(tmp_path / "ours")]
    assert cli.main(words) == 1
    assert "gpt.ckpt: does not say how many attention heads it has; pass n_heads" in capsys.readouterr().err
    assert cli.main([*words, "--n-heads", "4"]) == 0
    torch.testing.assert_close(GameModel.load(tmp_path / "ours", "cpu").gpt(tokens_L[None])[0], four)


def test_what_does_not_fit_is_named(tmp_path):
    state = mingpt_state()
    torch.save({**state, "blocks.0.extra": torch.ones(2)}, tmp_path / "more.ckpt")
    torch.save({name: weight for name, weight in state.items() if name != "ln_f.bias"}, tmp_path / "less.ckpt")
    torch.save({**state, "pos_emb": state["pos_emb"][0]}, tmp_path / "flat.ckpt")
    for name, message in (
        ("more", r"no place for: blocks\.0\.extra"),
        ("less", r"ln_f\.bias is missing, so this is not a whole minGPT model"),
        ("flat", r"pos_emb is \(59, 32\); it should have 3 axes"),
    ):
        with pytest.raises(RunError, match=rf"{name}\.ckpt: .*{message}"):
            open_foreign(tmp_path / f"{name}.ckpt", n_heads=4)
