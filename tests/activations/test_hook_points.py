import re

import pytest
import torch

from boardgame_sae.activations import hook_points as hook_points_module
from boardgame_sae.activations.hook_points import HookError, hook_points, hook_width, layer_of, read, replace
from boardgame_sae.model.gpt import GPT, GPTConfig

IN_BLOCK = {
    "hook_resid_pre": 8,
    "ln1.hook_scale": 1,
    "ln1.hook_normalized": 8,
    "attn.hook_q": 8,
    "attn.hook_k": 8,
    "attn.hook_v": 8,
    "attn.hook_attn_scores": None,
    "attn.hook_pattern": None,
    "attn.hook_z": 8,
    "attn.hook_result": 16,
    "hook_attn_out": 8,
    "hook_resid_mid": 8,
    "ln2.hook_scale": 1,
    "ln2.hook_normalized": 8,
    "mlp.hook_pre": 32,
    "mlp.hook_post": 32,
    "hook_mlp_out": 8,
    "hook_resid_post": 8,
}
"""TransformerLens's names inside a block, with the numbers a token at d_model 8 with 2 heads."""
WIDTHS = (
    {"hook_embed": 8, "hook_pos_embed": 8}
    | {f"blocks.{layer}.{name}": width for layer in range(3) for name, width in IN_BLOCK.items()}
    | {"ln_final.hook_scale": 1, "ln_final.hook_normalized": 8}
)
READABLE = [name for name, width in WIDTHS.items() if width]


@pytest.fixture(scope="module")
def gpt():
    gpt = GPT(GPTConfig(n_layers=3, d_model=8, n_heads=2, d_vocab=11, n_ctx=7), seed=1).eval()
    with torch.no_grad():  # far from the small symmetric start, so that every place matters to the logits
        for weight in gpt.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return gpt


@pytest.fixture(scope="module")
def tokens_BL():
    return torch.randint(1, 11, (4, 7), generator=torch.Generator().manual_seed(0))


def test_the_names_are_transformer_lenss_in_the_order_of_the_forward_pass(gpt):
    assert list(hook_points(gpt)) == list(WIDTHS)


def test_width_is_the_numbers_a_token_with_heads_flattened(gpt):
    assert {name: hook_width(gpt, name) for name in READABLE} == {name: WIDTHS[name] for name in READABLE}


def test_shapes_are_those_of_an_input_of_two_games(gpt):
    shapes = hook_points(gpt)
    assert shapes["blocks.1.attn.hook_q"] == (2, 7, 2, 4)
    assert shapes["blocks.1.attn.hook_pattern"] == (2, 2, 7, 7)
    assert shapes["blocks.2.mlp.hook_post"] == (2, 7, 32)


def test_two_gpts_of_different_depth_do_not_share_their_names():
    shallow, deep = (GPT(GPTConfig(n_layers=n, d_model=4, n_heads=1, d_vocab=3, n_ctx=2)) for n in (1, 2))
    assert "blocks.1.hook_resid_post" not in hook_points(shallow)
    assert "blocks.1.hook_resid_post" in hook_points(deep)


def in_full_forward(gpt, tokens_BL, names):
    found = {}
    hooks = {name: lambda value, name=name: found.__setitem__(name, value.detach().clone()) for name in names}
    gpt(tokens_BL, hooks)
    return {name: value.expand(len(tokens_BL), *value.shape[1:]).flatten(2) for name, value in found.items()}


@torch.no_grad()
def test_read_equals_hooks_in_a_full_forward_at_every_name(gpt, tokens_BL):
    full = in_full_forward(gpt, tokens_BL, READABLE)
    for name in READABLE:
        (alone,) = read(gpt, tokens_BL, [name]).values()
        assert alone.shape == (4, 7, WIDTHS[name])
        torch.testing.assert_close(alone, full[name], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_read_gives_several_places_at_once_in_any_order(gpt, tokens_BL):
    names = ["ln_final.hook_normalized", "blocks.2.hook_resid_post", "hook_embed", "blocks.0.mlp.hook_post"]
    found, full = read(gpt, tokens_BL, names), in_full_forward(gpt, tokens_BL, names)
    assert set(found) == set(names)
    for name in names:
        assert torch.equal(found[name], full[name])


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_games_read_a_few_at_a_time_have_the_activations_they_have_together(gpt, at_once, monkeypatch):
    tokens_BL = torch.randint(11, (5, 7), generator=torch.Generator().manual_seed(2))
    together = read(gpt, tokens_BL, READABLE)
    monkeypatch.setattr(hook_points_module, "CPU_TOKENS", at_once * tokens_BL.shape[1])
    apart = read(gpt, tokens_BL, READABLE)
    for name, acts_BLD in together.items():
        torch.testing.assert_close(apart[name], acts_BLD, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_read_runs_no_block_beyond_the_last_one_asked_for(gpt, tokens_BL, monkeypatch):
    ran = []
    for layer, block in enumerate(gpt.blocks):
        real = block.forward
        monkeypatch.setattr(block, "forward", lambda *a, layer=layer, real=real: (ran.append(layer), real(*a))[1])
    read(gpt, tokens_BL, ["blocks.1.hook_resid_mid", "blocks.0.hook_resid_pre"])
    assert ran == [0, 1]
    ran.clear()
    read(gpt, tokens_BL, ["hook_embed"])
    assert ran == []


@torch.no_grad()
def test_replacing_a_place_by_its_own_value_changes_nothing_at_every_name(gpt, tokens_BL):
    clean = gpt(tokens_BL)
    for name in READABLE:
        torch.testing.assert_close(
            replace(gpt, tokens_BL, name, read(gpt, tokens_BL, [name])[name]), clean, rtol=1e-4, atol=1e-4
        )


@torch.no_grad()
def test_replace_equals_a_hook_that_replaces_in_a_full_forward_at_every_name(gpt, tokens_BL):
    clean = gpt(tokens_BL)
    for name in READABLE:
        values_BLD = torch.rand(4, 7, WIDTHS[name], generator=torch.Generator().manual_seed(2)) + 0.5

        def put(value, values_BLD=values_BLD):
            return values_BLD.view(4, *value.shape[1:])

        full = gpt(tokens_BL, {name: put})
        assert (full - clean).abs().max() > 1e-3
        torch.testing.assert_close(replace(gpt, tokens_BL, name, values_BLD), full, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_replace_at_a_blocks_output_runs_only_the_blocks_above(gpt, tokens_BL, monkeypatch):
    ran = []
    for layer, block in enumerate(gpt.blocks):
        real = block.forward
        monkeypatch.setattr(block, "forward", lambda *a, layer=layer, real=real: (ran.append(layer), real(*a))[1])
    replace(gpt, tokens_BL, "blocks.1.hook_resid_post", torch.zeros(4, 7, 8))
    assert ran == [2]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("blocks.1.hook_resid_pst", "blocks.1.hook_resid_post"),
        ("blocks.3.hook_resid_post", "blocks.2.hook_resid_post"),
        ("zzzz", "blocks.0.hook_resid_post .. blocks.2.hook_resid_post"),
    ],
)
def test_an_unknown_name_is_an_error_that_gives_near_ones(gpt, tokens_BL, name, near):
    for use in (lambda: read(gpt, tokens_BL, [name]), lambda: replace(gpt, tokens_BL, name, torch.zeros(4, 7, 8))):
        with pytest.raises(HookError, match=re.escape(near)) as caught:
            use()
        assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize("name", ["blocks.0.attn.hook_pattern", "blocks.2.attn.hook_attn_scores"])
def test_attention_patterns_are_refused_as_they_hold_pairs_of_tokens(gpt, name):
    with pytest.raises(HookError, match="pairs of tokens"):
        hook_width(gpt, name)


def test_layer_of_reads_the_block_and_refuses_a_name_outside_blocks():
    assert layer_of("blocks.12.attn.hook_z") == 12
    with pytest.raises(HookError, match="in no block"):
        layer_of("ln_final.hook_scale")


def test_every_name_and_shape_is_known_to_transformer_lens(gpt, tokens_BL):
    bridges = pytest.importorskip("transformer_lens.model_bridge", reason="needs transformer_lens 4")
    from transformer_lens.config import TransformerBridgeConfig

    shape = {"n_layers": 3, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 32, "d_vocab": 11, "n_ctx": 7}
    cfg = TransformerBridgeConfig(**shape, act_fn="relu", normalization_type="LN", architecture="TransformerLensNative")
    bridge = bridges.TransformerBridge.boot_native(cfg)
    _, cache = bridge.run_with_cache(tokens_BL[:2])
    for name, ours in hook_points(gpt).items():
        assert bridge.get_hook_point(name) is not None, name
        if not name.endswith("hook_result"):  # it is not cached unless asked for
            assert tuple(cache[name].shape[1:]) == ours[1:], name
