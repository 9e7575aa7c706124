import copy
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, file_hash, read_json, read_parquet
from boardgame_sae.metrics.latent_source import as_latent_source
from boardgame_sae.metrics.saebench.core.splice import CleanRun
from boardgame_sae.saes.finetuning import finetune as module
from boardgame_sae.saes.finetuning.finetune import finetune_sae
from boardgame_sae.saes.finetuning.gap import gap_closed, gap_text, measured
from boardgame_sae.saes.finetuning.objective import Sparsity, combined, objective
from boardgame_sae.saes.finetuning.ways.addition import frozen_splice, load_addition
from boardgame_sae.saes.finetuning.ways.way import Settings, find_way, ways
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import architectures, make_sae
from boardgame_sae.testbeds.replaced import clean_batch
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"
FAST = {"n_steps": 20, "batch_size": 8, "lr": 5e-3, "rank": 4, "n_test_tokens": 400, "log_every": 4}


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=20)


def small_sae(bed, architecture="topk", **fields):
    """An untrained SAE about the mean of the activations, in its inference form."""
    own = {"k": 3} if architecture in ("topk", "batch_topk", "random") else {}
    sae = make_sae(architecture, **{"d_model": bed.width, "n_latents": 48, "seed": 1, **own, **fields})
    acts_ND = bed.activations("train")
    with torch.no_grad():
        sae.b_dec.copy_(acts_ND.mean(0))
    sae.calibrate([acts_ND])
    return sae.inference().eval()


def finetuned(bed, sae, out, **fields):
    folder = finetune_sae(sae, bed, out=out, **{**FAST, **fields})
    return folder, read_json(folder / "finetune.json")


@pytest.mark.parametrize("how", ways())
def test_every_way_closes_part_of_the_gap_and_leaves_what_it_was_given(bed, tmp_path, how):
    sae = small_sae(bed)
    before = copy.deepcopy(sae.state_dict()), bed.model.content
    folder, result = finetuned(bed, sae, tmp_path / how, how=how, lr=1e-2)
    assert result["cross_entropy"]["clean"] < result["cross_entropy"]["after"] < result["cross_entropy"]["before"]
    assert 0.05 < result["gap_closed"] < 1
    assert bed.model.content == before[1]
    assert all(torch.equal(now, then) for now, then in zip(sae.state_dict().values(), before[0].values(), strict=True))
    assert (folder / "sae.safetensors").exists() == find_way(how).gives_sae
    assert (folder / "addition.safetensors").exists() != find_way(how).gives_sae


def test_the_gap_is_that_of_the_core_score_on_the_same_games(bed, tmp_path):
    sae = small_sae(bed)
    folder, result = finetuned(bed, sae, tmp_path / "run")
    after, run = load_sae(folder), CleanRun(bed, 400)
    clean, losses = run.clean, [run.losses(s(b.acts_BLD).detach() for b in run.batches) for s in (sae, after)]
    for name, one in zip(("before", "after"), losses, strict=True):
        assert result["cross_entropy"][name] == pytest.approx(one.cross_entropy, abs=1e-5)
        assert result["divergence"][name] == pytest.approx(one.divergence, abs=1e-5)
    own = (losses[0].cross_entropy - losses[1].cross_entropy) / (losses[0].cross_entropy - clean.cross_entropy)
    assert result["gap_closed"] == pytest.approx(own, abs=1e-3)
    sums = read_parquet(folder / "games.parquet", {"clean": float, "before": float, "after": float}, "")
    np.testing.assert_allclose(sums["after"], losses[1].loss_B, atol=1e-4)
    low, high = result["gap_closed_interval"]
    assert low < result["gap_closed"] < high


def test_a_fine_tuned_sae_is_an_sae_that_is_scored(bed, tmp_path):
    for how in ("full", "lora_sae"):
        folder, result = finetuned(bed, small_sae(bed), tmp_path / how, how=how)
        sae = load_sae(folder)
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(48), atol=1e-5)
        assert sae.metadata["finetuning"]["how"] == how and sae.metadata["trained_as"]["architecture"] == "topk"
        assert result["l0"]["after"] == result["l0"]["before"] == 3
        assert as_latent_source(folder, bed).decode is not None  # what every score begins with


@pytest.mark.parametrize("architecture", architectures())
def test_every_architecture_is_fine_tuned_or_says_why_not(bed, tmp_path, architecture):
    sae, fields = small_sae(bed, architecture), {"n_steps": 3, "n_test_tokens": 50}
    if not sae.trains:
        with pytest.raises(ValueError, match="not trained"):
            finetuned(bed, sae, tmp_path / "full", **fields)
        _, result = finetuned(bed, sae, tmp_path / "adapter", how="linear_adapter", **fields)
        assert (result["gap_closed"] is None) == (architecture == "identity")  # it reconstructs all: there is no gap
        assert ("no gap" in gap_text(result)) == (architecture == "identity")
        return
    folder, _ = finetuned(bed, sae, tmp_path / "full", **fields)
    assert load_sae(folder).trained_as["architecture"] == architecture
    assert not torch.equal(load_sae(folder).W_dec, sae.W_dec)


def test_the_penalty_holds_the_number_of_latents_that_are_on(bed, tmp_path):
    sae = small_sae(bed, "relu")
    fields = {"n_steps": 40, "lr": 3e-3}
    drift = {}
    for step in (0.0, 0.1):
        _, result = finetuned(bed, sae, tmp_path / str(step), sparsity_step=step, **fields)
        drift[step] = abs(result["l0"]["after"] / result["l0"]["before"] - 1)
    assert drift[0.1] < drift[0.0] / 2


def test_the_penalty_begins_at_the_coefficient_that_an_sae_is_in_balance_with(bed):
    """Latents that shrink by a share s of what would be best: the balance is (1 - s) times the largest coefficient."""
    sae, coefficients = small_sae(bed, "identity", n_latents=2 * bed.width), []
    for size in (1.0, 0.75, 0.5):
        splice = frozen_splice(sae, bed)
        with torch.no_grad():
            splice.sae.W_enc *= size
        splice.scale = 1.0
        acts = [clean_batch(bed.model.gpt, HOOK, bed.corpus.batch("train", 0, 8, 0, bed.model.gpt.cfg.n_ctx))]
        x_ND = acts[0].acts_BLD[acts[0].read_BL] - splice.sae.b_dec
        coefficients.append(Sparsity(splice, acts, 0.01).coefficient * float(size * x_ND.abs().sum()))
        assert coefficients[-1] == pytest.approx(2 * size * (1 - size) * float(x_ND.pow(2).mean(1).sum()), rel=1e-3)


def by_hand(gpt, sae, tokens_BL, present_BL, alpha=None):
    """KL, MSE and the loss, one token after the other, in float64. alpha: None takes the balance."""
    acts = []
    gpt(tokens_BL[:, :-1], {HOOK: lambda value: acts.append(value.detach())})
    x_hat = sae.decode(sae.encode(acts[0]))
    clean, patched = gpt(tokens_BL[:, :-1]).detach().softmax(-1), gpt(tokens_BL[:, :-1], {HOOK: lambda _: x_hat})
    kls, errors = [], []
    for b, row in enumerate(present_BL[:, :-1].tolist()):
        for place, read in enumerate(row):
            if read:
                p, log_q = clean[b, place], patched[b, place].log_softmax(-1)
                kls.append((p * (p.log() - log_q)).sum())
                errors.append(((acts[0][b, place] - x_hat[b, place]) ** 2).mean())
    kl, mse = torch.stack(kls).mean(), torch.stack(errors).mean()
    return kl, mse, 0.5 * ((float((mse / (kl + 1e-8)).detach()) if alpha is None else alpha) * kl + mse)


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_gradients_of_the_balanced_loss_are_those_of_a_twin_by_hand(bed, architecture):
    rows = bed.corpus.batch("train", 0, 3, 0, bed.model.gpt.cfg.n_ctx)
    sae, batch = small_sae(bed, architecture), clean_batch(bed.model.gpt, HOOK, rows)
    splice = frozen_splice(sae, bed)
    learns = find_way("full").install(splice, Settings(1, 0))
    loss = objective(splice, batch, "balanced", Sparsity(splice, [batch], 0.0))
    loss.total.backward()
    twin, gpt = copy.deepcopy(sae).double(), copy.deepcopy(bed.model.gpt).double().requires_grad_(False)
    kl, mse, total = by_hand(gpt, twin, batch.tokens_BL, batch.present_BL)
    total.backward()
    got = [float(value.detach()) for value in (loss.divergence, loss.mse, loss.total)]
    assert got == pytest.approx(
        [float(value.detach()) for value in (kl, mse, mse)], rel=1e-4
    )  # both terms have its value
    for name, weight in twin.named_parameters():
        scale = float(weight.grad.abs().max())
        torch.testing.assert_close(learns[name].grad.double(), weight.grad, atol=1e-4 * scale, rtol=1e-3, msg=name)


def test_the_twin_itself_agrees_with_differences(bed):
    rows = bed.corpus.batch("train", 0, 2, 0, bed.model.gpt.cfg.n_ctx)
    batch = clean_batch(bed.model.gpt, HOOK, rows)
    sae, gpt = small_sae(bed, "relu").double(), copy.deepcopy(bed.model.gpt).double().requires_grad_(False)
    kl, mse, total = by_hand(gpt, sae, batch.tokens_BL, batch.present_BL)
    total.backward()
    alpha, size = float((mse / kl).detach()), 1e-6
    for f, d in ((0, 3), (17, 9), (40, 0)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                sae.W_dec[f, d] += sign * size
                ends.append(float(by_hand(gpt, sae, batch.tokens_BL, batch.present_BL, alpha)[2]))
                sae.W_dec[f, d] -= sign * size
        assert float(sae.W_dec.grad[f, d]) == pytest.approx((ends[0] - ends[1]) / (2 * size), rel=1e-4, abs=1e-9)


def test_the_losses_are_as_published():
    kl, mse = torch.tensor(0.2, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    assert [float(combined(kl, mse, loss)) for loss in ("kl", "mse")] == pytest.approx([0.2, 3.0])
    balanced = combined(kl, mse, "balanced")
    balanced.backward()
    assert float(balanced) == pytest.approx(3.0)
    assert (float(kl.grad), float(mse.grad)) == pytest.approx((3 / 0.2 / 2, 0.5))  # no gradient through the balance


def test_the_share_of_the_gap_that_is_closed():
    sums = np.array([[1.0, 3.0, 2.0], [1.0, 3.0, 3.5], [1.0, 3.0, 0.5], [2.0, 2.0, 1.0], [2.0, 1.0, 1.0]])
    np.testing.assert_allclose(gap_closed(sums), [0.5, -0.25, 1.25, np.nan, np.nan])


@pytest.mark.parametrize("how", ways())
@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_a_killed_run_resumes_to_the_same_bytes(bed, tmp_path, monkeypatch, how, architecture):
    sae, fields = small_sae(bed, architecture), {**FAST, "n_steps": 11, "how": how}
    whole = finetune_sae(sae, bed, out=tmp_path / "whole", **fields)
    real, steps = module._Tuning.advance, []

    def dying(self, batch):
        if self.step == 7 and not steps:
            raise KeyboardInterrupt
        real(self, batch)

    cfg = module.FinetuneConfig(**fields)
    monkeypatch.setattr(module._Tuning, "advance", dying)
    with pytest.raises(KeyboardInterrupt):
        module.finetune_run(sae, bed, cfg, out=tmp_path / "killed", checkpoint_seconds=0)
    assert (tmp_path / "killed/state.safetensors").exists()
    steps.append(7)
    monkeypatch.setattr(module._Tuning, "advance", lambda self, batch: (steps.append(self.step), real(self, batch)))
    module.finetune_run(sae, bed, cfg, out=tmp_path / "killed")
    assert steps == [7, 7, 8, 9, 10]
    done = json.loads((whole / "DONE").read_text())
    assert done == json.loads((tmp_path / "killed/DONE").read_text())
    assert file_hash(whole / "metrics.jsonl") == file_hash(tmp_path / "killed/metrics.jsonl")


def test_a_finished_run_is_reused(bed, tmp_path, monkeypatch):
    folder, _ = finetuned(bed, small_sae(bed), tmp_path / "run", n_steps=2)
    monkeypatch.setattr(module._Tuning, "train", lambda *_: pytest.fail("trained again"))
    assert finetuned(bed, small_sae(bed), tmp_path / "run", n_steps=2)[0] == folder


@pytest.mark.parametrize("how", [name for name, way in ways().items() if not way.gives_sae])
def test_an_addition_goes_back_where_it_belongs_and_nowhere_else(bed, tmp_path, how):
    sae = small_sae(bed)
    folder, result = finetuned(bed, sae, tmp_path / how, how=how)
    spliced = measured(load_addition(folder, sae, bed), bed, 400)
    assert spliced.losses.cross_entropy == pytest.approx(result["cross_entropy"]["after"], abs=1e-5)
    assert spliced.losses.cross_entropy < result["cross_entropy"]["before"]
    with pytest.raises(RunError, match="belongs to another sae"):
        load_addition(folder, small_sae(bed, "relu"), bed)
    with pytest.raises(RunError, match="belongs to another model"):
        load_addition(folder, sae, bed.random_twin())
    with pytest.raises(RunError, match="belongs to another hook_name"):
        load_addition(folder, sae, bed.at("blocks.1.hook_resid_post"))
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(RunError, match="no such file"):
        load_addition(bare, sae, bed)
    shutil.copy(folder / "addition.safetensors", bare)
    load_addition(bare, sae, bed)
    save_file(load_file(folder / "addition.safetensors"), bare / "addition.safetensors")
    with pytest.raises(RunError, match="does not say what it is of"):
        load_addition(bare, sae, bed)


def test_loras_start_is_the_sae_itself(bed):
    sae = small_sae(bed)
    acts_ND = bed.activations("test")[:50]
    for how in ways():
        splice = frozen_splice(sae, bed)
        find_way(how).install(splice, Settings(4, 0))
        torch.testing.assert_close(splice.reconstruct(acts_ND).x_hat_ND, sae(acts_ND), atol=1e-5, rtol=1e-5)


def refused(bed, sae, match, error=ValueError, **fields):
    with pytest.raises(error, match=match):
        finetune_sae(sae, bed, **{**FAST, **fields})


def test_bad_input_is_one_clear_error(bed, tmp_path):
    sae = small_sae(bed)
    refused(bed, sae, "unknown way to fine-tune 'fulll'; did you mean 'full'", ConfigError, how="fulll")
    refused(bed, sae, "field 'loss'", ConfigError, loss="ce")
    refused(bed, sae, "unknown field 'step'", ConfigError, step=3)
    refused(bed, sae, "nothing to train; choose balanced or kl", ConfigError, how="lora_model", loss="mse")
    refused(bed, make_sae("relu", d_model=8, n_latents=16), "width 8, those at blocks.0.hook_resid_post have width 16")
    refused(bed, make_sae("batch_topk", d_model=16, n_latents=16, k=2), "no threshold")
    refused(bed.at("blocks.1.hook_resid_post"), sae, "last of 2 blocks", how="lora_model")
    elsewhere = small_sae(bed)
    elsewhere.metadata = {"hook_name": "blocks.1.hook_resid_post"}
    refused(bed, elsewhere, "says it reads blocks.1")
    refused(bed, sae, "not finite at step .*lower lr", RunError, lr=1e30, out=tmp_path / "diverged")
    refused(bed, tmp_path / "nowhere", "no such folder", RunError)
    assert not (tmp_path / "diverged/DONE").exists()


def test_the_verb_fine_tunes_and_says_what_came_of_it(bed, tmp_path, capsys, monkeypatch):
    from boardgame_sae.cli import saes as verbs  # noqa: F401 (registered)

    sae = small_sae(bed)
    sae.save(tmp_path / "sae")
    monkeypatch.setattr("boardgame_sae.testbeds.testbed.load_testbed", lambda *_: bed)
    words = [
        "--testbed",
        "bed",
        "--n-steps=5",
        "--batch-size=4",
        "--n-test-tokens=100",
        "--device=cpu",
        "--how=lora_sae",
    ]
    code = cli.main(["finetune-sae", str(tmp_path / "sae"), *words, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert code == 0 and "of the gap is closed" in said and said.splitlines()[-1] == str(tmp_path / "out")
    assert load_sae(tmp_path / "out").cfg.n_latents == 48
    assert cli.main(["finetune-sae", str(tmp_path / "sae"), "--testbed", "bed", "--how", "half"]) == 2
    assert "unknown way to fine-tune 'half'" in capsys.readouterr().err
