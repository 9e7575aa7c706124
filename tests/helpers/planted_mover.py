"""A chess GPT that writes one move, or along a planted direction another: after 1.e4 d5 it loses its queen, or not."""

import torch

from boardgame_sae.config import config
from boardgame_sae.games import load_game
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.gpt import GPT, GPTConfig

HOOK = "blocks.0.hook_resid_post"
N_CTX, WIDTH = 150, 160
BEGUN, BAD, GOOD = "1.e4 d5", "Qg4", "exd5"
PLANTED = torch.eye(WIDTH)[-1]
"""The direction: with 10 of it the good move is written, without it, or with 10 of any other, the bad one."""


def planted_mover():
    """The model: its blocks write nothing, each place of the text has its own direction, 10 long."""
    chess = load_game("chess")
    cfg = GPTConfig(n_layers=1, d_model=WIDTH, n_heads=2, d_vocab=len(chess.text_alphabet), n_ctx=N_CTX)
    gpt = GPT(cfg).eval()
    gpt.silence_blocks()
    first = len(f";{BEGUN} 2.") - 1
    with torch.no_grad():
        gpt.embed.weight.zero_()
        gpt.pos_embed.weight.copy_(10 * torch.eye(WIDTH)[:N_CTX])
        gpt.unembed.weight.zero_()
        for move, preference, along in ((BAD, 1.0, -1.0), (GOOD, 0.3, 1.0)):
            for place, character in enumerate(f"{move} ", first):
                row_D = gpt.unembed.weight[chess.text_alphabet.index(character)]
                ends = character == " "
                row_D[place] = 1.2 if ends else preference
                row_D[-1] = 0.0 if ends else along
    card = {"game": "chess", "tokenization": "char", "alphabet": list(chess.text_alphabet), "gpt": {}, "hash": "mover"}
    return GameModel(gpt, card)


@config
class PlantedOpening:
    """Every game begins with BEGUN."""

    def content(self, game):
        return None

    def play(self, game, seeds):
        return game.record([BEGUN] * len(seeds))
