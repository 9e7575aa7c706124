"""The published inner functions of SCR, TPP and absorption on our tensors; and what SAEBench reads of every score.

Where the published function is right, numbers agree to 1e-4. Where it is not, the test says by how much it differs.
"""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted import HOOK, planted, trained_sae

os.environ["JAXTYPING_DISABLE"] = "1"  # with beartype, its type checks refuse its own arguments
pytest.importorskip("sae_bench")

import pandas as pd
import sae_bench.evals
from sae_bench.evals.absorption import k_sparse_probing
from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator
from sae_bench.evals.absorption.main import _aggregate_results_df
from sae_bench.evals.base_eval_output import BaseEvalOutput
from sae_bench.evals.scr_and_tpp import main as scr_and_tpp
from sae_bench.evals.sparse_probing.probe_training import Probe
from sae_bench.sae_bench_utils import graphing_utils
from sae_bench.sae_bench_utils.testing_utils import validate_eval_output_format_file

from boardgame_sae.files import read_json
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.saebench import absorption
from boardgame_sae.metrics.saebench.ablation import scr, tpp
from boardgame_sae.metrics.saebench.ablation.effects import (
    N_ABLATED,
    alignment,
    largest,
    logits_without,
    mean_differences,
)
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.data.linear import fit
from boardgame_sae.metrics.saebench.data.probes import rows_of
from boardgame_sae.metrics.saebench.result_file import write_result_files
from boardgame_sae.metrics.subject import Subject

pytestmark = pytest.mark.interop
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
TPP = tpp.TPPConfig(n_sets=1, n_train=200, n_test=100)
SCR = scr.SCRConfig(n_pairs=1, n_train=200, n_test=100)
ABSORPTION = absorption.AbsorptionConfig(n_parents=4, n_train=200, n_test=100)


@pytest.fixture(scope="module")
def bed(tiny_corpus):
    return planted(tiny_corpus, properties=("mine_yours", "occupied", "legal_move"), n_games=110)


@pytest.fixture(scope="module")
def sae(bed):
    """At 12 latents on per position it explains most, and its threshold-free latents are on at zero, too."""
    return trained_sae(bed, n_latents=600)


@pytest.fixture(scope="module")
def subject(sae, bed):
    return Subject("trained", "sae", sae, bed)


def their_probe(classifier):
    probe = Probe(len(classifier.weight_D), torch.float32)
    with torch.no_grad():
        probe.net.weight.copy_(torch.from_numpy(classifier.weight_D)[None])
        probe.net.bias.fill_(classifier.bias)
    return probe


# Effects, selection and ablation


@pytest.fixture(scope="module")
def concept(bed):
    """A probed concept."""
    return bed.once(tpp.probed_sets, TPP)[0][0]


@pytest.fixture(scope="module")
def acts_ND(bed, concept):
    """Train activations of its examples."""
    return torch.from_numpy(rows_of(bed, "train", concept.examples["train"].row_N))


def ours_and_theirs(subject, sae, concept, acts_ND, perform_scr):
    """Effects of every latent on the probe, by our functions and by theirs; with two classes nothing is drawn."""
    train = concept.examples["train"]
    difference_F = mean_differences(latent_rows(subject, "train", train.row_N), train.true_N)
    if not perform_scr:
        difference_F = np.maximum(difference_F, 0)
    ours_F = difference_F * alignment(subject, concept.classifier)
    names = ("male / female", "female_data_only") if perform_scr else ("true", "false")
    of_class = dict(zip(names, (acts_ND[train.true_N][:, None], acts_ND[~train.true_N][:, None]), strict=True))
    given = (their_probe(concept.classifier), names[0], of_class, perform_scr, 64)
    theirs_F = scr_and_tpp.get_effects_per_class_precomputed_acts(sae, *given)
    return np.abs(ours_F) if perform_scr else ours_F, theirs_F


@pytest.mark.parametrize("perform_scr", [True, False], ids=["scr", "tpp"])
def test_effects_are_the_published_ones(subject, sae, concept, acts_ND, perform_scr):
    ours_F, theirs_F = ours_and_theirs(subject, sae, concept, acts_ND, perform_scr)
    assert np.abs(ours_F).max() > 0.05
    np.testing.assert_allclose(ours_F, theirs_F.detach(), **CLOSE)


def test_the_same_latents_are_chosen_until_published_selection_fills_up_with_those_of_no_effect(
    subject, sae, concept, acts_ND
):
    ours_F, theirs_F = ours_and_theirs(subject, sae, concept, acts_ND, perform_scr=False)
    n_helpful, n_harmful = int((ours_F > 0).sum()), int((ours_F < 0).sum())
    assert n_helpful < 500 < len(ours_F)
    for n in N_ABLATED:
        theirs = scr_and_tpp.select_top_n_features(theirs_F, n, "true").numpy()
        ours = np.isin(np.arange(len(ours_F)), largest(ours_F, n))
        assert (ours & ~theirs).sum() == 0
        without_effect = theirs & ~ours
        assert without_effect.sum() == max(0, min(n, n_helpful + n_harmful) - n_helpful)
        assert (ours_F[without_effect] <= 0).all()
    assert without_effect.sum() > 50, "the size of the difference at n = 500"


def test_scr_chooses_the_same_latents_at_every_n(subject, sae, concept, acts_ND):
    ours_F, theirs_F = ours_and_theirs(subject, sae, concept, acts_ND, perform_scr=True)
    for n in N_ABLATED:
        theirs = scr_and_tpp.select_top_n_features(theirs_F, n, "x").nonzero()[:, 0].tolist()
        assert set(theirs) == set(largest(ours_F, n).tolist())


@torch.no_grad()
def test_ablated_activations_give_the_logits_that_are_computed_without_rebuilding_them(
    subject, sae, concept, acts_ND, bed
):
    row_N, probe = concept.examples["train"].row_N, concept.classifier
    latents_NF, alignment_F = latent_rows(subject, "train", row_N), alignment(subject, probe)
    ours_F, _ = ours_and_theirs(subject, sae, concept, acts_ND, perform_scr=False)
    for n in (2, 20):
        chosen = largest(ours_F, n)
        mask = torch.zeros(len(ours_F), dtype=torch.bool)
        mask[chosen] = True
        theirs_ND = scr_and_tpp.ablated_precomputed_activations(acts_ND[:, None], sae, mask, 64)
        ours_N = logits_without(probe.logits(acts_ND.numpy()), latents_NF, alignment_F, chosen)
        np.testing.assert_allclose(ours_N, their_probe(probe)(theirs_ND), **CLOSE)
        assert np.abs(ours_N - probe.logits(acts_ND.numpy())).max() > 0.5


@torch.no_grad()
def test_published_padding_leaks_what_the_latents_are_at_zero(sae, acts_ND):
    padded_NLD = torch.nn.functional.pad(acts_ND[:, None], (0, 0, 0, 3))  # a position and three rows of zeros
    on_at_zero_F = sae.encode(torch.zeros(1, sae.cfg.d_model))[0]
    mask = on_at_zero_F > 0
    assert mask.any()
    alone_ND = scr_and_tpp.ablated_precomputed_activations(acts_ND[:, None], sae, mask, 64)
    leaked_ND = scr_and_tpp.ablated_precomputed_activations(padded_NLD, sae, mask, 64) - alone_ND
    torch.testing.assert_close(leaked_ND, (-3 * on_at_zero_F @ sae.W_dec).expand_as(leaked_ND), **CLOSE)
    assert leaked_ND[0].norm() > 0.1 * acts_ND.norm(dim=1).mean(), "the size of the difference"


# Scores from accuracies


def test_tpp_totals_are_the_published_ones_of_our_accuracies(subject, bed):
    value = tpp.tpp_score(subject, TPP)
    sets = bed.once(tpp.probed_sets, TPP)
    counts = tpp._counts(subject, sets, [[tpp._ranked(subject, probe) for probe in sets[0]]], "test")
    of_all = {name: count.sum(0).reshape(tpp.SET_SIZE, tpp.SET_SIZE) for name, count in counts.items()}
    accuracy = {n: of_all[f"right_{n}"] / of_all["asked"] for n in (0, *N_ABLATED)}
    names = [probe.concept.name for probe in sets[0]]
    clean = dict(zip(names, accuracy[0][0].tolist(), strict=True))
    ablated = {
        name: {n: dict(zip(names, accuracy[n][i].tolist(), strict=True)) for n in N_ABLATED}
        for i, name in enumerate(names)
    }
    theirs, _ = scr_and_tpp.create_tpp_plotting_dict(ablated, clean)
    for n in N_ABLATED:
        assert value.parts[f"top_{n}"] == pytest.approx(theirs[f"tpp_threshold_{n}_total_metric"], abs=1e-4)
    best = value.details["n_ablated"]
    for part in ("intended", "unintended"):
        assert value.parts[part] == pytest.approx(theirs[f"tpp_threshold_{best}_{part}_diff_only"], abs=1e-4)
    assert value.value > 0.05


BOTH, FIRST, SECOND = "male_professor / female_nurse", "male / female", "professor / nurse"


def their_shares(clean, biased, ablated):
    """What SAEBench makes of accuracies on two attributes; dir1 asks about the second of its names."""
    asked = (SECOND, FIRST)
    accuracies = {BOTH: 0.0} | dict(zip(asked, clean, strict=True))
    accuracies |= {f"{BOTH} probe on {name} data": part for name, part in zip(asked, biased, strict=True)}
    after = {
        spurious: {n: {f"{BOTH} probe on {name} data": part} for n, part in by_n.items()}
        for spurious, name, by_n in zip((FIRST, SECOND), asked, ablated, strict=True)
    }
    return scr_and_tpp.get_scr_plotting_dict(after, accuracies)


def test_scr_shares_beside_ours_are_the_published_ones_of_our_accuracies(subject, bed):
    value, biases = scr.scr_score(subject, SCR), bed.once(scr.biased_probes, SCR)
    chosen = [[scr.attributed(subject, bias, spurious) for spurious in (1, 0)] for bias in biases]
    counts = scr._counted(subject, biases, chosen, "test")
    accuracy = {name: count.sum(0) / counts["asked"].sum(0) for name, count in counts.items()}
    ablated = [{n: accuracy[f"right_{n}"][kept] for n in N_ABLATED} for kept in range(2)]
    theirs = their_shares(accuracy["clean"], accuracy["biased"], ablated)
    assert value.details["eval_result_metrics"]["scr_metrics"] == pytest.approx(theirs, abs=1e-4)
    within = [share for share in theirs.values() if -1 <= share <= 1]
    assert len(within) < len(theirs) or value.parts["top_2"] == pytest.approx(
        np.mean([theirs[f"scr_dir{d + 1}_threshold_2"] for d in range(2) if value.details["counts"][d]]), abs=1e-4
    )


def our_share(clean, biased, ablated):
    counts = {"asked": [1e4], "clean": [1e4 * clean], "biased": [1e4 * biased]}
    counts |= {f"right_{n}": [1e4 * ablated] for n in (*N_ABLATED, "chosen")}
    return scr.SHARES.compute({name: np.array([count]) for name, count in counts.items()}, {})["value"][0]


def test_a_published_share_has_no_lower_bound_where_ours_ends_at_minus_one():
    theirs = their_shares([0.712, 0.9], [0.7105, 0.6], [{2: 0.5}, {2: 0.75}])
    assert theirs["scr_dir1_threshold_2"] == pytest.approx(-0.2105 / 0.0015)  # -140: the size of the difference
    assert our_share(0.712, 0.7105, 0.5) == -1
    assert theirs["scr_dir2_threshold_2"] == pytest.approx(our_share(0.9, 0.6, 0.75), abs=1e-4)


def test_a_tie_has_no_published_score_and_one_of_ours():
    theirs = their_shares([0.9, 0.9], [0.6, 0.6], [{2: 0.75}, {2: 0.9}])
    assert "scr_metric_threshold_2" not in theirs
    assert our_share(0.9, 0.6, 0.75) == pytest.approx(0.5)


# Absorption


class Activations:
    """A model whose words are a letter and the number of an example, and whose activations are given."""

    def __init__(self, acts_ND):
        self.acts_ND = acts_ND

    def to_tokens(self, prompt):
        return [[0]]

    def run_with_cache(self, prompts, names_filter):
        rows = [int(prompt.strip()[1:]) for prompt in prompts]
        return None, {HOOK: self.acts_ND[rows][:, None]}


def their_absorption(sae, acts_ND, weight_D, main):
    about = {"max_icl_examples": 0, "base_template": "{word}", "word_token_pos": -1, "batch_size": 64}
    calculator = FeatureAbsorptionCalculator(Activations(acts_ND), [], **about)
    words = [f"w{number}" for number in range(len(acts_ND))]
    direction_D = torch.from_numpy(weight_D).float()
    found = calculator.calculate_absorption(sae, words, direction_D, main, 0, show_progress=False).word_results
    return [word.absorption_fraction for word in found], [word.is_full_absorption for word in found]


@pytest.fixture(scope="module")
def read(subject, bed):
    """By parent: positions its probe reads right, their latents, its probe and its main latents."""
    families = []
    for family in bed.once(absorption.probed_parents, ABSORPTION):
        main, _ = absorption.main_latents(subject, family.examples)
        test = family.examples["test"]
        acts_ND = rows_of(bed, "test", test.row_N)
        read_N = test.true_N & (family.probe.logits(acts_ND) > 0)
        latents_NF = latent_rows(subject, "test", test.row_N)[read_N]
        families.append((torch.from_numpy(acts_ND[read_N]), latents_NF, family.probe.weight_D, main))
    assert families
    return families


def our_absorption(sae, acts_ND, latents_NF, weight_D, main):
    W_dec = sae.W_dec.detach().double().numpy()
    return absorption.published_absorption(acts_ND.double().numpy(), latents_NF, W_dec, weight_D, main)


def test_absorption_of_every_position_is_the_published_one(sae, read):
    seen = []
    for acts_ND, latents_NF, weight_D, main in read:
        for main_latents in (main, main[:1]):
            fraction_N, full_N = our_absorption(sae, acts_ND, latents_NF, weight_D, main_latents)
            theirs = their_absorption(sae, acts_ND, weight_D, main_latents)
            np.testing.assert_allclose(fraction_N, theirs[0], **CLOSE)
            assert full_N.tolist() == theirs[1]
            seen += fraction_N.tolist()
    assert np.std(seen) > 0.05, "else nothing is tested"


def test_absorption_of_a_parent_is_aggregated_as_published(subject, bed, sae, read):
    rows, told = [], []
    for letter, (acts_ND, latents_NF, weight_D, main) in zip("abcd", read, strict=False):
        fraction_N, full_N = our_absorption(sae, acts_ND, latents_NF, weight_D, main)
        told.append((fraction_N.mean(), full_N.mean(), len(main)))
        rows += [
            {"letter": letter, "absorption_fraction": fraction, "is_full_absorption": full,
             "num_probe_true_positives": len(fraction_N), "split_feats": main}
            for fraction, full in zip(fraction_N, full_N, strict=True)
        ]  # fmt: skip
    theirs = _aggregate_results_df(pd.DataFrame(rows))
    columns = ["mean_absorption_fraction", "full_absorption_rate", "num_split_feats"]
    np.testing.assert_allclose(theirs[columns].to_numpy(float), told, **CLOSE)
    metrics = absorption.absorption_score(subject, ABSORPTION).details["eval_result_metrics"]["mean"]
    assert metrics["mean_absorption_fraction_score"] == pytest.approx(theirs[columns[0]].mean(), abs=1e-4)
    assert metrics["std_dev_full_absorption_score"] == pytest.approx(theirs[columns[1]].std(), abs=1e-4)


@torch.no_grad()
def test_longer_decoder_rows_change_the_published_fraction_and_not_our_score(sae, bed, subject, read):
    """The same reconstruction by rows of norm 2 and latents of half the size: published, 0 turns to 1 and back."""
    longer = SimpleNamespace(encode=lambda x: sae.encode(x) / 2, W_dec=2 * sae.W_dec, device=sae.device)
    changes = []
    for acts_ND, _, weight_D, main in read:
        (before, _), (after, _) = (their_absorption(one, acts_ND, weight_D, main) for one in (sae, longer))
        changes += np.abs(np.subtract(before, after)).tolist()
    assert max(changes) > 0.3, "the size of the difference"
    halved = SimpleNamespace(encode=longer.encode, decode=lambda z: sae.decode(2 * z), W_dec=longer.W_dec)
    scaled = Subject("longer", "sae", halved, bed)
    before, after = (absorption.absorption_score(one, ABSORPTION) for one in (subject, scaled))
    assert after.value == pytest.approx(before.value, abs=1e-4)


def test_main_latents_stop_where_published_feature_splits_stop(subject, bed, monkeypatch):
    examples = bed.once(absorption.probed_parents, ABSORPTION)[0].examples
    rng, k = np.random.default_rng(0), absorption.MOST_MAIN
    monkeypatch.setattr(k_sparse_probing, "LETTERS", "a")
    n_main = set()
    for _ in range(30):
        scores = np.cumsum(rng.choice([0.0, 0.029, 0.031, 0.1, -0.05], k)) + 0.2
        given = iter(scores.tolist())
        monkeypatch.setattr(absorption, "f1", lambda *counts, given=given: next(given))
        main, _ = absorption.main_latents(subject, examples)
        row = {f"f1_sparse_sae_{n}": [score] for n, score in enumerate(scores, 1)}
        row |= {f"sparse_sae_k_{n}_feats": [np.arange(n)] for n in range(1, k + 1)}
        frame = pd.DataFrame({"letter": ["a"], **row})
        k_sparse_probing.add_feature_splits_to_metrics_df(frame, k, absorption.GAIN)
        assert len(main) == len(frame["split_feats"].iloc[0])
        n_main.add(len(main))
    assert len(n_main) >= 3


def test_a_refit_on_few_latents_is_the_published_one(subject, bed):
    """On balanced examples of latents of variance 1, as ours are penalised: published, the scale of a latent counts."""
    train = bed.once(absorption.probed_parents, ABSORPTION)[0].examples["train"]
    latents_NF = latent_rows(subject, "train", train.row_N).toarray()
    latents_NF = latents_NF[:, latents_NF.std(0) > 0]
    latents_NF = (latents_NF / latents_NF.std(0)).astype(np.float32)
    identity = SimpleNamespace(encode=lambda x: x, device=torch.device("cpu"), dtype=torch.float32)
    identity.cfg = SimpleNamespace(d_sae=latents_NF.shape[1])
    labels = [("", int(true)) for true in train.true_N]
    given = {"ks": (1, 3), "num_epochs": 2, "precalc_sae_acts": True}
    probes = k_sparse_probing.train_k_sparse_probes(identity, labels, torch.from_numpy(latents_NF), **given)
    for k in (1, 3):
        theirs = probes[k][1]
        ours = fit(latents_NF[:, theirs.feature_ids.numpy()], train.true_N)
        np.testing.assert_allclose(ours.weight_D, theirs.weight, rtol=1e-3, atol=1e-4)
        assert ours.bias == pytest.approx(float(theirs.bias), abs=1e-3)


# Result files


def output_classes():
    """The classes of SAEBench's result files, by the name of the evaluation."""
    for path in Path(sae_bench.evals.__path__[0]).glob("*/eval_output.py"):
        importlib.import_module(f"sae_bench.evals.{path.parent.name}.eval_output")
    return {cls.__dataclass_fields__["eval_type_id"].default.default: cls for cls in BaseEvalOutput.__subclasses__()}


DRAWN = ("core", "sparse_probing", "scr", "tpp", "absorption", "autointerp", "unlearning")
"""Evaluations that its plots know."""


@pytest.fixture(scope="module")
def files(sae, bed, tmp_path_factory):
    scores = evaluate(sae, bed, "saebench", name="trained", facts={"sae": sae.trained_as})
    folder = tmp_path_factory.mktemp("scored")
    write_result_files(scores, folder)
    return sorted(folder.rglob("*_eval_results.json"))


def test_every_score_writes_what_saebench_declares_and_nothing_that_it_drops(files):
    classes = output_classes()
    assert {"core", "sparse_probing", "scr", "tpp", "absorption", "autointerp"} <= {file.parent.name for file in files}
    for file in files:
        written = read_json(file)
        cls = classes[written["eval_type_id"]]
        validate_eval_output_format_file(str(file), cls)
        known = cls.__pydantic_validator__.validate_python(written)
        own = {name: value for name, value in written["eval_config"].items() if name != "model_name"}
        assert vars(known.eval_config).items() >= own.items(), file  # all files say the model, not all configs there
        for group, numbers in written["eval_result_metrics"].items():
            assert vars(getattr(known.eval_result_metrics, group)).items() >= numbers.items(), file
        for row, kept in zip(written["eval_result_details"], known.eval_result_details, strict=True):
            own = {name: value for name, value in row.items() if name != "index"}  # which core's rows have there
            assert vars(kept).items() >= own.items(), file


def test_absorption_names_no_first_letters(files):
    (file,) = [file for file in files if file.parent.name == "absorption"]
    written = read_json(file)
    assert written["eval_type_id"] == "absorption_first_letter" and written["eval_result_details"] == []
    assert written["eval_result_unstructured"]["by_parent"][0]["parent"]


def test_its_readers_see_every_file_of_an_evaluation_that_they_know(files, tmp_path):
    known = [file for file in files if file.parent.name in DRAWN]
    assert len(known) >= 6
    for file in known:
        # the kind is told by the path, so that other names in it, such as pytest's, must not decide
        copy = tmp_path_of(file, tmp_path)
        ((_, result),) = graphing_utils.get_eval_results([str(copy)]).items()
        assert (result["sae_class"], result["d_sae"]) == ("topk", graphing_utils.get_d_sae_string(600))
        numbers = [value for value in result.values() if isinstance(value, float)]
        assert numbers and np.isfinite(numbers).all()


def tmp_path_of(file, folder):
    """A copy of a file whose path names nothing but the evaluation."""
    copy = folder / file.parent.name / file.name
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    return copy
