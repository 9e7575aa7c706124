import csv
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.games import load_game
from boardgame_sae.model.train import TrainGPTConfig
from boardgame_sae.probes.data import Targets
from boardgame_sae.saes.registry import make_sae
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.study import study_run
from boardgame_sae.studies.variants.figure import figure
from boardgame_sae.studies.variants.question import VariantsStudy
from boardgame_sae.studies.variants.transfer import Data, cosine, fitted, halves, majority, right
from boardgame_sae.studies.variants.which import telling_latents, told
from boardgame_sae.studies.variants.world import WorldConfig, posterior
from boardgame_sae.transcripts.labels import Positions

SQUARES, CLASSES, WIDTH, N = 5, 3, 24, 3000
TARGETS = Targets(CLASSES, none=False)


def planted_board(seed, rotation=None, noise=0.05):
    """Positions whose activations are sums of a direction for what stands on each square, rotated if asked."""
    rng = np.random.default_rng(seed)
    directions_SCD = np.linalg.qr(np.random.default_rng(9).normal(size=(WIDTH, WIDTH)))[0][: SQUARES * CLASSES]
    directions_SCD = directions_SCD.reshape(SQUARES, CLASSES, WIDTH)
    classes_NS = rng.choice(CLASSES, (N, SQUARES), p=[0.5, 0.3, 0.2])
    acts_ND = directions_SCD[np.arange(SQUARES), classes_NS].sum(1) + noise * rng.normal(size=(N, WIDTH))
    if rotation is not None:
        acts_ND = acts_ND @ rotation
    return Data(torch.from_numpy(acts_ND).float(), torch.from_numpy(classes_NS), np.arange(N) // 10)


def test_probes_of_worlds_that_share_a_board_read_each_other_and_agree():
    one, other = planted_board(0), planted_board(1)
    probes = [fitted(data, TARGETS) for data in (one, other)]
    assert right(probes[0], other).mean() > 0.99
    assert cosine(*probes) > 0.95
    assert cosine(*(fitted(half, TARGETS) for half in halves(one))) > 0.95


def test_probes_of_worlds_with_rotated_boards_do_not():
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))[0]
    one, other = planted_board(0), planted_board(1, rotation)
    probes = [fitted(data, TARGETS) for data in (one, other)]
    assert right(probes[1], other).mean() > 0.99
    assert right(probes[0], other).mean() < majority(other, other) + 0.05
    assert majority(other, other) == pytest.approx(0.5, abs=0.02)
    assert abs(cosine(*probes)) < 0.2


def stub_testbeds(n_games=20, plies=6):
    """Two games, told by the sign of the first of three activations from ply 3 on."""
    game_N, ply_N = np.repeat(np.arange(n_games), plies), np.tile(np.arange(1, plies + 1), n_games)
    where = Positions(np.arange(n_games), game_N, ply_N - 1, ply_N)
    testbeds = []
    for number, sign in enumerate((-1, 1)):
        acts_ND = torch.randn(len(where), 3, generator=torch.Generator().manual_seed(number))
        acts_ND[:, 0] = torch.from_numpy(np.where(ply_N >= 3, 5.0 * sign, 0.0))
        testbeds.append(SimpleNamespace(positions=lambda _: where, activations=lambda _, acts_ND=acts_ND: acts_ND))
    return testbeds


def test_a_probe_tells_the_game_from_the_ply_on_at_which_it_is_planted():
    right_N, test = told(stub_testbeds())
    late_N = test.ply_N >= 3
    assert right_N[late_N].all()
    assert 0.3 < right_N[~late_N].mean() < 0.8


def test_the_planted_latent_of_the_game_is_found():
    sae = make_sae("relu", d_model=3, n_latents=4, subtract_b_dec=False)
    with torch.no_grad():
        sae.W_enc.zero_()
        sae.W_enc[0, 2], sae.W_enc[0, 1] = 1.0, -1.0  # latent 2 is on in the second game, 1 in the first
        sae.W_enc[1, 0] = 1.0
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    first, second = telling_latents(sae, stub_testbeds())
    assert (first.latent, second.latent) == (1, 2)
    for found in (first, second):
        assert found.f1.value == pytest.approx(2 * (4 / 6) / (1 + 4 / 6))  # on from ply 3 of 6 on, never wrongly
        assert found.precision == 1
        assert found.always == pytest.approx(2 / 3)


def test_what_can_be_known_of_the_game_is_bayes_rule():
    games = [load_game(name) for name in ("othello6", "othello6_parallel", "othello6_straight")]
    for game in games:
        moves = next(iter(game.play_games(np.array([11], np.uint64)))).tolist()
        chance_LV = posterior(games, moves)
        for ply in range(1, len(moves) + 1):
            likelihoods = []
            for other in games:
                position, likelihood = other.start(), 1.0
                for move in moves[:ply]:
                    legal = other.legal_moves(position)
                    likelihood *= (move in legal) / max(1, len(legal))
                    if not likelihood:
                        break
                    position = other.play(position, move)
                likelihoods.append(likelihood)
            np.testing.assert_allclose(chance_LV[ply - 1], np.array(likelihoods) / sum(likelihoods))
        assert chance_LV[-1].argmax() == games.index(game)
    b5 = games[0].squares.index("b5")
    np.testing.assert_allclose(posterior(games, [b5]), [[0, 1, 0]])  # a first move of the parallel start alone


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study of two games and a GPT that has hardly learned them."""
    world = WorldConfig(
        games=("othello6", "othello6_straight"),
        n_games=400,
        held_out=0.1,
        gpt=TrainGPTConfig(n_layers=2, d_model=16, n_heads=2, n_steps=10, batch_size=16, targets="expected"),
    )
    sae = {"architecture": "topk", "n_latents": 32, "k": 4}
    training = TrainSAEConfig(n_activations=4096, n_harvested=4096, batch_size=128)
    cfg = VariantsStudy(world=world, n_games=24, sae=sae, training=training, n_edits=12, seeds=(0, 1))
    return cfg, study_run("variants", cfg, out=tmp_path_factory.mktemp("variants") / "study", device="cpu")


def test_the_study_asks_every_game_about_every_other(finished):
    cfg, folder = finished
    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["what"] for row in rows] == [
        *["legal moves"] * 2, *["which game"] * 3, *["latent of the game"] * 2, *["board probe"] * 4,
        *["board edit"] * 4,
    ]  # fmt: skip
    assert {(row["of"], row["on"]) for row in rows if row["what"] == "board edit"} == {
        (f"probe of {of}", on) for of in cfg.world.games for on in cfg.world.games
    }
    for row in rows:
        assert float(row["value_low"]) <= float(row["value"]) <= float(row["value_high"]), row
    legal = rows[0], rows[1]
    assert float(legal[0]["control"]) > 0.95 > float(legal[1]["control"])  # a GPT of one game knows only that


def test_games_of_other_moves_are_refused(finished, tmp_path):
    cfg, _ = finished
    with pytest.raises(ConfigError, match="othello4 has other moves than othello6, the game of the testbed"):
        study_run("variants", replace(cfg, world=replace(cfg.world, games=("othello6", "othello4"))), out=tmp_path)
    (tmp_path / "study.yaml").write_text("world: {games: [othello6, othello6]}")
    config = str(tmp_path / "study.yaml")
    assert cli.main(["study", "variants", "--config", config, "--out", str(tmp_path / "out")]) == 2


def test_a_figure_is_drawn_of_rows():
    plies = {"plies": [1, 2], "value_by_ply": [0.3, 0.9], "control_by_ply": [0.3, 0.4], "observer_by_ply": [0.4, 1.0]}
    which = {"what": "which game", "of": "the GPT of all", "on": "blocks.0.hook_resid_post", **plies}
    probe = {"what": "board probe", "of": "probe of a", "on": "b", "value": 0.9, "cosine": 0.2}
    drawn = figure([which, {**which, "of": "the GPT of one game"}, probe], ("a", "b"))
    assert len(drawn.axes) == 4
