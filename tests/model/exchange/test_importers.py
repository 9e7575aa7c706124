"""Published GPTs as ours: the logits of the architecture written out here, in whatever names, order or folding."""

import json
import os
import re
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from boardgame_sae.files import RunError
from boardgame_sae.games import load_game
from boardgame_sae.model.exchange import importers as foreign
from boardgame_sae.model.exchange.assembly import ABSENT_LOGIT
from boardgame_sae.model.exchange.exporters import hooked_weights
from boardgame_sae.model.exchange.importers import from_nanogpt, from_transformer_lens
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import ACTIVATIONS, GPT, GPTConfig

CHARACTERS = load_game("chess").text_alphabet
SQUARES = load_game("othello").alphabet
SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 20, "vocab_size": 32}
PUBLISHED = {"n_layer": 8, "n_head": 8, "n_embd": 512, "block_size": 1023, "vocab_size": 32}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def nanogpt_state(args, *, bias=False, tied=False, deviation=None, seed=0):
    """Random weights by nanoGPT's names; of its own initial deviations unless another is given."""
    generator = torch.Generator().manual_seed(seed)
    width, state = args["n_embd"], {}

    def linear(name, *shape, scale=1.0):
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (deviation or 0.02) * scale
        if bias and not name.endswith(("wte", "wpe", "lm_head")):
            state[f"{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.1

    def norm(name):
        state[f"{name}.weight"] = 1 + torch.randn(width, generator=generator) * 0.1
        if bias:
            state[f"{name}.bias"] = torch.randn(width, generator=generator) * 0.1

    linear("transformer.wte", args["vocab_size"], width)
    linear("transformer.wpe", args["block_size"], width)
    residual = 1.0 if deviation else (2 * args["n_layer"]) ** -0.5
    for i in range(args["n_layer"]):
        block = f"transformer.h.{i}"
        norm(f"{block}.ln_1")
        linear(f"{block}.attn.c_attn", 3 * width, width)
        linear(f"{block}.attn.c_proj", width, width, scale=residual)
        norm(f"{block}.ln_2")
        linear(f"{block}.mlp.c_fc", 4 * width, width)
        linear(f"{block}.mlp.c_proj", width, 4 * width, scale=residual)
    norm("transformer.ln_f")
    linear("lm_head", args["vocab_size"], width)
    if tied:
        state["lm_head.weight"] = state["transformer.wte.weight"]
    return state


@torch.no_grad()
def nanogpt_logits(state, n_head, tokens_L, act):
    """Logits (L, V) of one text: the architecture, one head and one query at a time where that is plainest."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * state[f"{name}.weight"] + state.get(f"{name}.bias", 0.0)

    length = len(tokens_L)
    future = torch.ones(length, length).triu(1) == 1
    x = state["transformer.wte.weight"][tokens_L] + state["transformer.wpe.weight"][:length]
    for i in range(sum(name.endswith("c_attn.weight") for name in state)):
        block = f"transformer.h.{i}"
        q, k, v = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn").chunk(3, dim=-1)
        heads = []
        for qh, kh, vh in zip(*(part.chunk(n_head, dim=-1) for part in (q, k, v)), strict=True):
            scores = (qh @ kh.T / qh.shape[-1] ** 0.5).masked_fill(future, float("-inf"))
            heads.append(scores.softmax(-1) @ vh)
        x = x + linear(torch.cat(heads, -1), f"{block}.attn.c_proj")
        x = x + linear(act(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    return linear(norm(x, "transformer.ln_f"), "lm_head")


def activation(x):
    """The form of GELU that the import takes for theirs."""
    return ACTIVATIONS[foreign.EXACT_GELU](x.clone())


def texts(vocabulary, length, seed=1):
    return torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ours(model, tokens_L):
    return model.gpt(tokens_L[None])[0]


def checkpoint(args, path, **how):
    state = nanogpt_state(args, **how)
    arguments = {**args, "bias": how.get("bias", False), "dropout": 0.0}
    prefixed = {f"_orig_mod.{name}": weight for name, weight in state.items()}
    torch.save({"model": prefixed, "model_args": arguments, "iter_num": 3, "config": {"dataset": "x"}}, path)
    return state


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_nanogpt_checkpoint_gives_its_logits(tmp_path, bias, tied):
    state = checkpoint(SMALL, tmp_path / "ckpt.pt", bias=bias, tied=tied, deviation=0.3)
    model = from_nanogpt(tmp_path / "ckpt.pt")
    tokens_L = texts(32, 20)
    torch.testing.assert_close(ours(model, tokens_L), nanogpt_logits(state, 4, tokens_L, activation), **CLOSE)
    assert model.gpt.cfg == GPTConfig(
        n_layers=2, d_model=32, n_heads=4, d_vocab=32, n_ctx=20, act_fn=foreign.EXACT_GELU
    )
    assert not model.gpt.training


def test_the_published_shape_of_nanogpt_gives_its_logits():
    state, tokens_L = nanogpt_state(PUBLISHED), texts(32, 256)
    model = from_nanogpt({"model": state, "model_args": PUBLISHED})
    torch.testing.assert_close(ours(model, tokens_L), nanogpt_logits(state, 8, tokens_L, activation), **CLOSE)


def test_the_published_shape_with_the_exact_gelu_gives_its_logits():
    state, tokens_L = nanogpt_state(PUBLISHED), texts(32, 256)
    model = from_nanogpt({"model": state, "model_args": PUBLISHED})
    torch.testing.assert_close(ours(model, tokens_L), nanogpt_logits(state, 8, tokens_L, F.gelu), **CLOSE)


def test_plain_weights_in_memory_or_safetensors_are_the_same_model(tmp_path):
    state = nanogpt_state(SMALL, deviation=0.3)
    save_file(state, tmp_path / "chess.safetensors")
    half = {name: weight.bfloat16() for name, weight in state.items()}
    half["transformer.h.0.attn.bias"] = torch.ones(1, 1, 20, 20).tril()  # nanoGPT's mask, where it has no flash
    found = [from_nanogpt(source, n_heads=4) for source in (state, tmp_path / "chess.safetensors", half)]
    tokens_L = texts(32, 20)
    assert torch.equal(ours(found[0], tokens_L), ours(found[1], tokens_L))
    assert found[0].hash == found[1].hash != found[2].hash
    assert found[2].gpt.embed.weight.dtype == torch.float32
    untied = {name: weight for name, weight in state.items() if name != "lm_head.weight"}
    gpt = from_nanogpt(untied, n_heads=4).gpt
    assert torch.equal(gpt.unembed.weight, gpt.embed.weight)


def test_the_published_alphabets_are_ours():
    assert "".join(CHARACTERS) == " #+-.0123456789;=BKNOQRabcdefghx"
    published = ["", *(f"{'abcdefgh'[i % 8]}{i // 8 + 1}" for i in range(64) if i not in (27, 28, 35, 36))]
    assert list(SQUARES) == published


def test_another_order_of_characters_is_permuted_to_ours():
    state, tokens_L = nanogpt_state(SMALL, deviation=0.3), texts(32, 20)
    order_V = torch.randperm(32, generator=torch.Generator().manual_seed(5))
    theirs = [CHARACTERS[i] for i in order_V]
    model = from_nanogpt(state, n_heads=4, alphabet=theirs)
    ids_L = torch.tensor([theirs.index(CHARACTERS[token]) for token in tokens_L])
    expected = nanogpt_logits(state, 4, ids_L, activation)[:, [theirs.index(token) for token in CHARACTERS]]
    torch.testing.assert_close(ours(model, tokens_L), expected, **CLOSE)
    assert model.alphabet == CHARACTERS


def test_tokens_that_the_published_model_lacks_are_never_predicted():
    state = nanogpt_state({**SMALL, "vocab_size": 30}, deviation=0.3)
    kept = [i for i, token in enumerate(CHARACTERS) if token not in "#x"]
    model = from_nanogpt(state, n_heads=4, alphabet=[CHARACTERS[i] for i in kept])
    ids_L = texts(30, 20)
    found = ours(model, torch.tensor(kept)[ids_L])
    torch.testing.assert_close(found[:, kept], nanogpt_logits(state, 4, ids_L, activation), **CLOSE)
    absent = [CHARACTERS.index(token) for token in "#x"]
    torch.testing.assert_close(found[:, absent], torch.full((20, 2), ABSENT_LOGIT), atol=1e-2, rtol=0)
    assert model.gpt.cfg.d_vocab == 32 and not model.gpt.embed.weight[absent].any()


def othello_gpt(act_fn="gelu", n_layers=2, d_model=32, n_heads=4, seed=2):
    """One of ours with large random weights, biases among them."""
    shape = {"n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "d_vocab": 61, "n_ctx": 59}
    gpt = GPT(GPTConfig(**shape, act_fn=act_fn), seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in gpt.named_parameters():
            norm = "ln" in name and name.endswith("weight")
            weight.copy_(torch.randn(weight.shape, generator=generator) * d_model**-0.5 + norm)
    return gpt


def hooked_state(gpt):
    return {name: weight.detach().clone() for name, weight in hooked_weights(gpt)}


def folded_state(gpt):
    """The same as by TransformerLens's names with every layer norm's weight and bias folded into what reads it."""
    state = hooked_state(gpt)
    for i in range(gpt.cfg.n_layers):
        block = f"blocks.{i}"
        scale_D, shift_D = state.pop(f"{block}.ln1.w"), state.pop(f"{block}.ln1.b")
        for letter in "QKV":
            into_HDE = state[f"{block}.attn.W_{letter}"]
            state[f"{block}.attn.b_{letter}"] += torch.einsum("d,hde->he", shift_D, into_HDE)
            state[f"{block}.attn.W_{letter}"] = into_HDE * scale_D[:, None]
        scale_D, shift_D = state.pop(f"{block}.ln2.w"), state.pop(f"{block}.ln2.b")
        state[f"{block}.mlp.b_in"] += shift_D @ state[f"{block}.mlp.W_in"]
        state[f"{block}.mlp.W_in"] = state[f"{block}.mlp.W_in"] * scale_D[:, None]
        state[f"{block}.attn.mask"], state[f"{block}.attn.IGNORE"] = torch.ones(59, 59), torch.tensor(-1e5)
    scale_D, shift_D = state.pop("ln_final.w"), state.pop("ln_final.b")
    state["unembed.b_U"] = state["unembed.b_U"] + shift_D @ state["unembed.W_U"]
    state["unembed.W_U"] = state["unembed.W_U"] * scale_D[:, None]
    return state


@torch.no_grad()
@pytest.mark.parametrize("theirs", ["relu", "gelu_new"])
def test_ours_goes_to_transformer_lens_and_back(theirs):
    gpt, tokens_L = othello_gpt(foreign.ACT_FN[theirs]), texts(61, 59)
    model = from_transformer_lens(hooked_state(gpt), act_fn=theirs)
    assert model.gpt.cfg == gpt.cfg and torch.equal(ours(model, tokens_L), gpt(tokens_L[None])[0])
    for name, weight in gpt.state_dict().items():
        assert torch.equal(model.gpt.state_dict()[name], weight)


@torch.no_grad()
@pytest.mark.parametrize("shape", [{}, {"n_layers": 8, "d_model": 512, "n_heads": 8}])
def test_folded_layer_norms_and_a_bias_of_the_logits_change_nothing(shape):
    gpt, tokens_L = othello_gpt(**shape), texts(61, 59)
    state = folded_state(gpt)
    assert state["unembed.b_U"].abs().max() > 0.01
    model = from_transformer_lens(state, act_fn="gelu_new")
    torch.testing.assert_close(ours(model, tokens_L), gpt(tokens_L[None])[0], **CLOSE)


@torch.no_grad()
def test_a_bias_of_the_logits_beside_a_layer_norm_is_added():
    gpt, tokens_L = othello_gpt(), texts(61, 59)
    state = hooked_state(gpt)
    state["unembed.b_U"] = torch.randn(61, generator=torch.Generator().manual_seed(1)) * 5
    model = from_transformer_lens(state, act_fn="gelu_new")
    torch.testing.assert_close(ours(model, tokens_L), gpt(tokens_L[None])[0] + state["unembed.b_U"], **CLOSE)


@torch.no_grad()
def test_othello_moves_are_permuted_too_with_the_bias_of_the_logits(tmp_path):
    gpt, tokens_L = othello_gpt(), texts(61, 59)
    theirs = [*SQUARES[::-1]]
    state = hooked_state(gpt)
    state["unembed.b_U"] = torch.arange(61.0) / 10
    torch.save(state, tmp_path / "othello.pth")
    model = from_transformer_lens(tmp_path / "othello.pth", alphabet=theirs, act_fn="gelu_new")
    expected = gpt(60 - tokens_L[None])[0] + state["unembed.b_U"]
    torch.testing.assert_close(ours(model, tokens_L), expected.flip(-1), **CLOSE)


def test_a_token_id_means_a_move_of_our_game():
    model = from_transformer_lens(hooked_state(othello_gpt()))
    assert model.encode("f5d6").tolist() == [[SQUARES.index("f5"), SQUARES.index("d6")]]
    assert model.gpt.cfg.act_fn == foreign.EXACT_GELU


def test_the_card_says_what_it_is_and_survives_saving(tmp_path):
    chess = from_nanogpt(nanogpt_state(SMALL), n_heads=4)
    othello = from_transformer_lens(hooked_state(othello_gpt()))
    for model, name, tokenization in ((chess, "chess", "char"), (othello, "othello", "move")):
        assert model.game is load_game(name) and model.tokenization == tokenization
        model.save(tmp_path / name)
        again, tokens_L = GameModel.load(tmp_path / name, "cpu"), texts(32, 20)
        assert again.card == model.card and torch.equal(ours(again, tokens_L), ours(model, tokens_L))
        assert json.loads((tmp_path / name / "cfg.json").read_text())["source"] == model.card["source"]
        assert str(model) and model.random_twin().hash != model.hash
    assert chess.card["source"] == "nanoGPT: the weights given"
    assert othello.card["source"] == "TransformerLens: the weights given"
    assert from_nanogpt(nanogpt_state(SMALL), n_heads=4).hash == chess.hash
    assert from_nanogpt(nanogpt_state(SMALL, seed=1), n_heads=4).hash != chess.hash


class Harm:
    """A pickle that would make a folder when opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("read", [from_nanogpt, from_transformer_lens])
def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(tmp_path, read):
    path = tmp_path / "ckpt.pt"
    torch.save({"model": nanogpt_state(SMALL), "config": Harm(tmp_path / "harm")}, path)
    with pytest.raises(
        RunError, match=r"holds more than tensors and plain data and was not run .* save its weights"
    ) as e:
        read(path)
    assert str(e.value).startswith(str(path)) and not (tmp_path / "harm").exists()


@pytest.mark.parametrize("read", [from_nanogpt, from_transformer_lens])
def test_files_that_are_missing_damaged_or_something_else_are_named(tmp_path, read):
    for name in ("ckpt.pt", "gpt.safetensors"):
        with pytest.raises(RunError, match=re.escape(f"{tmp_path / name}: no such file")):
            read(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(RunError, match=re.escape(str(tmp_path / name)) + ": (truncated or )?damaged"):
            read(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(RunError, match=r"list\.pt: holds a list, not weights by name"):
        read(tmp_path / "list.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(RunError, match=r"other\.pt: has no \S+, so it is not of \w+ \(it has a, \.\.\.\)"):
        read(tmp_path / "other.pt")
    with pytest.raises(RunError, match=r"the weights given: has no .* \(it has nothing"):
        read({})
    with pytest.raises(RunError, match=r"the weights given: has no .* \(it has epoch"):
        read({"epoch": 3})
    with pytest.raises(RunError, match="the weights given: epoch: not tensors; give a state dict"):
        read({"epoch": 3, "transformer.wte.weight": torch.ones(2, 2), "embed.W_E": torch.ones(2, 2)})


def changed(state, **change):
    """A state dict with tensors replaced, or taken out (None); names have `__` for dots."""
    new = {**state, **{name.replace("__", "."): weight for name, weight in change.items()}}
    return {name: weight for name, weight in new.items() if weight is not None}


def nano_refusal(message, state=None, **options):
    with pytest.raises(RunError, match=message):
        from_nanogpt(nanogpt_state(SMALL) if state is None else state, **{"n_heads": 4, **options})


def test_what_does_not_fit_in_nanogpt_weights_is_named():
    state, biased = nanogpt_state(SMALL), nanogpt_state(SMALL, bias=True)
    nano_refusal("does not say how many attention heads it has; pass n_heads", n_heads=None)
    nano_refusal("d_model 32 does not divide into 5 heads", n_heads=5)
    nano_refusal("the weights given: our GPT cannot have its shape", n_heads=0)
    nano_refusal("its settings say n_layer = 3, its weights 2", {"model": state, "model_args": {**SMALL, "n_layer": 3}})
    nano_refusal(
        r"transformer\.wpe\.weight is \(4,\); it should have 2 axes",
        changed(state, transformer__wpe__weight=torch.ones(4)),
    )
    nano_refusal(
        r"mlp\.c_fc\.weight is \(64, 32\); our GPT of this width needs \(128, 32\)",
        changed(state, transformer__h__1__mlp__c_fc__weight=torch.ones(64, 32)),
    )
    nano_refusal(
        r"transformer\.h\.1\.ln_2\.weight is missing, so this is not a whole nanoGPT model",
        changed(state, transformer__h__1__ln_2__weight=None),
    )
    nano_refusal(r"ln_f\.bias is missing", changed(biased, transformer__ln_f__bias=None))
    nano_refusal("no place for: lm_head.bias", changed(state, lm_head__bias=torch.ones(32)))
    nano_refusal("at least 1", {n: w for n, w in state.items() if ".h." not in n})


def test_alphabets_that_differ_are_refused():
    nano_refusal("has 32 tokens, but the alphabet has 61; pass the game that it plays", game="othello")
    nano_refusal(r"alphabet has 31, and the others get .*% of the probability, .* no padding", alphabet=CHARACTERS[:-1])
    nano_refusal(r"the alphabets differ: \['\?'\] are not tokens of chess", alphabet=["?", *CHARACTERS[1:]])
    nano_refusal("the alphabets differ: it has a token twice", alphabet=["a", *CHARACTERS[1:]])
    with pytest.raises(
        RunError, match=r"61 tokens, but the alphabet has 33, and the others get .* of the .* \(not othello6"
    ):
        from_transformer_lens(hooked_state(othello_gpt()), game="othello6")
    with pytest.raises(ValueError, match="unknown game 'checkers'"):
        from_nanogpt(nanogpt_state(SMALL), n_heads=4, game="checkers")


def test_what_does_not_fit_in_a_hooked_transformer_is_named():
    state = hooked_state(othello_gpt())

    def refusal(message, source, **options):
        with pytest.raises(RunError, match=message):
            from_transformer_lens(source, **options)

    refusal("its activation is solu_ln; our GPT has relu, gelu", state, act_fn="solu_ln")
    refusal(r"ln_final\.w is missing", changed(state, ln_final__w=None))
    refusal(
        r"attn\.W_K is \(4, 8, 32\); .* needs \(4, 32, 8\)", changed(state, blocks__1__attn__W_K=torch.ones(4, 8, 32))
    )
    refusal(r"no place for: blocks\.0\.mlp\.W_gate", changed(state, blocks__0__mlp__W_gate=torch.ones(32, 128)))
    partly = {name: weight for name, weight in state.items() if ".ln1." not in name}
    refusal(r"blocks\.0\.ln1\.w is missing, so this is not a whole TransformerLens model", partly)


def hooked(gpt, **change):
    """Something with the parts of a HookedTransformer that are read."""
    cfg = {"normalization_type": "LN", "eps": 1e-5, "d_head": 8, "attn_scale": 8**0.5, "act_fn": "relu", **change}
    return SimpleNamespace(cfg=SimpleNamespace(**cfg), state_dict=lambda: hooked_state(gpt))


@torch.no_grad()
def test_a_model_in_memory_says_its_activation_and_what_ours_cannot_have():
    gpt, tokens_L = othello_gpt("relu"), texts(61, 59)
    model = from_transformer_lens(hooked(gpt))
    assert model.gpt.cfg == gpt.cfg and torch.equal(ours(model, tokens_L), gpt(tokens_L[None])[0])
    odd = {"normalization_type": None, "eps": 1e-3, "attn_scale": 1.0, "attn_only": True, "attention_dir": "both"}
    for name, value in odd.items():
        with pytest.raises(
            RunError, match=rf"the model of TransformerLens: has {name} = {value}, which our GPT cannot have"
        ):
            from_transformer_lens(hooked(gpt, **{name: value}))
