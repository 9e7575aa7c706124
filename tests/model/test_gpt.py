"""The GPT is the one everybody means: causal, pre-norm, equal to its formulas, open at every hook point."""

import math

import pytest
import torch
from torch import einsum

from boardgame_sae.config import ConfigError, from_mapping
from boardgame_sae.model.gpt import GPT, GPTConfig

IN_BLOCK = (
    "hook_resid_pre",
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_attn_scores",
    "attn.hook_pattern",
    "attn.hook_z",
    "attn.hook_result",
    "hook_attn_out",
    "hook_resid_mid",
    "ln2.hook_scale",
    "ln2.hook_normalized",
    "mlp.hook_pre",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)
NAMES = (
    "hook_embed",
    "hook_pos_embed",
    *(f"blocks.{layer}.{name}" for layer in range(2) for name in IN_BLOCK),
    "ln_final.hook_scale",
    "ln_final.hook_normalized",
)


def shaken(cfg: GPTConfig, seed: int = 0) -> GPT:
    """A GPT whose every parameter is large and different, biases and norms too, so that each one matters."""
    gpt, generator = GPT(cfg), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in gpt.named_parameters():
            spread = torch.randn(weight.shape, generator=generator) * 0.4
            weight.copy_(1 + spread if name.split(".")[-2].startswith("ln") and name.endswith("weight") else spread)
    return gpt.eval()


@pytest.fixture(params=["relu", "gelu"])
def gpt(request):
    return shaken(GPTConfig(n_layers=2, d_model=12, n_heads=3, d_vocab=9, n_ctx=8, act_fn=request.param))


@pytest.fixture
def tokens_BL():
    return torch.randint(0, 9, (4, 8), generator=torch.Generator().manual_seed(1))


def written_out(weights, cfg, tokens_BL, begin=None):
    """Logits by the formulas of a pre-norm GPT, and the residual stream before each block and after the last."""

    def norm(x, name):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return einsum("bld,ed->ble", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def act(x):
        if cfg.act_fn == "relu":
            return x * (x > 0)
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    n_tokens, stream = tokens_BL.shape[1], []
    x = weights["embed.weight"][tokens_BL] + weights["pos_embed.weight"][:n_tokens]
    for layer in range(cfg.n_layers):
        stream.append(x)
        place = f"blocks.{layer}"
        heads = []
        normed = norm(x, f"{place}.ln1")
        for head in range(cfg.n_heads):
            width = cfg.d_model // cfg.n_heads
            here = slice(head * width, (head + 1) * width)
            q, k, v = (linear(normed, f"{place}.attn.{letter}")[..., here] for letter in "qkv")
            scores = einsum("bie,bje->bij", q, k) / math.sqrt(width)
            pattern = torch.zeros_like(scores)
            for i in range(n_tokens):
                weighed = (scores[:, i, : i + 1] - scores[:, i, : i + 1].amax(-1, keepdim=True)).exp()
                pattern[:, i, : i + 1] = weighed / weighed.sum(-1, keepdim=True)
            heads.append(einsum("bij,bje->bie", pattern, v))
        x = x + linear(torch.cat(heads, -1), f"{place}.attn.out")
        x = x + linear(act(linear(norm(x, f"{place}.ln2"), f"{place}.mlp.up")), f"{place}.mlp.down")
    stream.append(x)
    return einsum("bld,vd->blv", norm(x, "ln_final"), weights["unembed.weight"]), stream


@torch.no_grad()
def test_logits_equal_the_formulas_in_float64(gpt, tokens_BL):
    gpt = gpt.double()
    logits, stream = written_out(dict(gpt.named_parameters()), gpt.cfg, tokens_BL)
    torch.testing.assert_close(gpt(tokens_BL), logits, rtol=1e-10, atol=1e-10)
    for layer, x in enumerate(stream):
        torch.testing.assert_close(gpt(tokens_BL, stop_at_layer=layer), x, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_later_token_changes_no_earlier_logits_and_does_change_its_own(gpt, tokens_BL):
    clean = gpt(tokens_BL)
    for place in range(8):
        changed_BL = tokens_BL.clone()
        changed_BL[:, place] = (changed_BL[:, place] + 1) % 9
        logits = gpt(changed_BL)
        assert torch.equal(logits[:, :place], clean[:, :place])
        assert ((logits[:, place:] - clean[:, place:]).abs().amax((0, 2)) > 1e-4).all()


@torch.no_grad()
def test_a_shorter_input_gives_the_same_first_logits(gpt, tokens_BL):
    for length in range(1, 8):
        torch.testing.assert_close(gpt(tokens_BL[:, :length]), gpt(tokens_BL)[:, :length], rtol=1e-5, atol=1e-5)


def read(gpt, tokens_BL, *names):
    found = {}
    hooks = {name: (lambda value, name=name: found.__setitem__(name, value.clone())) for name in names}
    return gpt(tokens_BL, hooks), found


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_hook_point_is_read_without_and_replaced_by_itself_without_changing_logits(gpt, tokens_BL, name):
    clean = gpt(tokens_BL)
    logits, found = read(gpt, tokens_BL, name)
    torch.testing.assert_close(logits, clean, rtol=1e-5, atol=1e-5)
    replaced = gpt(tokens_BL, {name: lambda value: found[name]})
    torch.testing.assert_close(replaced, clean, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_hook_point_replaced_by_something_else_changes_logits(gpt, tokens_BL, name):
    def other(value):
        return torch.full_like(value, 2.0) if name.endswith("hook_scale") else torch.zeros_like(value)

    assert (gpt(tokens_BL, {name: other}) - gpt(tokens_BL)).abs().max() > 1e-3


@torch.no_grad()
def test_no_hook_is_called_but_those_asked_for_and_each_once(gpt, tokens_BL):
    called = []
    names = ("blocks.1.hook_resid_mid", "blocks.0.attn.hook_pattern", "ln_final.hook_scale", "blocks.7.hook_resid_post")
    gpt(tokens_BL, {name: (lambda value, name=name: called.append(name)) for name in names})
    assert called == ["blocks.0.attn.hook_pattern", "blocks.1.hook_resid_mid", "ln_final.hook_scale"]


@torch.no_grad()
def test_hooks_see_the_parts_of_the_stream(gpt, tokens_BL):
    _, found = read(gpt, tokens_BL, *NAMES)
    first = found["hook_embed"] + found["hook_pos_embed"]
    assert torch.equal(found["blocks.0.hook_resid_pre"], first)
    for layer in range(2):
        at = {name: found[f"blocks.{layer}.{name}"] for name in IN_BLOCK}
        assert torch.equal(at["hook_resid_mid"], at["hook_resid_pre"] + at["hook_attn_out"])
        assert torch.equal(at["hook_resid_post"], at["hook_resid_mid"] + at["hook_mlp_out"])
        out_bias = gpt.blocks[layer].attn.out.bias
        torch.testing.assert_close(at["attn.hook_result"].sum(2) + out_bias, at["hook_attn_out"], rtol=1e-4, atol=1e-5)
        assert torch.equal(at["attn.hook_pattern"].triu(1), torch.zeros(4, 3, 8, 8))
        torch.testing.assert_close(at["attn.hook_pattern"].sum(-1), torch.ones(4, 3, 8))
        deviation = (at["hook_resid_pre"].var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(at["ln1.hook_scale"], deviation)
        assert torch.equal(at["mlp.hook_post"], gpt.blocks[layer].mlp.act(at["mlp.hook_pre"]))
    assert torch.equal(found["blocks.1.hook_resid_pre"], found["blocks.0.hook_resid_post"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["attn.hook_pattern", "attn.hook_attn_scores"])
def test_attention_written_out_for_a_hook_equals_the_fused_one(gpt, tokens_BL, name):
    clean, fused = read(gpt, tokens_BL, "blocks.0.attn.hook_z")
    logits, written = read(gpt, tokens_BL, "blocks.0.attn.hook_z", f"blocks.0.{name}")
    torch.testing.assert_close(written["blocks.0.attn.hook_z"], fused["blocks.0.attn.hook_z"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, clean, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_stopping_at_a_layer_and_starting_there_is_the_whole_pass(gpt, tokens_BL):
    for layer in range(3):
        stream = gpt(tokens_BL, stop_at_layer=layer)
        assert stream.shape == (4, 8, 12)
        assert torch.equal(gpt(stream, start_at_layer=layer), gpt(tokens_BL))
    middle = gpt(gpt(tokens_BL, stop_at_layer=1), start_at_layer=1, stop_at_layer=2)
    assert torch.equal(middle, gpt(tokens_BL, stop_at_layer=2))


@torch.no_grad()
def test_hooks_work_in_the_part_that_is_run(gpt, tokens_BL):
    stream = gpt(tokens_BL, stop_at_layer=1)
    zero = {"blocks.1.hook_mlp_out": torch.zeros_like}
    assert torch.equal(gpt(stream, zero, start_at_layer=1), gpt(tokens_BL, zero))


def test_an_input_longer_than_the_context_is_refused(gpt):
    with pytest.raises(ValueError, match="input of 9 tokens; this GPT's context is 8"):
        gpt(torch.zeros(1, 9, dtype=torch.long))


def test_a_seed_always_gives_the_same_weights_whatever_torch_was_seeded_with():
    cfg = GPTConfig(n_layers=1, d_model=8, n_heads=2, d_vocab=5, n_ctx=4)
    torch.manual_seed(1)
    one = GPT(cfg, seed=7).state_dict()
    torch.manual_seed(2)
    two, three = GPT(cfg, seed=7).state_dict(), GPT(cfg, seed=8).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], three[name]) for name in one if one[name].ndim == 2)


def test_weights_begin_with_gpt2s_deviations_and_neutral_norms_and_biases():
    gpt = GPT(GPTConfig(n_layers=8, d_model=64, n_heads=2, d_vocab=100, n_ctx=50))
    for name, weight in gpt.named_parameters():
        if weight.ndim == 2:
            deviation = 0.02 / 4 if name.endswith(("attn.out.weight", "mlp.down.weight")) else 0.02
            assert abs(weight.std() / deviation - 1) < 0.05, name
        else:
            assert (weight == (1 if name.endswith("weight") else 0)).all(), name


@torch.no_grad()
def test_silent_blocks_leave_the_residual_stream_as_it_is_embedded():
    gpt = GPT(GPTConfig(n_layers=3, d_model=8, n_heads=2, d_vocab=5, n_ctx=4))
    gpt.silence_blocks()
    tokens_BL = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(gpt(tokens_BL, stop_at_layer=3), gpt(tokens_BL, stop_at_layer=0))


def test_n_parameters_is_that_of_the_published_shape():
    cfg = GPTConfig(n_layers=2, d_model=12, n_heads=3, d_vocab=9, n_ctx=8)
    block = 4 * (12 * 12 + 12) + (12 * 48 + 48) + (48 * 12 + 12) + 2 * 24
    assert GPT(cfg).n_parameters == 9 * 12 + 8 * 12 + 2 * block + 24 + 12 * 9


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n_heads": 5}, "d_model 12 does not divide into 5 heads"),
        ({"n_layers": 0}, "'n_layers' is 0: must be at least 1"),
        ({"n_heads": 0}, "'n_heads' is 0: must be at least 1"),
        ({"act_fn": "swish"}, "act_fn"),
    ],
)
def test_an_impossible_shape_is_refused(change, complaint):
    shape = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_vocab": 9, "n_ctx": 8}
    with pytest.raises(ConfigError, match=complaint):
        from_mapping(GPTConfig, {**shape, **change})
