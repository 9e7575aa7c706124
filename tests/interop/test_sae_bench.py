"""The published sae_bench reads our result files, and its core computes our numbers from the same activations."""

import os

import pytest
import torch

os.environ["JAXTYPING_DISABLE"] = "1"  # with beartype, its type checks refuse its own arguments
pytest.importorskip("sae_bench")

from sae_bench.evals.core import main as core
from sae_bench.evals.core.eval_output import CoreEvalOutput
from sae_bench.sae_bench_utils import graphing_utils
from sae_bench.sae_bench_utils.testing_utils import validate_eval_output_format_file

from boardgame_sae.files import read_json
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.saebench.core import core_score as our_core
from boardgame_sae.metrics.saebench.core import splice
from boardgame_sae.metrics.saebench.core.splice import clean_run
from boardgame_sae.metrics.saebench.result_file import write_result_files
from boardgame_sae.saes.exchange.saebench_view import saebench_view
from boardgame_sae.saes.registry import architectures, config_class, make_sae
from boardgame_sae.testbeds.testbed import Testbed

pytestmark = pytest.mark.interop
HOOK, F, ALL = "blocks.0.hook_resid_post", 40, 10_000


@pytest.fixture(scope="module")
def bed(tiny_model, tiny_corpus):
    """All its games are one batch: two of core's numbers are means over batches, in which short ones weigh too much."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (splice, our_core):
            patched.setattr(module, "GAMES_AT_ONCE", ALL)
        yield Testbed(tiny_model, tiny_corpus, HOOK, n_games=20)


def trained_like(name, bed):
    """An SAE of an architecture whose latents are neither all on nor all off."""
    sparse = {"k": 5} if "k" in config_class(name).__dataclass_fields__ else {}
    sae = make_sae(name, d_model=bed.width, n_latents=F, **sparse)
    acts_ND = bed.activations("train")
    with torch.no_grad():
        sae.b_dec.copy_(acts_ND.mean(0))
        sae.W_dec += 0.1 * torch.randn(sae.W_dec.shape, generator=torch.Generator().manual_seed(0))
    sae.calibrate([acts_ND])
    sae.metadata = {"hook_name": HOOK, "model": "tiny"}
    return sae.inference().eval()


@pytest.fixture(scope="module")
def views(bed):
    return {name: saebench_view(trained_like(name, bed)) for name in architectures()}


@pytest.fixture(scope="module")
def scored(views, bed):
    facts = {name: {"sae": view.sae.trained_as} for name, view in views.items()}
    return {name: evaluate(view, bed, "quick", name=f"{name}-40", facts=facts[name]) for name, view in views.items()}


@pytest.fixture(scope="module")
def files(scored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    for name, scores in scored.items():
        write_result_files(Scores(scores.subject, {"core": scores["core"]}), folder / name)
    return sorted(folder.rglob("*_eval_results.json"))


def test_every_file_is_what_core_writes(files):
    assert len(files) == len(architectures())
    for file in files:
        validate_eval_output_format_file(str(file), CoreEvalOutput)
        known, written = CoreEvalOutput.__pydantic_validator__.validate_python(read_json(file)), read_json(file)
        assert vars(known.eval_config) == written["eval_config"]  # none was dropped, none filled in
        assert len(known.eval_result_details) == F


def test_its_readers_and_plots_see_every_file(files, tmp_path):
    found = graphing_utils.find_eval_results_files([str(files[0].parents[2])])
    assert sorted(found) == sorted(map(str, files))
    results, summary = graphing_utils.get_eval_results(found), graphing_utils.get_core_results(found)
    assert len(results) == len(summary) == len(files)
    assert {result["sae_class"] for result in results.values()} == set(architectures())
    marked = {*graphing_utils.TRAINER_MARKERS, "relu"}  # of further kinds it can draw one or two at a time
    seven = {key: result for key, result in results.items() if result["sae_class"] in marked}
    assert len(seven) == 7
    graphing_utils.plot_2var_graph(seven, "explained_variance", output_filename=str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").stat().st_size > 10_000


class Games:
    """The games of a testbed, as core asks for batches of tokens."""

    def __init__(self, bed):
        self.batches = iter(batch.tokens_BL[:, :-1] for batch in bed.once(clean_run).batches)

    def get_batch_tokens(self, batch_size):
        assert batch_size == ALL
        return next(self.batches)


@torch.no_grad()
@pytest.mark.parametrize("name", architectures())
def test_cores_numbers_are_its_own_on_the_same_games(name, views, bed, scored):
    view, every = views[name], dict.fromkeys(
        ("compute_l2_norms", "compute_sparsity_metrics", "compute_variance_metrics",
         "compute_featurewise_density_statistics"), True
    )  # fmt: skip
    view.cfg.architecture_str = view.cfg.architecture
    theirs, by_latent = core.get_sparsity_and_variance_metrics(
        view, bed.model.to_transformer_lens(), Games(bed), n_batches=1, **every,
        eval_batch_size_prompts=ALL, model_kwargs={}, ignore_tokens={0},
    )  # fmt: skip
    by_latent |= core.get_featurewise_weight_based_metrics(view)
    ours = scored[name]["core"].parts
    for part in ("explained_variance", "mse"):
        assert ours[f"{part}_sae_bench"] == pytest.approx(theirs.pop(part), rel=1e-4)
    assert theirs.keys() >= {"cossim", "l0", "l1", "l2_norm_in", "l2_norm_out", "l2_ratio"}
    assert {part: ours[part] for part in theirs} == pytest.approx(theirs, rel=1e-4)
    columns = scored[name]["core"].details["eval_result_details"]
    assert columns.keys() == by_latent.keys()
    for part, column in columns.items():
        expected = torch.tensor(by_latent[part]).nan_to_num(-1.0)
        torch.testing.assert_close(torch.tensor(column), expected, rtol=1e-4, atol=1e-5, msg=part)
