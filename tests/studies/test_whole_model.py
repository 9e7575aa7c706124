import csv
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from boardgame_sae import cli
from boardgame_sae.config import ConfigError
from boardgame_sae.metrics.results import Scores
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig
from boardgame_sae.probes.fit import ProbeConfig
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.study import study_run
from boardgame_sae.studies.whole_model import WholeModelStudy, best_site
from boardgame_sae.testbeds import testbed as testbeds

WIDTH = 32
SAES = (
    {"architecture": "topk", "n_latents": [24, 48], "k": 12},
    {"architecture": "topk", "n_latents": 24, "k": 6, "seed": [0, 1, 2]},
)


@torch.no_grad()
def planted_gpt(corpus):
    """A GPT that holds which squares were played in the output of attention, and not in that of the MLP.

    There every token so far is one-hot, averaged. The MLP reads the number of the token alone, which stands in the
    other dimensions at one length, so that layer norm changes nothing.
    """
    n_tokens = len(corpus.alphabet)
    cfg = GPTConfig(n_layers=1, d_model=WIDTH, n_heads=1, d_vocab=n_tokens, n_ctx=corpus.n_ctx)
    gpt, generator = GPT(cfg), torch.Generator().manual_seed(0)
    noise = normalize(torch.randn(cfg.n_ctx, WIDTH - n_tokens, generator=generator), dim=1)
    of_tokens = (torch.arange(WIDTH) < n_tokens).float()
    gpt.embed.weight.copy_(torch.eye(n_tokens, WIDTH))
    gpt.pos_embed.weight.zero_()[:, n_tokens:] = noise - noise.mean(1, keepdim=True) - 1 / (WIDTH - n_tokens)
    (block,) = gpt.blocks
    block.attn.q.weight.zero_()
    block.attn.v.weight.copy_(torch.diag(of_tokens))
    block.attn.out.weight.copy_(torch.eye(WIDTH))
    block.mlp.up.weight.copy_(torch.randn(4 * WIDTH, WIDTH, generator=generator) * (1 - of_tokens))
    block.mlp.down.weight.copy_(torch.randn(WIDTH, 4 * WIDTH, generator=generator))
    return gpt.eval()


@pytest.fixture(scope="module")
def finished(tiny_corpus, tmp_path_factory):
    """The study of a planted model."""
    root = tmp_path_factory.mktemp("planted")
    card = {"game": tiny_corpus.game.name, "tokenization": tiny_corpus.tokenizer.name, "hash": "planted"}
    gpt = planted_gpt(tiny_corpus)
    GameModel(gpt, {**card, "alphabet": list(tiny_corpus.alphabet), "gpt": vars(gpt.cfg)}).save(root / "gpt")
    bed = testbeds.testbed_run(root / "gpt", tiny_corpus.path.parent, n_games=20, out=root / "bed", device="cpu")
    cfg = WholeModelStudy(
        testbed=str(bed),
        sites=("hook_attn_out", "hook_mlp_out"),
        layers=(0,),
        properties=("occupied",),
        n_games=60,
        saes=SAES,
        training=TrainSAEConfig(n_activations=30_000, n_harvested=3000, batch_size=128),
        probes=ProbeConfig(epochs=4),
    )
    return study_run("whole_model", cfg, out=root / "study", device="cpu")


def rows_of(folder):
    with open(folder / "table.csv", newline="") as file:
        numbers = csv.DictReader(file)
        return [{k: v if k in ("site", "hook_name") else float(v or "nan") for k, v in row.items()} for row in numbers]


def test_the_table_says_which_site_holds_the_planted_board(finished):
    rows = rows_of(finished)
    assert [row["hook_name"] for row in rows] == ["blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"]
    holds, noise = rows
    names = ("linear probe", "probe as sparse", "topk 24, k = 12", "topk 48, k = 12")
    for column in (*(f"coverage {name}" for name in names), "board_reconstruction linear probe"):
        assert best_site(rows, column) is holds
        assert holds[f"{column}_low"] > noise[f"{column}_high"], column
    assert holds["coverage linear probe"] > 0.95
    assert all(
        row[f"explained_variance {name}"] > 0.9 and row[f"l0 {name}"] <= 12.5 for row in rows for name in names[2:]
    )


def test_saes_that_differ_in_their_seed_alone_are_one_column(finished):
    name, listed = "topk 24, k = 6", json.loads((finished / "sweep.json").read_text())["testbeds"]
    for row, site in zip(rows_of(finished), listed, strict=True):
        seeds = [scores for scores in map(Scores.load, site["scores"]) if scores.subject["sae"]["k"] == 6]
        assert [scores.subject["sae"]["seed"] for scores in seeds] == [0, 1, 2]
        assert row[f"seeds {name}"] == 3
        for score in ("coverage", "board_reconstruction"):
            values = [scores[score].value for scores in seeds]
            assert row[f"{score} {name}"] == pytest.approx(np.mean(values))
            low, high = row[f"{score} {name}_low"], row[f"{score} {name}_high"]
            error = np.std(values, ddof=1) / np.sqrt(3)
            assert high - low > 2 * 3 * error  # Student's t with two degrees of freedom, not a bootstrap of three
        lost = [scores["core"].sums.totals() for scores in seeds]
        mean = np.mean([float(sums["loss"][0] / sums["loss_clean"][0]) - 1 for sums in lost])
        assert row[f"loss_added {name}"] == pytest.approx(mean)


def test_its_folder_is_browsed_as_a_sweeps(finished, tmp_path, capsys):
    assert cli.main(["report", str(finished), "--out", str(tmp_path / "report")]) == 0
    assert "blocks.0.hook_mlp_out" in capsys.readouterr().out
    page = (tmp_path / "report/index.html").read_text()
    assert all(word in page for word in ("blocks.0.hook_attn_out", "topk, 24 latents, k = 12", "whole_model"))


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)], ids=["one seed", "two seeds"])
def test_two_saes_of_one_name_are_refused_unless_they_differ_in_their_seed_alone(finished, tmp_path, seeds):
    bed = finished.parent / "bed"
    saes = tuple({**SAES[0], "dead_after": n, "seed": seed} for n, seed in enumerate(seeds, 1))
    cfg = WholeModelStudy(testbed=str(bed), saes=saes)
    with pytest.raises(ConfigError, match="two are called topk 24, k = 12"):
        study_run("whole_model", cfg, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
