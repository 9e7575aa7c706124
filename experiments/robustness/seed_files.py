"""The real files that are spoilt: everything the package writes and reads, made by it, as small as can be."""

import os
import shutil
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
import zstandard
from safetensors.torch import save_file

from boardgame_sae.files import write_json
from boardgame_sae.model.exchange.exporters import hooked_weights
from boardgame_sae.model.exchange.files import WRITERS as GPT_WRITERS
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.train import train_gpt_run
from boardgame_sae.model.train_config import TrainGPTConfig
from boardgame_sae.pipeline.upload import upload_ready
from boardgame_sae.players.tournament import TournamentConfig, tournament_run
from boardgame_sae.runs import Run, runs_root
from boardgame_sae.saes.exchange import writers
from boardgame_sae.saes.load import load_sae
from boardgame_sae.shipping.pack import pack_config, pack_run
from boardgame_sae.testbeds.testbed import testbed_run
from boardgame_sae.transcripts.annotate import AnnotateConfig, annotate_run
from boardgame_sae.transcripts.corpus import Corpus
from boardgame_sae.transcripts.generate import GenerateConfig, generate_run

STUDY = {
    "name": "tiny",
    "corpus": {"game": "othello4", "n_games": 300, "validation_fraction": 0.2, "test_fraction": 0.2},
    "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_steps": 8, "batch_size": 16, "log_every": 2},
    "probes": [{"n_train_games": 32, "n_test_games": 20, "games_a_step": 16}],
    "n_games": 20,
    "training": {"n_activations": 640, "n_harvested": 300, "batch_size": 64, "log_every": 2},
    "saes": [{"architecture": "topk", "n_latents": 24, "k": 4}, {"architecture": "relu", "n_latents": 16}],
    "random_saes": [{"architecture": "topk", "n_latents": 24, "k": 4}],
}
META_SAE = {"saes": ["setup/sae"], "seeds": [0], "training": {"n_steps": 20}, "min_f1": 0.1, "n_shuffles": 3}
KILLED = TrainGPTConfig(n_layers=1, d_model=8, n_heads=2, n_steps=3, batch_size=4, log_every=1, eval_every=9)
"""A training that is stopped after its last step, with its resume state."""
RUNS = {
    "corpus": "corpus/*",
    "gpt": "gpt/*",
    "activations": "activations/*",
    "probes": "probes/board-trained-*",
    "sae": "sae/topk-*",
    "scores": "scores/topk-4-*",
}
"""What a packing makes on its way, by the name it gets here."""
PGN = """\
[Event "Rated"]
[White "a"]
[Black "b"]
[Result "1-0"]
[WhiteElo "1639"]
[BlackElo "1403"]
[TimeControl "600+8"]

1. e4 e5 2. Nf3 { a comment [%clk 0:01:00] } 2... Nc6 3. Bb5 (3. Bc4 Bc5 $1 (3... Nf6)) 3... a6 4. Bxc6 dxc6 5. O-O 1-0

[Event "Casual"]
[Result "1/2-1/2"]
; a line
1. d4! d5 2. c4 e6 3. Nc3 Nf6 4. Bg5 Be7 1/2-1/2

[Event "?"]
[SetUp "1"]
[FEN "8/8/8/4k3/8/8/4P3/4K3 w - - 0 1"]
[Result "*"]

1. e4 *
"""
ENGINE = '#!/bin/sh\ncat "$(dirname "$0")/said.txt"\nexec cat > /dev/null\n'
SAID = (
    "id name Fake 1.0\nid author x\noption name MultiPV type spin default 1 min 1 max 500\nuciok\nreadyok\n"
    + "readyok\ninfo depth 1 multipv 1 score cp 31 nodes 20 pv e2e4\ninfo depth 1 multipv 2 score mate 3 pv d2d4 d7d5\n"
    "bestmove e2e4 ponder e7e5\ninfo depth 1 multipv 1 score cp -5 pv e7e5\nbestmove e7e5\nbestmove (none)\n"
) * 2  # fmt: skip
"""What a fake engine says, whatever it is asked."""


@contextmanager
def runs_in(folder: Path) -> Iterator[None]:
    """Have runs go into a folder by default."""
    with mock.patch.dict(os.environ, BOARDGAME_SAE_RUNS=str(folder)):
        yield


def make(folder: Path) -> Path:
    """Make the setup in a folder, which is returned; one that is complete is reused."""
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        child = os.fork()  # what is made there starts threads, with which this process could fork no more
        if not child:
            try:
                _make(folder)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            raise RuntimeError(f"{folder}: cannot be made")
    return folder


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)
    with runs_in(folder / "runs"):
        pack_run(pack_config(STUDY, "study.yaml"), out=folder / "packed", device="cpu")
        for name, pattern in RUNS.items():
            shutil.copytree(min(runs_root().glob(pattern)), folder / name)
        upload_ready(folder / "scores", out=folder / "scores.parquet")
        testbed_run(folder / "gpt", folder / "corpus", n_games=20, out=folder / "testbed", device="cpu")
        _killed_training(folder)
        chess = GenerateConfig(game="chess", n_games=12, max_plies=6, validation_fraction=0.2, test_fraction=0.2)
        generate_run(chess, out=folder / "chess")
        annotate_run(folder / "chess", AnnotateConfig(engine="search:depth=1"), out=folder / "evaluations")
        players = ("random", "epsilon_greedy:epsilon=0.5")
        tournament_run(TournamentConfig(players=players, game="othello4", n_games=4), out=folder / "tournament")
    _foreign(folder)
    _texts(folder)
    (folder / "complete").touch()


def _killed_training(folder: Path) -> None:
    """A run with a resume state and without DONE."""
    with mock.patch.object(Run, "finish", side_effect=InterruptedError):
        try:
            corpus = Corpus.open(folder / "corpus")
            train_gpt_run(corpus, KILLED, out=folder / "killed", device="cpu", checkpoint_seconds=0)
        except InterruptedError:
            return


def _foreign(folder: Path) -> None:
    """SAEs and GPTs as other libraries write them."""
    sae, model = load_sae(folder / "sae"), GameModel.load(folder / "gpt", "cpu")
    for library, write in writers().items():
        write(sae, folder / library)
    GPT_WRITERS["transformer_lens"](model, folder / "transformer_lens")
    torch.save({name: weight.detach().clone() for name, weight in hooked_weights(model.gpt)}, folder / "hooked.pth")
    (folder / "nanogpt").mkdir()
    torch.save(_nanogpt(), folder / "nanogpt/ckpt.pt")
    save_file(_nanogpt()["model"], folder / "nanogpt.safetensors")


GAMES = "# othello4\nb1a1a2\n1. B1 A3 2. A4 8-2\n7,b1,c1\n"
"""Games of 4x4 Othello, one a line."""
WTHOR = struct.pack("<BBBBiHHBBBB", 20, 4, 5, 6, 2, 0, 2004, 8, 0, 22, 0) + b"".join(
    struct.pack("<HHHBB", 1, 2, 3, 40, 40) + bytes(moves).ljust(60, b"\0") for moves in ([56, 66, 65], [56, 64])
)
"""Two games of 8x8 Othello in a WTHOR database."""


def _nanogpt() -> dict[str, object]:
    """A checkpoint as nanoGPT saves it: chess, one layer of width 8."""
    width, vocabulary, context = 8, 32, 40
    shapes = {
        "transformer.wte.weight": (vocabulary, width), "transformer.wpe.weight": (context, width),
        "transformer.ln_f.weight": (width,), "lm_head.weight": (vocabulary, width),
        "transformer.h.0.ln_1.weight": (width,), "transformer.h.0.ln_2.weight": (width,),
        "transformer.h.0.attn.c_attn.weight": (3 * width, width), "transformer.h.0.attn.c_proj.weight": (width, width),
        "transformer.h.0.mlp.c_fc.weight": (4 * width, width), "transformer.h.0.mlp.c_proj.weight": (width, 4 * width),
    }  # fmt: skip
    weights = {name: torch.linspace(-0.1, 0.1, torch.Size(shape).numel()).view(shape) for name, shape in shapes.items()}
    about = {"n_layer": 1, "n_head": 2, "n_embd": width, "block_size": context, "vocab_size": vocabulary, "bias": False}
    return {"model": weights, "model_args": about, "iter_num": 1, "config": {"dataset": "chess"}}


def _texts(folder: Path) -> None:
    """What people and programs write by hand."""
    (folder / "games.pgn").write_text(PGN)
    (folder / "games.pgn.zst").write_bytes(zstandard.ZstdCompressor().compress(PGN.encode()))
    (folder / "games.txt").write_text(GAMES)
    (folder / "games.wtb").write_bytes(WTHOR)
    e2e4, d2d4, g1f3, start = 0x031C, 0x02DB, 0x0195, 0x463B96181691FC9C  # as polyglot books number them
    (folder / "book.bin").write_bytes(b"".join(struct.pack(">QHHI", start, move, 5, 0) for move in (e2e4, d2d4, g1f3)))
    (folder / "engine").mkdir()
    (folder / "engine/said.txt").write_text(SAID)
    (folder / "engine/engine.sh").write_text(ENGINE)
    (folder / "engine/engine.sh").chmod(0o755)
    write_json(folder / "study.yaml", STUDY)
    write_json(folder / "meta_sae.yaml", META_SAE)
    write_json(folder / "generate.yaml", {"game": "othello4", "players": ["random"], "n_games": 20, "seed": 3})
