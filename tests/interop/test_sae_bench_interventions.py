"""The published sae_bench swaps, clamps, selects and scores as RAVEL and unlearning do here, given the same latents."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

os.environ["JAXTYPING_DISABLE"] = "1"  # with beartype, its type checks refuse its own arguments
pytest.importorskip("sae_bench")

import pandas as pd
from sae_bench.evals.ravel.eval_output import RAVELEvalOutput
from sae_bench.evals.ravel.mdbm import MDBM, compute_loss, get_cause_isolation_score_estimates
from sae_bench.evals.unlearning.eval_output import UnlearningEvalOutput
from sae_bench.evals.unlearning.main import get_unlearning_scores
from sae_bench.evals.unlearning.utils.feature_activation import get_top_features
from sae_bench.evals.unlearning.utils.intervention import anthropic_clamp_resid_SAE_features
from sae_bench.sae_bench_utils.activation_collection import get_feature_activation_sparsity
from sae_bench.sae_bench_utils.testing_utils import validate_eval_output_format_file

from boardgame_sae.files import read_json
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.ravel.masks import Swaps, largest_of_mask, swap_loss
from boardgame_sae.metrics.saebench.ravel.outcomes import measure
from boardgame_sae.metrics.saebench.ravel.ravel_score import RavelConfig, swap_plan
from boardgame_sae.metrics.saebench.result_file import write_result_files
from boardgame_sae.metrics.saebench.unlearning.clamp import clamped, frequencies, top_latents
from boardgame_sae.metrics.saebench.unlearning.forgetting import Accuracy, published_score
from boardgame_sae.metrics.score import scores
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.saes.exchange.saebench_view import saebench_view
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.testbeds.testbed import Testbed

pytestmark = pytest.mark.interop
HOOK, F, A = "blocks.0.hook_resid_post", 40, 3
CFG = RavelConfig(n_squares=A, n_games=60, n_train=100, n_test=60)


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    return Testbed(tiny_model, tiny_corpus, HOOK, n_games=60)


@pytest.fixture(scope="module", params=["topk", "relu", "jumprelu", "gated"])
def view(request, bed):
    sparse = {"k": 6} if request.param == "topk" else {}
    sae = make_sae(request.param, d_model=bed.width, n_latents=F, **sparse)
    with torch.no_grad():
        sae.b_dec.copy_(bed.activations("train").mean(0))
        sae.W_dec += 0.1 * torch.randn(sae.W_dec.shape, generator=torch.Generator().manual_seed(0))
    sae.metadata = {"hook_name": HOOK, "model": "tiny"}
    return saebench_view(sae.inference().eval())


@pytest.fixture(scope="module")
def subject(view, bed):
    return Subject("view", "sae", view, bed)


@pytest.mark.parametrize("add_error", [True, False])
@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_a_swap_is_mdbms(view, subject, bed, add_error, training):
    plan = bed.once(swap_plan, CFG)
    swaps, pairs = Swaps(subject, "test", plan.of.of["test"]), plan.pairs["test"]
    m_AF, temperature = torch.randn(A, F, generator=torch.Generator().manual_seed(1)), 0.7
    masks_AF = torch.sigmoid(m_AF / temperature) if training else largest_of_mask(m_AF, None)
    acts_ND = bed.activations("test")
    mdbm = MDBM(SimpleNamespace(device="cpu"), None, SimpleNamespace(llm_batch_size=1), view)
    mdbm.temperature = temperature
    for number in range(A):
        part = pairs.rows(np.flatnonzero(pairs.attribute_N == number))
        mdbm.binary_mask.copy_(m_AF[number])
        position = torch.full((len(part.base_N),), 1)
        hook = mdbm.create_intervention_hook(acts_ND[part.source_N], position, training, add_error)
        others_ND = torch.zeros(len(part.base_N), 1, bed.width)
        given_BLD = torch.cat([others_ND, acts_ND[part.base_N][:, None], others_ND], dim=1)
        (theirs_BLD,) = hook(None, None, (given_BLD,))
        ours_ND = swaps.swapped(part, masks_AF, error=add_error)
        torch.testing.assert_close(ours_ND, theirs_BLD[:, 1], rtol=1e-4, atol=1e-4)
        assert not theirs_BLD[:, [0, 2]].any()


@torch.no_grad()
def test_loss_and_rates_are_theirs(subject, bed):
    """Their loss is one mean over examples, ours the mean of each kind's: equal for one kind alone."""
    plan = bed.once(swap_plan, CFG)
    reading, pairs = plan.of.of["test"], plan.pairs["test"]
    swaps = Swaps(subject, "test", reading)
    masks_AF = (torch.rand(A, F, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    later_ND = reading.above.read(pairs.base_N, swaps.swapped(pairs, masks_AF, error=True)).acts_ND
    logits_NSC = plan.of.probe.logits(later_ND)
    n = np.arange(len(pairs.base_N))
    base_NS, source_NS = (torch.from_numpy(reading.classes_NS[rows]) for rows in (pairs.base_N, pairs.source_N))
    own_NC, source_N, base_N = logits_NSC[n, pairs.square_N], source_NS[n, pairs.square_N], base_NS[n, pairs.square_N]
    causes = pairs._replace(kept_NS=np.zeros_like(pairs.kept_NS))
    theirs, _ = compute_loss(own_NC, source_N)
    torch.testing.assert_close(swap_loss(logits_NSC, causes, reading.classes_NS), theirs)
    one_each_NS = pairs.kept_NS & (pairs.kept_NS.cumsum(1) == 1)
    kept = pairs.rows(np.flatnonzero(one_each_NS.any(1)))._replace(kept_NS=one_each_NS[one_each_NS.any(1)])
    rows = one_each_NS.any(1)
    row_N, square_N = one_each_NS.nonzero()
    iso, _ = compute_loss(logits_NSC[row_N, square_N], base_NS[row_N, square_N])
    cause, _ = compute_loss(own_NC[rows], source_N[rows])
    torch.testing.assert_close(swap_loss(logits_NSC[rows], kept, reading.classes_NS), cause + iso)
    read = measure(plan.of, swaps, pairs, masks_AF)
    cause_rate, _, n_cause, n_isolation = get_cause_isolation_score_estimates(own_NC, source_N, base_N)
    assert (n_cause, n_isolation) == (len(n), 0)
    assert cause_rate == pytest.approx(read.cause_N.mean(), abs=1e-4)
    row_N, square_N = pairs.kept_NS.nonzero()
    wanted_M = base_NS[row_N, square_N]  # they call an example isolating when both answers are the same
    _, isolation, _, _ = get_cause_isolation_score_estimates(logits_NSC[row_N, square_N], wanted_M, wanted_M)
    assert isolation == pytest.approx(read.n_kept_N.sum() / read.n_asked_N.sum(), abs=1e-4)


@torch.no_grad()
def test_frequencies_and_selection_are_theirs(view, subject, bed):
    where, n_ctx = bed.positions("train"), bed.model.gpt.cfg.n_ctx
    whole = np.bincount(where.game_N, minlength=len(where.games_B)) == n_ctx  # their mask of padding needs a tokenizer
    latents_NF = latent_rows(subject, "train", np.arange(len(where)))
    found = []
    for half in (0, 1):
        games = np.flatnonzero(whole & (np.arange(len(whole)) % 2 == half))
        tokens_BL = torch.from_numpy(bed.corpus.rows(where.games_B[games], n_ctx)[0][:, :-1])
        model = bed.model.to_transformer_lens()
        theirs_F = get_feature_activation_sparsity(tokens_BL, model, view, batch_size=8, layer=0, hook_name=HOOK)
        ours_F = frequencies(latents_NF, np.isin(where.game_N, games))
        np.testing.assert_allclose(ours_F, theirs_F.numpy(), atol=1e-4)
        found.append(ours_F)
    for threshold in (0.01, 0.1, 0.3):
        ours, theirs = top_latents(*found, threshold), get_top_features(*found, threshold)
        assert set(ours) == set(theirs)
        np.testing.assert_array_equal(found[0][ours], found[0][theirs])  # ties in any order


@torch.no_grad()
def test_clamping_is_theirs_at_every_token_but_the_first(view, subject, bed):
    chosen, multiplier = np.array([1, 7, 30]), 3.0
    acts_ND = bed.activations("test")[:24]
    theirs_BLD = anthropic_clamp_resid_SAE_features(acts_ND[None].clone(), None, view, chosen.tolist(), multiplier)
    latents_NK = latent_rows(subject, "test", np.arange(24))[:, chosen].toarray()
    ours_ND = acts_ND + clamped(latents_NK, np.full(3, -multiplier), subject.source.W_dec[chosen])
    torch.testing.assert_close(ours_ND[1:], theirs_BLD[0, 1:], rtol=1e-4, atol=1e-4)
    assert (ours_ND != acts_ND).any()


def test_the_published_score_is_theirs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        accuracies = [Accuracy(*pair) for pair in np.stack([rng.random(16), rng.uniform(0.97, 1, 16)], 1).tolist()]
        frame = pd.DataFrame(accuracies).rename(columns={"forget": "wmdp-bio", "retain": "all_side_effects_mcq"})
        assert published_score(accuracies) == pytest.approx(get_unlearning_scores(frame), abs=1e-4)


@pytest.mark.parametrize(("name", "output"), [("ravel", RAVELEvalOutput), ("unlearning", UnlearningEvalOutput)])
def test_result_files_hold_what_it_declares_and_nothing_that_it_drops(subject, bed, name, output, tmp_path):
    value = scores()[name].compute(subject, "saebench")
    about = {"name": "mine", "kind": "sae", "testbed": {**bed.identity, "content": bed.made_of}}
    write_result_files(Scores(about, {name: value}), tmp_path)
    (file,) = tmp_path.rglob("*_eval_results.json")
    validate_eval_output_format_file(str(file), output)
    known, written = output.__pydantic_validator__.validate_python(read_json(file)), read_json(file)
    assert written["eval_type_id"] == known.eval_type_id
    assert vars(known.eval_config).items() >= written["eval_config"].items()
    assert vars(getattr(known.eval_result_metrics, name)) == written["eval_result_metrics"][name]
