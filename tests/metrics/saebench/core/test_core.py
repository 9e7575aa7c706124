import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from boardgame_sae.metrics.saebench.core.core_score import core_score, token_statistics
from boardgame_sae.metrics.saebench.core.splice import clean_run
from boardgame_sae.metrics.score import NoConfig
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=20)


@pytest.fixture(scope="module")
def sae(bed):
    """A TopK SAE that is neither good nor useless, one of its latents dead."""
    sae = make_sae("topk", d_model=bed.width, n_latents=40, k=6)
    acts_ND = bed.activations("train")
    with torch.no_grad():
        sae.b_dec.copy_(acts_ND.mean(0))
        sae.W_enc *= 0.6
        sae.b_enc[3] = -1e3
    return sae


def parts_of(sae, bed):
    return core_score(Subject("x", "sae", sae, bed), NoConfig()).parts


class Stub:
    """Something with encode, decode and W_dec that is no torch module."""

    def __init__(self, encode, decode, W_dec):
        self.encode, self.decode, self.W_dec = encode, decode, W_dec


def perfect(width):
    W_dec = torch.cat([torch.eye(width), -torch.eye(width)])
    return Stub(lambda x: torch.cat([F.relu(x), F.relu(-x)], dim=-1), lambda z: z @ W_dec, W_dec)


def constant(width, value_D):
    """Reconstructs everything as one point; no latent is ever on."""
    return Stub(
        lambda x: x.new_zeros(*x.shape[:-1], 7), lambda z: value_D.expand(*z.shape[:-1], width), torch.eye(7, width)
    )


def as_published(rows, x_hat, sizes):
    """Explained variance and mse as evals/core/main.py of sae_bench 0.6.0 computes them, in batches of some sizes."""
    squares, residuals, mse = [], [], []
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        x, error = rows[stop - size : stop], rows[stop - size : stop] - x_hat[stop - size : stop]
        squares.append((np.square(x).sum(1).mean(), np.square(x).mean(0)))
        residuals.append(np.square(error).sum(1).mean())
        mse += [value / size for value in np.square(error).sum(1)]
    total_variance = np.mean([square for square, _ in squares]) - np.concatenate([m for _, m in squares]).mean() ** 2
    return 1 - np.mean(residuals) / total_variance, np.mean(mse)


def by_hand(sae, bed):
    """Every number of the core score game by game, in float64, with full forward passes and hooks."""
    gpt, sae = copy.deepcopy(bed.model.gpt).double(), copy.deepcopy(sae).double()
    games = []
    for game in bed.corpus.games("test"):
        start, stop = bed.corpus.arrays["token_offsets"][game : game + 2]
        games.append(bed.corpus.arrays["tokens"][start:stop].astype(np.int64).tolist())
    n_ctx = bed.corpus.n_ctx

    def run(change):
        """Log-probabilities and activations of each game with the hook point's activations changed."""
        logs, acts = [], []
        for tokens in games:
            found = []

            def put(value, found=found):
                found.append(value[0].numpy())
                return change(value)

            logs.append(gpt(torch.tensor([tokens[:n_ctx]]), {HOOK: put})[0].log_softmax(-1).numpy())
            acts.append(found[0])
        return logs, acts

    clean, acts = run(lambda value: value)
    rows = np.concatenate(acts)
    mean = rows.mean(0)
    passes = {
        "sae": run(lambda value: sae.decode(sae.encode(value)))[0],
        "zero": run(torch.zeros_like)[0],
        "mean": run(lambda value: torch.from_numpy(mean).expand_as(value))[0],
        "clean": clean,
    }
    ce, kl = {}, {}
    for name, logs in passes.items():
        losses, divergences = [], []
        for tokens, log_LV, clean_LV in zip(games, logs, clean, strict=True):
            losses += [-log_LV[place, tokens[place + 1]] for place in range(len(log_LV)) if place + 1 < len(tokens)]
            divergences += [
                sum(math.exp(p) * (p - q) for p, q in zip(*pair, strict=True))
                for pair in zip(clean_LV, log_LV, strict=True)
            ]
        ce[name], kl[name] = float(np.mean(losses)), float(np.mean(divergences))
    z = sae.encode(torch.from_numpy(rows)).numpy()
    x_hat = sae.decode(torch.from_numpy(z)).numpy()
    published = as_published(rows, x_hat, [int(batch.read_BL.sum()) for batch in bed.once(clean_run).batches])
    error = [float(((x - y) ** 2).sum()) for x, y in zip(rows, x_hat, strict=True)]
    spread = [float(((x - mean) ** 2).sum()) for x in rows]
    norm_in, norm_out = [math.sqrt(float(x @ x)) for x in rows], [math.sqrt(float(y @ y)) for y in x_hat]
    product = [float(x @ y) for x, y in zip(rows, x_hat, strict=True)]
    density = (z > 0).mean(0)

    def cosines(rows):
        return [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows]

    nearest = {
        name: np.mean([max(c for j, c in enumerate(row) if j != i) for i, row in enumerate(cosines(matrix))])
        for name, matrix in (("decoder", sae.W_dec.detach().numpy()), ("encoder", sae.W_enc.detach().numpy().T))
    }
    return {
        "ce_loss_without_sae": ce["clean"],
        "ce_loss_with_sae": ce["sae"],
        "ce_loss_with_ablation": ce["zero"],
        "ce_loss_score": (ce["zero"] - ce["sae"]) / (ce["zero"] - ce["clean"]),
        "ce_loss_score_mean_ablation": (ce["mean"] - ce["sae"]) / (ce["mean"] - ce["clean"]),
        "kl_div_with_sae": kl["sae"],
        "kl_div_with_ablation": kl["zero"],
        "kl_div_score": (kl["zero"] - kl["sae"]) / kl["zero"],
        "kl_div_score_mean_ablation": (kl["mean"] - kl["sae"]) / kl["mean"],
        "explained_variance": 1 - sum(error) / sum(spread),
        "explained_variance_legacy": np.mean([1 - e / s for e, s in zip(error, spread, strict=True)]),
        "mse": np.mean(error),
        "explained_variance_sae_bench": published[0],
        "mse_sae_bench": published[1],
        "cossim": np.mean([p / (a * b) for p, a, b in zip(product, norm_in, norm_out, strict=True)]),
        "l2_norm_in": np.mean(norm_in),
        "l2_norm_out": np.mean(norm_out),
        "l2_ratio": np.mean([b / a for a, b in zip(norm_in, norm_out, strict=True)]),
        "relative_reconstruction_bias": np.mean([b * b for b in norm_out]) / np.mean(product),
        "l0": np.mean([(row != 0).sum() for row in z]),
        "l1": np.mean([row.sum() for row in z]),
        "frac_alive": np.mean(density > 0),
        "freq_over_1_percent": np.mean(density > 0.01),
        "freq_over_10_percent": np.mean(density > 0.1),
        "normalized_freq_over_1_percent": density[density > 0.01].sum() / density.sum(),
        "normalized_freq_over_10_percent": density[density > 0.1].sum() / density.sum(),
        "average_max_decoder_cosine_sim": nearest["decoder"],
        "average_max_encoder_cosine_sim": nearest["encoder"],
        "total_tokens_eval_reconstruction": len(rows),
        "total_tokens_eval_sparsity_variance": len(rows),
    }


@torch.no_grad()
def test_every_core_number_equals_a_float64_computation_game_by_game(sae, bed):
    found, expected = parts_of(sae, bed), by_hand(sae, bed)
    assert found.keys() == expected.keys()
    assert 0.05 < expected["explained_variance"] < 0.95
    assert 0 < expected["frac_alive"] < 1
    for name, value in expected.items():
        tolerance = (
            2e-3 if "score" in name else 2e-5 if name != "mse_sae_bench" else 0
        )  # scores divide small differences of losses
        assert found[name] == pytest.approx(value, rel=1e-4, abs=tolerance), name


def test_the_headline_is_the_cross_entropy_recovered_and_fields_are_grouped_as_in_saebench(sae, bed):
    found = core_score(Subject("x", "sae", sae, bed), NoConfig())
    assert found.value == found.parts["ce_loss_score"]
    groups = found.details["eval_result_metrics"]
    assert set(groups) == {
        "model_behavior_preservation",
        "model_performance_preservation",
        "reconstruction_quality",
        "shrinkage",
        "sparsity",
        "token_stats",
        "misc_metrics",
    }
    inside = {name: value for group in groups.values() for name, value in group.items()}
    only_ours = {"explained_variance_sae_bench", "mse_sae_bench"}
    only_ours |= {"kl_div_score_mean_ablation", "ce_loss_score_mean_ablation"}
    assert inside == {name: value for name, value in found.parts.items() if name not in only_ours}
    assert only_ours < found.parts.keys()


@torch.no_grad()
def test_the_numbers_of_each_latent_equal_their_definitions(sae, bed):
    columns = core_score(Subject("x", "sae", sae, bed), NoConfig()).details["eval_result_details"]
    read = [batch.read_BL for batch in bed.once(clean_run).batches]
    acts = [batch.acts_BLD for batch in bed.once(clean_run).batches]
    z = [sae.encode(x[row][on]) for x, mask in zip(acts, read, strict=True) for row, on in enumerate(mask)]
    fired = torch.stack([(z_LF > 0).sum(0) for z_LF in z])
    W_enc, W_dec = sae.W_enc.detach(), sae.W_dec.detach()
    for f in range(40):
        games = int((fired[:, f] > 0).sum())
        others = [g for g in range(40) if g != f]
        expected = {
            "feature_density": float(fired[:, f].sum()) / sum(map(len, z)),
            "consistent_activation_heuristic": float(fired[:, f].sum()) / games if games else -1.0,
            "encoder_bias": float(sae.b_enc[f]),
            "encoder_norm": float(W_enc[:, f].norm()),
            "encoder_decoder_cosine_sim": float(F.cosine_similarity(W_enc[:, f], W_dec[f], dim=0)),
            "max_decoder_cosine_sim": max(float(F.cosine_similarity(W_dec[f], W_dec[g], dim=0)) for g in others),
            "max_encoder_cosine_sim": max(float(F.cosine_similarity(W_enc[:, f], W_enc[:, g], dim=0)) for g in others),
        }
        assert {name: column[f] for name, column in columns.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert columns["consistent_activation_heuristic"][3] == -1.0  # the dead one


def test_what_an_object_lacks_is_marked_as_undefined_in_the_file_and_absent_elsewhere(bed):
    found = core_score(Subject("x", "sae", perfect(bed.width), bed), NoConfig())
    assert "average_max_encoder_cosine_sim" not in found.parts
    assert found.details["eval_result_metrics"]["misc_metrics"]["average_max_encoder_cosine_sim"] == -1
    columns = found.details["eval_result_details"]
    assert set(columns["encoder_norm"]) == set(columns["max_encoder_cosine_sim"]) == {-1.0}
    assert len(columns["max_decoder_cosine_sim"]) == 2 * bed.width


def test_a_perfect_sae_loses_nothing(bed):
    parts = parts_of(perfect(bed.width), bed)
    for name in ("explained_variance", "explained_variance_legacy", "ce_loss_score", "kl_div_score", "cossim"):
        assert parts[name] == pytest.approx(1, abs=1e-6), name
    for name in ("kl_div_with_sae", "mse"):
        assert parts[name] == pytest.approx(0, abs=1e-7), name
    assert parts["l2_ratio"] == pytest.approx(1, abs=1e-6)
    assert parts["relative_reconstruction_bias"] == pytest.approx(1, abs=1e-6)
    assert parts["ce_loss_with_sae"] == parts["ce_loss_without_sae"]
    assert parts["l0"] == bed.width


def test_an_sae_that_says_nothing_recovers_nothing_and_every_number_stays_finite(bed):
    parts = parts_of(constant(bed.width, torch.zeros(bed.width)), bed)
    assert parts["ce_loss_score"] == parts["kl_div_score"] == 0
    assert parts["ce_loss_with_sae"] == parts["ce_loss_with_ablation"]
    for name in ("l0", "l1", "l2_ratio", "l2_norm_out", "frac_alive", "cossim", "relative_reconstruction_bias"):
        assert parts[name] == 0, name
    assert all(math.isfinite(value) for value in parts.values())


def test_predicting_the_mean_explains_no_variance_and_equals_mean_ablation(bed):
    parts = parts_of(constant(bed.width, bed.once(clean_run).mean_D), bed)
    assert parts["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert parts["explained_variance_legacy"] == pytest.approx(0, abs=1e-6)
    assert parts["ce_loss_score_mean_ablation"] == pytest.approx(0, abs=1e-6)
    assert parts["kl_div_score_mean_ablation"] == pytest.approx(0, abs=1e-6)
    assert parts["kl_div_with_sae"] > 0


def random_tokens():
    generator = torch.Generator().manual_seed(0)
    x_ND, x_hat_ND = (torch.randn(30, 5, generator=generator) for _ in range(2))
    z_NF = F.relu(torch.randn(30, 8, generator=generator))
    x_ND[4] = 0
    x_hat_ND[9] = 0
    return x_ND, z_NF, x_hat_ND


def test_token_statistics_equal_their_definitions_token_by_token():
    x_ND, z_NF, x_hat_ND = random_tokens()
    mean_D = x_ND.mean(0)
    rows, on_F = token_statistics(x_ND, z_NF, x_hat_ND, mean_D)
    for n, (x, z, y) in enumerate(zip(*(t.double().numpy() for t in (x_ND, z_NF, x_hat_ND)), strict=True)):
        error, spread = ((x - y) ** 2).sum(), ((x - mean_D.double().numpy()) ** 2).sum()
        length, other = math.sqrt((x**2).sum()), math.sqrt((y**2).sum())
        expected = {
            "error": error,
            "spread": spread,
            "legacy": 1 - error / spread,
            "cosine": x @ y / (length * other) if length * other else 0.0,
            "square_in": x @ x,
            "norm_in": length,
            "norm_out": other,
            "ratio": other / length if length >= 1e-4 else 1.0,
            "square_out": other**2,
            "product": x @ y,
            "l0": sum(value != 0 for value in z),
            "l1": sum(z),
        }
        assert rows.keys() == expected.keys()
        for name, value in expected.items():
            assert float(rows[name][n]) == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert on_F.tolist() == [int((z_NF[:, f] > 0).sum()) for f in range(8)]


@pytest.mark.parametrize("scale", [1e-2, 10.0, 1e3])
def test_explained_variance_does_not_depend_on_the_scale_of_activations(scale):
    x_ND, z_NF, x_hat_ND = random_tokens()
    x_hat_ND = 0.7 * x_ND + 0.1 * x_hat_ND
    shares = []
    for factor in (1.0, scale):
        rows, _ = token_statistics(factor * x_ND, z_NF, factor * x_hat_ND, factor * x_ND.mean(0))
        shares.append(float(1 - rows["error"].mean() / rows["spread"].mean()))
    assert 0.5 < shares[0] < 1
    assert shares[1] == pytest.approx(shares[0], rel=1e-5)


def test_the_density_histogram_counts_every_latent_that_is_on_somewhere_once(sae, bed):
    found = core_score(Subject("x", "sae", sae, bed), NoConfig())
    histogram = found.details["density_histogram"]
    acts_ND = torch.cat([batch.acts_BLD[batch.read_BL] for batch in bed.once(clean_run).batches])
    density_F = (sae.encode(acts_ND) > 0).double().mean(0)
    alive = np.log10(density_F[density_F > 0].numpy())
    edges = histogram["edges_log10"]
    inside = [((alive >= a) & (alive < b)).sum() for a, b in itertools.pairwise(edges)]
    inside[-1] += (alive == edges[-1]).sum()
    assert histogram["latents"] == inside
    assert sum(histogram["latents"]) == round(found.parts["frac_alive"] * 40) < 40
