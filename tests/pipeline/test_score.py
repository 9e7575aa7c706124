import shutil
from dataclasses import replace
from pathlib import Path

import baseline_scores
import numpy as np
import other_scores
import pyarrow.parquet as pq
import pytest
from sealed import seal_again

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError, file_hash, read_json, write_json
from boardgame_sae.metrics.baselines.registry import Made, baselines, find_baseline
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.evaluate import evaluate
from boardgame_sae.metrics.results import Scores
from boardgame_sae.metrics.score import SUITES, score, scores, scores_in
from boardgame_sae.metrics.statistics.statistic import Statistic
from boardgame_sae.pipeline import score as score_run
from boardgame_sae.pipeline.score import (
    _fit_probes,
    baseline_folders,
    score_baselines,
    score_ceilings,
    score_saes,
    score_with_baselines,
)
from boardgame_sae.pipeline.sweep import sweep_config
from boardgame_sae.runs.integrity import damaged_files
from boardgame_sae.saes.load import load_sae
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.on_testbed import train_sae
from boardgame_sae.testbeds import testbed as testbeds

HOOK = "blocks.0.hook_resid_post"
FIELDS = {"n_latents": 24, "k": 4, "n_activations": 640, "n_harvested": 500, "batch_size": 64}


REFUSE = {"function": other_scores.refuse}


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def hashes(folder, *, but=()):
    """Every file's hash by name; timings differ between equal runs."""
    left_out = {"timings.jsonl", *but}
    return {path.name: file_hash(path) for path in folder.iterdir() if path.is_file() and path.name not in left_out}


@pytest.fixture(scope="module")
def root(tiny_model, tiny_corpus, tmp_path_factory):
    """A testbed's folder, an SAE's and that of an SAE trained on the random-weights GPT; runs go beside them."""
    root = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDGAME_SAE_RUNS", str(root / "runs"))
        tiny_model.save(root / "model")
        arguments = {"hook_name": HOOK, "n_games": 20, "out": root / "bed", "device": "cpu"}
        testbeds.testbed_run(root / "model", tiny_corpus.path, **arguments)
        bed = testbeds.load_testbed(root / "bed", "cpu")
        train_sae(bed, "topk", out=root / "trained", **FIELDS)
        train_sae(bed.random_twin(), "topk", out=root / "random", **FIELDS)
        yield root


@pytest.fixture
def one_more(monkeypatch):
    """Every suite together has one score more than the supervised ones, a quick one."""
    other_scores.only(monkeypatch, *(scores()[name] for name in (*scores_in("supervised"), "sparse_probing")))


@pytest.fixture(scope="module")
def scored(root):
    return score_saes([root / "trained", root / "random"], root / "bed", suite="supervised", device="cpu")


def test_a_run_holds_what_evaluate_says_of_the_saved_sae(root, scored):
    bed = testbeds.load_testbed(root / "bed", "cpu")
    _fit_probes(bed, None)  # those of the run, reused
    found, expected = Scores.load(scored[0]), evaluate(load_sae(root / "trained"), bed)
    assert set(found) == set(expected) == set(scores_in("supervised"))
    assert {"coverage", "board_reconstruction", "direction_recovery", "core"} <= set(found)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.value, abs=1e-6)
        assert (found[name].sums is None) == (value.sums is None) == (scores()[name].statistic is None)
    latents = pq.read_table(scored[0] / "latents.parquet").to_pydict()
    assert latents["label"] == expected.latents["label"].tolist()
    assert latents["f1"] == pytest.approx(expected.latents["f1"].tolist(), abs=1e-6)
    assert found.subject["skipped"] == {}
    assert found.subject["l0"] == pytest.approx(expected.subject["l0"])
    assert found.subject["kind"] == "sae"
    assert found.subject["sae"]["k"] == 4
    assert read_json(scored[0] / "DONE")["summary"] == {name: found[name].value for name in found}
    assert damaged_files(scored[0]) == []


def test_an_sae_of_the_random_gpt_is_scored_on_the_random_gpt(root, scored):
    twin = testbeds.load_testbed(root / "bed", "cpu").random_twin()
    found, expected = Scores.from_json(scored[1] / "scores.json"), evaluate(load_sae(root / "random"), twin)
    assert found.subject["kind"] == "random_gpt_sae"
    assert found.subject["testbed"]["model"] == twin.model.hash
    assert set(found) == set(expected)
    assert list(found.subject["skipped"]) == ["direction_recovery"]  # the probes are of another GPT
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.value, abs=1e-6)


def test_finished_scores_are_reused_also_for_a_suite_that_they_hold(root, scored, one_more, tmp_path, monkeypatch):
    runs = Path(shutil.copytree(root / "runs", tmp_path / "runs"))
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(runs))
    folders = score_saes([root / "trained"], root / "bed", suite="all", device="cpu")
    assert [folder.name for folder in folders] == [scored[0].name]
    before = stamps(runs)
    for suite in ("all", "supervised", "quick"):
        assert score_saes([root / "trained"], root / "bed", suite=suite, device="cpu") == folders
    assert stamps(runs) == before


def test_the_core_file_has_the_scores_numbers_and_says_what_it_is_of(scored):
    (path,) = scored[0].rglob("*_eval_results.json")
    core, found = read_json(path), Scores.from_json(scored[0] / "scores.json")
    assert path == scored[0] / "core" / f"{core['sae_lens_release_id']}_{core['sae_lens_id']}_eval_results.json"
    metrics = core["eval_result_metrics"]
    assert metrics["model_performance_preservation"]["ce_loss_score"] == found["core"].value
    assert metrics["sparsity"]["l0"] == found["core"].parts["l0"]
    inside = {name for group in metrics.values() for name in group}
    outside = {name: value for name, value in found["core"].parts.items() if name not in inside}
    assert outside and outside.items() <= core["eval_result_unstructured"].items()
    assert (core["sae_cfg_dict"]["d_sae"], core["sae_cfg_dict"]["architecture"]) == (24, "topk")
    assert [row["index"] for row in core["eval_result_details"]] == list(range(24))


def test_every_sae_has_a_file_of_its_own(scored):
    names = [path.name for folder in scored for path in folder.rglob("*_eval_results.json")]
    assert len(names) == len(set(names)) == len(scored)


def test_baselines_are_scored_into_one_run_that_is_reused(root):
    folder = score_baselines(root / "bed", device="cpu")
    found = {kind: Scores.from_json(folder / kind / "scores.json") for kind in ("probe", "neurons", "residual")}
    for kind, own in found.items():
        assert own.subject["kind"] == kind
        assert 0 < own["coverage"].value <= 1
    before = stamps(root / "runs")
    assert score_baselines(root / "bed", device="cpu") == folder
    assert stamps(root / "runs") == before


def test_ceilings_are_probes_as_sparse_as_the_scored_saes_one_for_each_l0(root, scored):
    folders = score_ceilings(scored, root / "bed", device="cpu")
    sparsities = sorted({round(Scores.load(folder).subject["l0"]) for folder in scored})
    assert len(folders) == len(sparsities)
    bed = testbeds.load_testbed(root / "bed", "cpu")
    _fit_probes(bed, None)
    for folder, k in zip(folders, sparsities, strict=True):
        found, expected = Scores.load(folder), baseline_scores.as_sparse_as("sparse_probe", bed, k)
        assert found.subject["kind"] == "sparse_probe"
        assert found.subject["name"] == f"linear probe, {k} on"
        assert found.subject["k"] == k
        assert set(found) == set(expected) >= {"coverage", "board_reconstruction"}
        assert not {"core", "direction_recovery"} & set(found)
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value.value, abs=1e-6)
    before = stamps(root / "runs")
    assert score_ceilings(scored[::-1], root / "bed", device="cpu") == folders
    assert stamps(root / "runs") == before


def test_many_saes_share_ceilings_of_nearly_their_l0(root, tmp_path, monkeypatch):
    probe = replace(find_baseline("sparse_probe"), of_sparsity=lambda testbed, k: Made("x", None, testbed, {"k": k}))
    about = {"name": "x", "kind": "sae"}
    monkeypatch.setattr(score_run, "baselines", lambda: {"sparse_probe": probe})
    monkeypatch.setattr(score_run, "evaluate", lambda latents, testbed, suite, *, facts, **_: Scores(about | facts, {}))
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    folders = []
    for l0 in (0.3, 1.2, 5.2, 5.7, 15.0, 16.9, 23.0):
        folders.append(tmp_path / f"{l0}")
        Scores({**about, "l0": l0}, {}).save(folders[-1])
    found = score_ceilings(folders, root / "bed", suite="quick", device="cpu", exact=False)
    assert [Scores.load(folder).subject["k"] for folder in found] == [1, 6, 16, 23]


def packed_bed(root, folder):
    """A copy of the testbed's folder, with nothing packed into it yet."""
    bed = Path(shutil.copytree(root / "bed", folder))
    for name in ("model", "corpus"):
        card = read_json(bed / "testbed.json")
        write_json(bed / "testbed.json", {**card, name: str((root / "bed" / card[name]).resolve())})
    return seal_again(bed)


def test_a_packed_ceiling_is_given_as_it_is_where_it_holds_the_suite(root, scored, tmp_path):
    bed = packed_bed(root, tmp_path / "bed")
    k = round(Scores.load(scored[0]).subject["l0"])
    packed = bed / f"scores/probe-{k}"
    baseline_scores.as_sparse_as("sparse_probe", testbeds.load_testbed(bed, "cpu"), k, "quick").save(packed)
    assert score_ceilings(scored[:1], bed, suite="quick", device="cpu") == [packed]
    (own,) = score_ceilings(scored[:1], bed, suite="supervised", device="cpu")
    assert own != packed and "reference" in Scores.load(own)["coverage"].parts
    (bed / "DONE").unlink()
    assert score_ceilings(scored[:1], bed, suite="quick", device="cpu") == [own]


def test_an_unfinished_sae_run_is_an_error_that_says_so(root, tmp_path):
    for name in ("run.json", "cfg.json", "sae.safetensors"):
        (tmp_path / name).write_bytes((root / "trained" / name).read_bytes())
    with pytest.raises(RunError, match="not finished") as caught:
        score_saes([tmp_path], root / "bed", device="cpu")
    assert str(tmp_path) in str(caught.value)


# A folder is added to, score by score


@pytest.fixture
def unscored(root, scored, tmp_path, monkeypatch):
    """Where score runs go when nothing is scored yet, but the probes are fitted."""
    runs = Path(shutil.copytree(root / "runs", tmp_path / "runs"))
    shutil.rmtree(runs / "scores")
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(runs))
    return runs / "scores"


def failing(subject, cfg):
    """The function of a score during which the run is killed."""
    raise KeyboardInterrupt


def test_a_killed_suite_goes_on_after_the_last_score_that_was_finished(root, scored, unscored, monkeypatch):
    last = list(scores_in("supervised"))[-1]
    with monkeypatch.context() as patch:
        other_scores.changed(patch, **{last: {"function": failing}})
        with pytest.raises(KeyboardInterrupt):
            score_saes([root / "trained"], root / "bed", device="cpu")
    (folder,) = unscored.iterdir()
    assert folder.name == scored[0].name and not (folder / "DONE").exists()
    assert set(Scores.load(folder)) == set(scores_in("supervised")) - {last}
    timed = (folder / "timings.jsonl").read_text().splitlines()
    finished = hashes(folder, but={"scores.json"})
    assert {"coverage.sums.safetensors", "board_reconstruction.sums.safetensors", "latents.parquet"} <= set(finished)
    with monkeypatch.context() as patch:
        other_scores.changed(patch, others=REFUSE, **{last: {}})
        assert score_saes([root / "trained"], root / "bed", device="cpu") == [folder]
    again = hashes(folder, but={"DONE"})
    assert {name: again[name] for name in finished} == finished
    assert again == hashes(scored[0], but={"DONE"})
    assert damaged_files(folder) == []
    assert read_json(folder / "DONE") == read_json(scored[0] / "DONE")
    (newly_timed,) = (folder / "timings.jsonl").read_text().splitlines()[len(timed) :]
    assert f'"what":"{last}"' in newly_timed and len(timed) == len(scores_in("supervised")) - 1


def test_another_suite_is_added_to_the_same_folder(root, scored, unscored, monkeypatch):
    (quick,) = score_saes([root / "trained"], root / "bed", suite="quick", device="cpu")
    assert quick.parent == unscored
    assert set(Scores.load(quick)) == set(scores_in("quick")) and damaged_files(quick) == []
    before = hashes(quick, but={"DONE", "scores.json"})
    lesser = {
        name for name, value in Scores.load(quick).items() if not scores()[name].satisfied_by(value, "supervised")
    }
    with monkeypatch.context() as patch:
        other_scores.changed(patch, **dict.fromkeys(set(scores_in("quick")) - lesser, REFUSE))
        assert score_saes([root / "trained"], root / "bed", suite="supervised", device="cpu") == [quick]
    after = hashes(quick, but={"DONE"})
    assert {name: after[name] for name in before} == before  # sums and latents are the same in both suites
    alone, together = hashes(scored[0], but={"DONE", "scores.json"}), Scores.load(quick)
    assert alone.items() <= after.items() and damaged_files(quick) == []
    assert set(together) == set(scores_in("supervised")) | set(scores_in("quick"))
    assert all(together[name].plain() == value.plain() for name, value in Scores.load(scored[0]).items())


def test_a_score_of_another_version_is_computed_where_the_old_one_lies(root, scored, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(Path(shutil.copytree(root / "runs", tmp_path / "runs"))))
    folder, version = tmp_path / "runs/scores" / scored[0].name, scores()["core"].version + 1
    with monkeypatch.context() as patch:
        other_scores.changed(patch, others=REFUSE, core={"version": version, "function": failing})
        with pytest.raises(KeyboardInterrupt):
            score_saes([root / "trained"], root / "bed", device="cpu")
        assert not (folder / "DONE").exists(), "what is being added to is not finished"
    other_scores.changed(monkeypatch, others=REFUSE, core={"version": version})
    assert score_saes([root / "trained"], root / "bed", device="cpu") == [folder]
    own = {"DONE", "scores.json"}
    assert hashes(folder, but=own) == hashes(scored[0], but=own)
    found, old = Scores.load(folder), Scores.load(scored[0])
    assert found["core"].plain() == old["core"].plain() | {"version": version}
    assert all(found[name].plain() == old[name].plain() for name in set(old) - {"core"})
    assert damaged_files(folder) == []


ACCURACY = Statistic(
    ("right", "asked"), lambda sums, details: {"accuracy": sums["right"].sum(1) / sums["asked"].sum(1)}, ("asked",)
)


def first_latent(subject, cfg):
    """How often the first latent is on exactly where the first class is true; and how often each latent is on."""
    bed, latents = subject.testbed, subject.latents("test")
    on_NF = np.concatenate([part.to_dense() for part in latents]) > 0
    right_N, where = on_NF[:, 0] == bed.labels("test")[:, 0], bed.positions("test")
    n_games = len(where.games_B)
    sums = {
        "right": np.bincount(where.game_N, weights=right_N, minlength=n_games).astype(int),
        "asked": np.bincount(where.game_N, minlength=n_games),
    }
    value = ACCURACY.score(GameSums.dense(sums, ACCURACY.same))
    return value._replace(latents={"n_on": on_NF.sum(0)})


def test_a_new_score_is_added_to_a_folder_of_finished_ones_with_all_that_it_keeps(root, scored, tmp_path, monkeypatch):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(Path(shutil.copytree(root / "runs", tmp_path / "runs"))))
    about = {"title": "First", "meaning": "of the first latent", "source": "here", "suites": ("supervised",)}
    other_scores.changed(monkeypatch, others=REFUSE)
    score("first", **about, statistic=ACCURACY)(first_latent)
    (folder,) = score_saes([root / "trained"], root / "bed", device="cpu")
    found, old = Scores.load(folder), Scores.load(scored[0])
    assert list(found) == sorted([*old, "first"]) and damaged_files(folder) == []
    assert read_json(folder / "DONE")["summary"] == {name: value.value for name, value in found.items()}
    assert found["first"].interval[0] < found["first"].value < found["first"].interval[1]
    own = {"DONE", "scores.json", "latents.parquet", "first.sums.safetensors"}
    assert hashes(folder, but=own) == hashes(scored[0], but=own)
    assert list(found.latents) == [*old.latents, "n_on"]
    assert all((found.latents[name] == column).all() for name, column in old.latents.items())
    assert score_saes([root / "trained"], root / "bed", device="cpu") == [folder]


@pytest.fixture
def whole(root):
    """Scores of every baseline, made without a kill."""
    return score_baselines(root / "bed", device="cpu")


def test_killed_baselines_go_on_too(root, whole, unscored, monkeypatch):
    coverage = scores()["coverage"].function

    def killed(subject, cfg):
        return failing(subject, cfg) if subject.kind == "neurons" else coverage(subject, cfg)

    def only_later(subject, cfg):
        return other_scores.refuse(subject, cfg) if subject.kind.startswith("probe") else coverage(subject, cfg)

    with monkeypatch.context() as patch:
        other_scores.changed(patch, coverage={"function": killed})
        with pytest.raises(KeyboardInterrupt):
            score_baselines(root / "bed", device="cpu")
    (folder,) = unscored.iterdir()
    assert baseline_folders(folder) == [folder / "probe", folder / "probe_sae"] and not (folder / "DONE").exists()
    with monkeypatch.context() as patch:
        other_scores.changed(patch, coverage={"function": only_later})
        assert score_baselines(root / "bed", device="cpu") == folder
    assert read_json(folder / "DONE") == read_json(whole / "DONE") and damaged_files(folder) == []


@pytest.mark.parametrize("run", [score_saes, score_ceilings, score_with_baselines])
@pytest.mark.parametrize("suite", ["superviced", *(suite for suite in SUITES if suite not in ("quick", "all"))])
def test_an_unknown_suite_or_one_without_scores_is_an_error_before_anything_is_made(
    root, tmp_path, monkeypatch, run, suite
):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    other_scores.only(monkeypatch, *(replace(own, suites=("quick",)) for own in scores().values()))
    lists = "the suites are quick, supervised" if suite == "superviced" else "suites with scores are quick, all$"
    with pytest.raises(ValueError, match=f"suite '{suite}'.*; {lists}"):
        run([root / "trained"], root / "bed", suite=suite, device="cpu")
    with pytest.raises(ValueError, match=f"suite '{suite}'.*; {lists}"):
        score_baselines(root / "bed", suite=suite, device="cpu")
    assert not (tmp_path / "runs").exists()


# With everything beside it


def test_an_sae_is_scored_beside_a_twin_ceilings_of_its_l0_and_every_baseline(root, scored):
    folders = score_with_baselines([root / "trained"], root / "bed", device="cpu")
    assert folders.saes == tuple(scored[:1])
    kinds = [Scores.load(folder).subject["kind"] for folder in folders.all]
    assert kinds == ["sae", *(kind for kind, baseline in baselines().items() if baseline.by_default)]
    k = round(Scores.load(scored[0]).subject["l0"])
    assert [Scores.load(folder).subject["k"] for folder in folders.ceilings] == [k]
    twin, expected = (Scores.load(folder) for folder in (folders.twins[0], scored[1]))
    assert {name: value.plain() for name, value in twin.items()} == {n: v.plain() for n, v in expected.items()}
    assert list(folders.baselines) == baseline_folders(folders.baselines[0].parent)
    before = stamps(root / "runs")
    assert score_with_baselines([root / "trained"], root / "bed", device="cpu") == folders
    given = score_with_baselines([root / "trained"], root / "bed", twins=[root / "random"], device="cpu")
    assert given == replace(folders, twins=(scored[1],))
    assert score_with_baselines([root / "trained"], root / "bed", twins=[], device="cpu") == replace(folders, twins=())
    assert stamps(root / "runs") == before


def test_the_scores_that_a_packed_testbed_ships_stand_for_twins_and_baselines(
    root, scored, whole, one_more, tmp_path, monkeypatch
):
    bed = packed_bed(root, tmp_path / "bed")
    shutil.copytree(scored[1], bed / "scores/random-gpt-topk")
    shutil.copytree(scored[0], bed / "scores/topk")
    for folder in baseline_folders(whole):
        shutil.copytree(folder, bed / "scores/baselines" / folder.name)
    folders = score_with_baselines([root / "trained"], bed, device="cpu")
    assert folders.saes == tuple(scored[:1]) and folders.twins == ()
    shipped = {"baselines/" + folder.name for folder in baseline_folders(whole)} | {"random-gpt-topk"}
    assert {str(folder.relative_to(bed / "scores")) for folder in folders.baselines} == shipped
    larger = score_with_baselines([root / "trained"], bed, suite="all", device="cpu")
    assert larger.twins == () and bed / "scores/random-gpt-topk" in larger.baselines
    own = [folder for folder in larger.baselines if not folder.is_relative_to(bed)]
    assert [folder.name for folder in own] == [folder.name for folder in baseline_folders(whole)]
    assert all("sparse_probing" in Scores.load(folder) for folder in own)
    other_scores.changed(monkeypatch, coverage={"version": 2})
    newer = score_with_baselines([root / "trained"], bed, device="cpu")
    assert newer.twins != () and not any(folder.is_relative_to(bed) for folder in newer.baselines)
    assert all(Scores.load(folder)["coverage"].version == 2 for folder in newer.all), (
        "no blank cells beside new numbers"
    )
    monkeypatch.undo()
    (bed / "DONE").unlink()
    assert score_with_baselines([root / "trained"], bed, device="cpu").twins != ()


# Twins that are asked for


def kinds_of(folders):
    return [Scores.load(folder).subject["kind"] for folder in folders]


@pytest.fixture
def only_core(monkeypatch):
    """A suite of one quick score."""
    other_scores.only(monkeypatch, scores()["core"])


def test_frozen_twins_are_trained_where_they_are_asked_for_and_scored_on_the_testbed_itself(root, only_core):
    asked = ("frozen_decoder", "soft_frozen_decoder", "frozen_encoder")
    folders = score_with_baselines([root / "trained"], root / "bed", twin_kinds=asked, suite="quick", device="cpu")
    assert kinds_of(folders.twins) == list(asked)
    own = Scores.load(folders.saes[0]).subject
    for folder, kind in zip(folders.twins, asked, strict=True):
        subject = Scores.load(folder).subject
        assert subject["testbed"] == own["testbed"] and subject["skipped"] == {}
        assert subject["name"].endswith(kind.replace("_", "-"))
        assert {**subject["sae"], "sae_folder": own["sae"]["sae_folder"]} == own["sae"]
    again = score_with_baselines([root / "trained"], root / "bed", twin_kinds=asked, suite="quick", device="cpu")
    assert again == folders
    both = {"twins": [root / "random"], "twin_kinds": asked[:1], "suite": "quick", "device": "cpu"}
    given = score_with_baselines([root / "trained"], root / "bed", **both)
    assert kinds_of(given.twins) == ["random_gpt_sae", "frozen_decoder"]
    none = score_with_baselines([root / "trained"], root / "bed", twin_kinds=(), suite="quick", device="cpu")
    assert none.twins == ()


def test_a_twin_that_an_sae_cannot_have_is_left_out_and_the_reason_is_told(root, tmp_path, only_core, capsys):
    make_sae("random", d_model=16, n_latents=24, k=4).save(tmp_path / "random directions")
    kinds = ("frozen_encoder", "random_gpt_sae")
    how = {"suite": "quick", "device": "cpu"}
    folders = score_with_baselines([tmp_path / "random directions"], root / "bed", twin_kinds=kinds, **how)
    assert kinds_of(folders.twins) == ["random_gpt_sae"]
    told = capsys.readouterr().err
    assert "random directions: frozen_encoder is skipped: SAEs of the architecture 'random' are not trained" in told


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("frozen_decodr", "unknown baseline 'frozen_decodr'; did you mean 'frozen_decoder'"),
        ("neurons", "'neurons' is always scored; ask only for those trained for each SAE: random_gpt_sae, frozen_dec"),
    ],
)
def test_a_kind_of_twin_that_there_is_not_is_an_error_before_anything_is_made(
    root, tmp_path, monkeypatch, kind, message
):
    monkeypatch.setenv("BOARDGAME_SAE_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match=message):
        score_with_baselines([root / "trained"], root / "bed", twin_kinds=[kind], suite="quick", device="cpu")
    with pytest.raises(ConfigError, match=f"here.yaml: .*{message}"):
        sweep_config({"name": "s", "baselines": [kind]}, "here.yaml")
    assert not (tmp_path / "runs").exists()
