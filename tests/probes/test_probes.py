import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sealed import seal_again
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score

from boardgame_sae.activations.hook_points import HookError, read
from boardgame_sae.files import RunError, file_hash, read_json
from boardgame_sae.games import load_game
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.probes import data as probe_data
from boardgame_sae.probes import fit as module
from boardgame_sae.probes.data import BoardReader
from boardgame_sae.probes.fit import ProbeConfig, Targets, load_probe, probe_results, probe_run, whitening
from boardgame_sae.probes.probe import Probe
from boardgame_sae.transcripts.generate import generate

FAST = ProbeConfig(n_train_games=320, n_test_games=60, games_a_step=8, lr=0.05)
RESIDUAL = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def gaussian(n, width, seed, scale=None):
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(n, width, generator=generator)
    return x_ND if scale is None else x_ND @ scale + 3.0


def fitted(cfg, x_ND, classes_NS, n_kinds, batch=200, passes=1):
    """The probe of one hook point after minibatches of some activations."""
    fit = module._Fit(cfg, classes_NS.shape[1], n_kinds, [x_ND])
    n_steps = passes * len(x_ND) // batch
    for step in range(n_steps):
        rows = torch.arange(step * batch, (step + 1) * batch) % len(x_ND)
        fit.step([x_ND[rows]], classes_NS[rows], lr_factor=1 - step / n_steps)
    return fit.probes(Targets(n_kinds, False))[0], fit


@pytest.mark.parametrize("fit", ["minibatch", "closed_form"])
def test_a_fit_reads_separable_classes_without_error_on_fresh_activations(fit):
    """Clusters around 3 centres far apart, unevenly scaled and off the origin; two squares that name them otherwise."""
    centres_CD = 6 * torch.eye(3, 8)
    scale_DD = torch.diag(torch.logspace(-1, 1, 8))

    def clusters(seed):
        kind_N = torch.randint(3, (4000,), generator=torch.Generator().manual_seed(seed))
        x_ND = (gaussian(4000, 8, seed + 1) + centres_CD[kind_N]) @ scale_DD + 5.0
        return x_ND, torch.stack([kind_N, (kind_N + 1) % 3], dim=1)

    x_ND, classes_NS = clusters(0)
    probe, _ = fitted(ProbeConfig(fit=fit, lr=0.05), x_ND, classes_NS, 3, passes=5)
    new_ND, new_NS = clusters(10)
    assert (probe.logits(new_ND).argmax(-1) == new_NS).double().mean() > 0.999


def test_a_minibatch_fit_reaches_the_bayes_answer_where_classes_overlap():
    """Two unit Gaussians at +-mu: the log odds of the true posterior are 2 mu x, the best accuracy Phi(|mu|)."""
    mu_D = torch.tensor([0.8, -0.5, 0.0, 0.3])
    kind_N = torch.randint(2, (40_000,), generator=torch.Generator().manual_seed(0))
    x_ND = gaussian(40_000, 4, 1) + (2 * kind_N[:, None] - 1) * mu_D
    probe, _ = fitted(ProbeConfig(lr=0.05), x_ND[:30_000], kind_N[:30_000, None], 2, passes=6)
    weight_D = probe.weight_DSC[:, 0, 1] - probe.weight_DSC[:, 0, 0]
    torch.testing.assert_close(weight_D, 2 * mu_D, atol=0.08, rtol=0)
    bayes = 0.5 * (1 + torch.erf(mu_D.norm() / 2**0.5))
    right = (probe.logits(x_ND[30_000:]).argmax(-1)[:, 0] == kind_N[30_000:]).float().mean()
    assert abs(right - bayes) < 0.015
    chance = probe.probabilities(x_ND[30_000:])[:, 0, 1]
    torch.testing.assert_close(chance, torch.sigmoid(2 * x_ND[30_000:] @ mu_D), atol=0.05, rtol=0)


def test_the_closed_form_equals_least_squares_onto_one_hots_of_raw_activations():
    x_ND = gaussian(1200, 6, 0, scale=torch.randn(6, 6, generator=torch.Generator().manual_seed(5)))
    classes_NS = torch.randint(3, (1200, 4), generator=torch.Generator().manual_seed(1))
    classes_NS[:, 0] = (x_ND[:, 0] > 3).long()
    probe, _ = fitted(ProbeConfig(fit="closed_form", ridge=0.0), x_ND, classes_NS, 3)
    onehot_NSC = np.eye(3)[classes_NS.numpy()]
    model = LinearRegression().fit(x_ND.double().numpy(), onehot_NSC.reshape(len(x_ND), -1))
    np.testing.assert_allclose(probe.weight_DSC.flatten(1).T, model.coef_, atol=1e-4, rtol=0)
    np.testing.assert_allclose(probe.bias_SC.flatten(), model.intercept_, atol=1e-4, rtol=0)


def test_the_closed_form_with_a_ridge_equals_sklearns_on_whitened_activations():
    x_ND = gaussian(1000, 5, 0, scale=torch.randn(5, 5, generator=torch.Generator().manual_seed(6)))
    classes_NS = (x_ND[:, :2] + gaussian(1000, 2, 9) > 3).long()
    probe, _ = fitted(ProbeConfig(fit="closed_form", ridge=0.3), x_ND, classes_NS, 2)
    exact = x_ND.double().numpy()
    values, vectors = np.linalg.eigh(np.cov(exact.T, bias=True))
    white = (exact - exact.mean(0)) @ (vectors / np.sqrt(values + 0.3 * values.mean()))
    design = np.concatenate([white, np.ones((1000, 1))], axis=1)
    onehot_NP = np.eye(2)[classes_NS.numpy()].reshape(1000, -1)
    model = Ridge(alpha=0.3 * 1000, fit_intercept=False).fit(design, onehot_NP)
    np.testing.assert_allclose(probe.logits(x_ND).flatten(1), model.predict(design), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fit", ["minibatch", "closed_form"])
def test_the_probe_on_raw_activations_equals_the_fit_on_whitened_ones(fit):
    x_ND = gaussian(800, 5, 0, scale=torch.diag(torch.tensor([0.01, 1.0, 5.0, 0.3, 20.0])))
    probe, state = fitted(ProbeConfig(fit=fit, lr=0.05), x_ND, (x_ND[:, :3] > 3).long(), 2)
    (white_ND,) = state.inputs([x_ND])
    inside_NSC = torch.einsum("nd,dsc->nsc", white_ND, state.weights[0].detach())
    assert inside_NSC.std() > 0.05
    torch.testing.assert_close(probe.logits(x_ND), inside_NSC, rtol=1e-3, atol=1e-3)


def test_whitened_activations_have_no_mean_and_unit_covariance():
    x_ND = gaussian(3000, 5, 0, scale=torch.randn(5, 5, generator=torch.Generator().manual_seed(5))).double()
    mean_D, matrix_DD = whitening(x_ND, ridge=0.0)
    white_ND = (x_ND - mean_D) @ matrix_DD
    torch.testing.assert_close(white_ND.mean(0), torch.zeros(5).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(white_ND.T @ white_ND / 3000, torch.eye(5).double(), atol=1e-8, rtol=0)


def test_whitening_of_activations_that_do_not_vary_in_a_direction_stays_finite():
    x_ND = gaussian(300, 4, 0)
    x_ND[:, 2] = 7.0
    mean_D, matrix_DD = whitening(x_ND, ridge=1e-3)
    white_ND = (x_ND.double() - mean_D) @ matrix_DD
    assert white_ND.abs().max() < 10


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_f1_and_majority_equal_sklearns(seed):
    rng = np.random.default_rng(seed)
    n_kinds = int(rng.integers(2, 5))
    true_NS = rng.choice(n_kinds, size=(200, 6), p=rng.dirichlet(np.ones(n_kinds)))
    said_NS = np.where(rng.random((200, 6)) < 0.5, true_NS, rng.integers(0, n_kinds, (200, 6)))
    true_NS[:, 0] = np.minimum(true_NS[:, 0], n_kinds - 2)  # a class that a square never shows
    found = module._summary(module._confusion(torch.from_numpy(said_NS), torch.from_numpy(true_NS), n_kinds))
    assert found["accuracy"] == pytest.approx(accuracy_score(true_NS.ravel(), said_NS.ravel()), abs=1e-12)
    by_square = [accuracy_score(true_NS[:, s], said_NS[:, s]) for s in range(6)]
    assert found["accuracy_S"] == pytest.approx(by_square, abs=1e-6)
    kinds = range(n_kinds)
    f1_SC = [
        f1_score(true_NS[:, s], said_NS[:, s], labels=list(kinds), average=None, zero_division=0) for s in range(6)
    ]
    np.testing.assert_allclose(found["f1_SC"], f1_SC, atol=1e-6)
    seen = [f1_SC[s][c] for s in range(6) for c in kinds if (true_NS[:, s] == c).any()]
    assert found["f1"] == pytest.approx(np.mean(seen), abs=1e-12)
    majority = np.mean([max((true_NS[:, s] == c).mean() for c in kinds) for s in range(6)])
    assert found["majority_accuracy"] == pytest.approx(majority, abs=1e-12)


GROUPS = [  # labels of a square (the last axis: classes), the group and whether it may be empty, classes told apart
    ([[[1, 0], [0, 1]], [[1, 0], [1, 0]]], ("a", "b"), (2, False), [[0, 1], [0, 0]]),
    ([[[1, 0], [0, 0]], [[0, 1], [1, 0]]], ("a", "b"), (2, True), [[1, 0], [2, 1]]),
    ([[[1, 1], [0, 0]], [[0, 1], [1, 0]]], ("a", "b"), (1, True), [[1, 1, 0, 0], [0, 1, 1, 0]]),
    ([[1, 0], [0, 0]], (), (1, True), [[1, 0], [0, 0]]),
]


@pytest.mark.parametrize(("labels", "names", "target", "classes"), GROUPS)
def test_labels_that_exclude_each_other_are_one_group_and_others_stand_alone(
    tiny_corpus, labels, names, target, classes
):
    labels = np.array(labels, dtype=bool)
    prop = replace(tiny_corpus.game.property("board"), classes=names, shape=labels.shape[1:], exclusive=None)
    found = Targets.of(prop, labels)
    assert found == Targets(*target)
    assert found.classes(labels).tolist() == classes
    onehot = torch.nn.functional.one_hot(found.classes(labels), found.n_classes).float()
    assert found.columns(onehot).bool().tolist() == labels.reshape(2, -1).tolist()


def test_the_classes_of_a_board_are_those_of_its_squares(tiny_corpus):
    board = tiny_corpus.game.property("board")
    labels = tiny_corpus.game.labels("d3", ["board"])["board"]
    targets = Targets.of(board, labels)
    assert targets == Targets(3, False)
    for n, s in np.ndindex(2, 16):
        assert labels.reshape(2, 16, 3)[n, s, targets.classes(labels)[n, s]]


@pytest.fixture(scope="module")
def probed(tiny_model, tiny_corpus, tmp_path_factory):
    return probe_run(tiny_model, tiny_corpus, FAST, out=tmp_path_factory.mktemp("probes") / "run")


def test_a_probe_run_reports_every_hook_point_square_and_class(probed, tiny_corpus):
    results = probe_results(probed)
    assert results["property"] == "board"
    assert (results["n_test_games"], results["group"], results["none"]) == (60, 3, False)
    assert tuple(results["hook_points"]) == tuple(sorted(RESIDUAL))
    for found in results["hook_points"].values():
        assert set(found) == {"accuracy", "majority_accuracy", "f1", "n_positions", "accuracy_S", "f1_SC"}
        assert len(found["accuracy_S"]) == len(found["f1_SC"]) == 16
        assert found["accuracy"] == pytest.approx(np.mean(found["accuracy_S"]), abs=1e-6)
    best = read_json(probed / "DONE")["summary"]
    assert best["best_accuracy"] == max(found["accuracy"] for found in results["hook_points"].values())
    assert results["hook_points"][best["best_hook_name"]]["accuracy"] == best["best_accuracy"]


@torch.no_grad()
def test_the_reported_accuracy_is_that_of_the_saved_probe_on_test_games(probed, tiny_model, tiny_corpus):
    games = tiny_corpus.games("test")[:60]
    record = tiny_corpus.record(games)
    for hook_name in RESIDUAL:
        probe, hits, n = load_probe(probed, hook_name), 0, 0
        for place, game in enumerate(games):
            moves = [int(move) for move in record.moves_M[record.offsets[place] : record.offsets[place + 1]]]
            board = tiny_corpus.game.property("board").evaluate(tiny_corpus.game.boards(type(record).of([moves])))
            tokens_1L = torch.from_numpy(tiny_corpus.rows(np.array([game]))[0][:, :-1])
            acts_LD = read(tiny_model.gpt, tokens_1L, [hook_name])[hook_name][0]
            n_read = min(len(moves), tiny_corpus.n_ctx)
            said_NS = probe.logits(acts_LD[:n_read]).argmax(-1).numpy()
            true_NS = board[1 : n_read + 1].reshape(n_read, 16, 3).argmax(-1)
            hits, n = hits + int((said_NS == true_NS).sum()), n + true_NS.size
        assert probe_results(probed)["hook_points"][hook_name]["accuracy"] == pytest.approx(hits / n, abs=1e-3)


def test_fitted_probes_beat_the_majority_and_unfitted_ones_do_not(probed, tiny_model, tiny_corpus, tmp_path):
    idle = ProbeConfig(n_train_games=8, n_test_games=60, games_a_step=8, lr=1e-12)
    unfitted = probe_results(probe_run(tiny_model, tiny_corpus, idle, out=tmp_path / "idle"))["hook_points"]
    for hook_name, found in probe_results(probed)["hook_points"].items():
        assert found["accuracy"] > found["majority_accuracy"] + 0.05
        assert unfitted[hook_name]["accuracy"] < found["accuracy"] - 0.05


def test_a_boolean_property_is_read_by_two_classes_a_square(tiny_model, tiny_corpus, tmp_path):
    cfg = ProbeConfig(
        property="legal_move", hook_names=("blocks.0.mlp.hook_post",), fit="closed_form", n_train_games=50
    )
    folder = probe_run(tiny_model, tiny_corpus, cfg, out=tmp_path / "legal")
    probe = load_probe(folder, "blocks.0.mlp.hook_post")
    assert probe.weight_DSC.shape == (64, 16, 2)
    assert probe.bias_SC.shape == (16, 2)
    found = probe_results(folder)["hook_points"]["blocks.0.mlp.hook_post"]
    assert found["accuracy"] > found["majority_accuracy"]


def test_a_finished_probe_run_is_reused(probed, tiny_model, tiny_corpus):
    before = {path.name: path.stat().st_mtime_ns for path in probed.iterdir()}
    assert probe_run(tiny_model, tiny_corpus, FAST, out=probed) == probed
    assert {path.name: path.stat().st_mtime_ns for path in probed.iterdir()} == before


KILLED = """
import os, signal, sys
from boardgame_sae.probes import fit as probes
from boardgame_sae.config import from_mapping
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.transcripts.corpus import Corpus
import json
model, corpus = GameModel.load(sys.argv[1], "cpu"), Corpus.open(sys.argv[2])
os.fsync = lambda file: None  # a kill, unlike a power cut, loses nothing that was written
probes.CHECKPOINT_SECONDS = 0
real, steps = probes._Fit.step, []
def step(*arguments, **options):
    steps.append(1)
    if len(steps) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
probes._Fit.step = step
probes.probe_run(model, corpus, from_mapping(probes.ProbeConfig, json.loads(sys.argv[4])), out=sys.argv[3])
"""


def test_a_probe_run_killed_halfway_resumes_to_the_same_bytes(probed, tiny_model, tiny_corpus, tmp_path, monkeypatch):
    tiny_model.save(tmp_path / "model")
    out, fields = tmp_path / "run", json.dumps(read_json(probed / "run.json")["config"])
    driver = [sys.executable, "-c", KILLED, str(tmp_path / "model"), str(tiny_corpus.path), str(out), fields]
    killed = subprocess.run(driver, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (out / "state.safetensors").exists()
    assert not (out / "DONE").exists()
    n_steps, real = [], module._Fit.step
    monkeypatch.setattr(module._Fit, "step", lambda *a, **b: (n_steps.append(1), real(*a, **b))[1])
    probe_run(tiny_model, tiny_corpus, FAST, out=out)
    assert len(n_steps) == 40 - 14
    for name in ("probes.safetensors", "probes.json", "metrics.jsonl"):
        assert file_hash(out / name) == file_hash(probed / name), name


def test_a_closed_form_run_broken_off_resumes_to_the_same_bytes(tiny_model, tiny_corpus, tmp_path, monkeypatch):
    cfg = ProbeConfig(fit="closed_form", n_train_games=64, n_test_games=5, games_a_step=8)
    whole = probe_run(tiny_model, tiny_corpus, cfg, out=tmp_path / "whole")
    real, n_steps = module._Fit.step, []

    def broken(*arguments, **options):
        n_steps.append(1)
        if len(n_steps) == 5:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(module._Fit, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        probe_run(tiny_model, tiny_corpus, cfg, out=tmp_path / "broken")
    probe_run(tiny_model, tiny_corpus, cfg, out=tmp_path / "broken")
    assert len(n_steps) == 5 + 4
    assert file_hash(tmp_path / "broken/probes.safetensors") == file_hash(whole / "probes.safetensors")


def test_bad_names_are_errors_before_a_folder_is_made(tiny_model, tiny_corpus, tmp_path):
    with pytest.raises(HookError, match=r"blocks\.7"):
        probe_run(tiny_model, tiny_corpus, ProbeConfig(hook_names=("blocks.7.hook_resid_post",)), out=tmp_path / "a")
    with pytest.raises(ValueError, match="unknown othello property 'bord'; did you mean 'board'"):
        probe_run(tiny_model, tiny_corpus, ProbeConfig(property="bord"), out=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_probe_is_an_error_that_names_file_and_hook_point(probed, tmp_path):
    with pytest.raises(RunError, match=r"has no probe at 'blocks\.0\.hook_mlp_out'"):
        load_probe(probed, "blocks.0.hook_mlp_out")
    with pytest.raises(RunError, match="no such file") as caught:
        load_probe(tmp_path, RESIDUAL[0])
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "probes.json").write_bytes((probed / "probes.json").read_bytes())
    for data in (None, (probed / "probes.safetensors").read_bytes()[:100]):
        if data is not None:
            (tmp_path / "probes.safetensors").write_bytes(data)
        with pytest.raises(RunError, match=r"probes\.safetensors: (no such file|truncated or damaged)"):
            load_probe(tmp_path, RESIDUAL[0])


@pytest.fixture
def copy_of_probed(probed, tmp_path):
    shutil.copytree(probed, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_probe_that_is_not_finite_is_named(copy_of_probed, value):
    weights = load_file(copy_of_probed / "probes.safetensors")
    weights[f"{RESIDUAL[0]}/bias"][0, 0] = value
    save_file(weights, copy_of_probed / "probes.safetensors")
    seal_again(copy_of_probed)
    with pytest.raises(RunError, match=rf"probes\.safetensors: tensor '{RESIDUAL[0]}/bias' holds NaN or infinite"):
        load_probe(copy_of_probed, RESIDUAL[0])


@pytest.mark.parametrize(("field", "value"), [("group", "3"), ("none", None), ("property", 1), ("hook_points", [])])
def test_a_field_of_another_type_is_named(copy_of_probed, field, value):
    about = json.loads((copy_of_probed / "probes.json").read_text())
    (copy_of_probed / "probes.json").write_text(json.dumps({**about, field: value}))
    seal_again(copy_of_probed)
    with pytest.raises(RunError, match=rf"probes\.json: field '{field}' is "):
        load_probe(copy_of_probed, RESIDUAL[0])


def test_a_probe_that_diverges_ends_with_its_step_and_its_games(tiny_model, tiny_corpus, tmp_path):
    with pytest.raises(RunError, match=r"the loss is nan at step \d+, .* training games \d+ to .*; lower lr"):
        probe_run(tiny_model, tiny_corpus, ProbeConfig(hook_names=RESIDUAL[:1], lr=1e30), out=tmp_path / "run")
    assert not (tmp_path / "run/probes.safetensors").exists()


def test_probabilities_are_the_softmax_of_the_logits_over_classes():
    probe = Probe(gaussian(12, 1, 0).view(2, 2, 3), gaussian(2, 3, 1), Targets(3, False))
    x_ND = gaussian(4, 2, 2)
    for n, s in np.ndindex(4, 2):
        logits = [float(x_ND[n] @ probe.weight_DSC[:, s, c] + probe.bias_SC[s, c]) for c in range(3)]
        share = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(probe.probabilities(x_ND)[n, s], share, rtol=1e-5)


def test_a_declaration_decides_and_not_the_luck_of_the_first_games():
    chess, othello = load_game("chess"), load_game("othello")
    nothing = np.zeros((5, 6), bool)
    assert Targets.of(chess.property("skill"), nothing) == Targets(6, False), "the unknown are left out"
    assert Targets.of(chess.property("has_queen"), np.ones(5, bool)) == Targets(1, True), "always true so far"
    line = othello.property("line")
    assert Targets.of(line, np.zeros((5, *line.shape), bool)) == Targets(1, True), "declared to overlap"
    assert Targets.of(chess.property("piece_moved"), np.zeros((5, 8, 8, 12), bool)) == Targets(12, True)
    start = chess.property("piece").evaluate(chess.boards(chess.record(["e4"])))
    assert Targets.of(chess.property("piece"), start) == Targets(13, False)


def test_a_group_that_turns_out_to_have_no_class_is_an_error_and_not_class_0():
    with pytest.raises(ValueError, match="none of 3 classes is true somewhere"):
        Targets(3, False).classes(np.array([[0, 1, 0], [0, 0, 0]], bool))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Chess by players of three temperatures, and the same games with half of White's skills forgotten."""
    fields = {"game": "chess", "players": ["search:depth=1,temperature=8/1/0.25"], "max_plies": 16, "n_games": 160}
    corpus = generate(**fields, test_fraction=0.3, out=tmp_path_factory.mktemp("chess") / "graded")
    known = np.array(corpus.arrays["games/skill_first"])
    half = replace(corpus, arrays={**corpus.arrays, "games/skill_first": np.where(np.arange(160) % 2, known, -1)})
    return corpus, half


@pytest.fixture(scope="module")
def writer(graded):
    """An untrained GPT of characters."""
    cfg = GPTConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=63, d_vocab=32)
    card = {"game": "chess", "tokenization": "char", "alphabet": list(graded[0].alphabet), "hash": "writer"}
    return GameModel(GPT(cfg, seed=0).eval(), card)


SKILL = ProbeConfig(property="skill", fit="closed_form", hook_names=("blocks.0.hook_resid_post",), games_a_step=16)


def skill_results(writer, corpus, out, **changes):
    folder = probe_run(writer, corpus, replace(SKILL, **changes), out=out)
    return folder, probe_results(folder), probe_results(folder)["hook_points"]["blocks.0.hook_resid_post"]


@torch.no_grad()
def test_extremes_are_the_lowest_and_the_highest_class_told_apart_by_their_logits(writer, graded, tmp_path):
    corpus, _ = graded
    folder, about, found = skill_results(writer, corpus, tmp_path / "run")
    assert (about["group"], about["none"], about["positions"]) == (6, False, "dot")
    reading = BoardReader(writer, corpus, SKILL.hook_names)
    where, _, (acts_ND,) = reading(corpus.games("test"))
    skill_N = np.array(corpus.arrays["games/skill_first"])[where.games_B][where.game_N]  # at the dots White moves
    logits_NC = load_probe(folder, SKILL.hook_names[0]).logits(acts_ND)[:, 0].numpy()
    assert logits_NC.shape == (len(skill_N), 6)
    assert set(skill_N) == {0, 1, 2}
    ends_N = skill_N != 1
    right_N = np.where(logits_NC[:, 2] > logits_NC[:, 0], 2, 0)[ends_N] == skill_N[ends_N]
    ends = found["extremes"]
    assert (ends["low"], ends["high"], ends["n_positions"]) == ("skill 0", "skill 2", ends_N.sum())
    assert ends["accuracy"] == pytest.approx(right_N.mean(), abs=2 / len(right_N))
    low = (skill_N[ends_N] == 0).mean()
    assert ends["majority_accuracy"] == pytest.approx(max(low, 1 - low), abs=1e-9)
    assert found["accuracy"] == pytest.approx((logits_NC.argmax(1) == skill_N).mean(), abs=2 / len(skill_N))


def test_a_class_alone_has_no_extremes():
    beats = torch.tensor([[0, 3, 3], [0, 0, 0], [0, 0, 0]])
    assert module._extremes(beats, torch.tensor([3, 0, 0]), ("a", "b", "c"), 0) is None
    assert module._extremes(beats, torch.tensor([3, 4, 0]), ("none", "b", "c"), 1) is None, "none is no class"


def test_positions_of_unknown_skill_are_neither_fitted_nor_scored(writer, graded, tmp_path):
    corpus, half = graded
    all_of_them = skill_results(writer, corpus, tmp_path / "all")[2]["n_positions"]
    games = half.games("test")
    where = BoardReader(writer, half, SKILL.hook_names).boards(games)[0]
    known = int((np.array(half.arrays["games/skill_first"])[games][where.game_N] >= 0).sum())
    folder, about, found = skill_results(writer, half, tmp_path / "half")
    assert 0 < found["n_positions"] == known < all_of_them == len(where)
    assert about["none"] is False
    assert load_probe(folder, SKILL.hook_names[0]).bias_SC.shape == (1, 6)


def test_min_ply_leaves_out_the_positions_before_it(writer, graded, tmp_path):
    corpus, _ = graded
    where = BoardReader(writer, corpus, SKILL.hook_names).boards(corpus.games("test"))[0]
    for min_ply in (0, 6):
        _, about, found = skill_results(writer, corpus, tmp_path / str(min_ply), min_ply=min_ply)
        assert about["min_ply"] == min_ply
        assert 0 < found["n_positions"] == (where.ply_N >= min_ply).sum()
    with pytest.raises(ValueError, match=r"nothing to probe 'skill' on: .*17 plies or more.*'skill_first' is known"):
        skill_results(writer, corpus, tmp_path / "late", min_ply=17)


def test_skill_that_nobody_knows_is_an_error_that_says_how_to_get_it(writer, graded, tmp_path):
    corpus, _ = graded
    without = {name: values for name, values in corpus.arrays.items() if not name.startswith("games/skill")}
    with pytest.raises(ValueError, match=r"'skill' needs 'skill_first', .*temperatures.*PGN with Elo"):
        skill_results(writer, replace(corpus, arrays=without), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    unknown = {**corpus.arrays, "games/skill_first": np.full(160, -1, np.int8)}
    with pytest.raises(ValueError, match=r"nothing to probe 'skill' on: .*temperatures"):
        skill_results(writer, replace(corpus, arrays=unknown), tmp_path / "none")


def test_probes_that_share_a_reading_are_those_that_do_not(writer, graded, tmp_path):
    corpus, _ = graded
    reading = BoardReader(writer, corpus, SKILL.hook_names, kept_bytes=2**24)
    for name in ("skill", "piece"):
        cfg = replace(SKILL, property=name)
        shared = probe_run(writer, corpus, cfg, out=tmp_path / f"{name}-shared", reading=reading)
        alone = probe_run(writer, corpus, cfg, out=tmp_path / name)
        assert file_hash(shared / "probes.safetensors") == file_hash(alone / "probes.safetensors")
        assert probe_results(shared) == probe_results(alone)


def test_what_is_probed_by_default_is_the_games_own_board(writer, graded, tmp_path):
    cfg = replace(SKILL, property=None, n_train_games=16, n_test_games=16)
    folder = probe_run(writer, graded[0], cfg, out=tmp_path / "run")
    assert probe_results(folder)["property"] == "piece" == read_json(folder / "run.json")["config"]["property"]


def test_a_second_pass_is_read_from_memory_and_fits_better(tiny_model, tiny_corpus, tmp_path, monkeypatch):
    read, times = probe_data.read, []
    monkeypatch.setattr(probe_data, "read", lambda *args: times.append(1) or read(*args))
    found = {}
    for epochs in (1, 5):
        cfg = ProbeConfig(n_train_games=256, games_a_step=64, epochs=epochs, n_test_games=60)
        times.clear()
        folder = probe_run(tiny_model, tiny_corpus, cfg, out=tmp_path / str(epochs))
        found[epochs] = (len(times), probe_results(folder)["hook_points"]["blocks.1.hook_resid_post"]["accuracy"])
    assert found[5][0] == found[1][0]
    assert found[5][1] > found[1][1]
