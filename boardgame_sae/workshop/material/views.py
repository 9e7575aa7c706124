"""What the lessons show: boards with what a GPT, its layers and its latents say of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from boardgame_sae.activations.hook_points import read
from boardgame_sae.games import Game
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.notebook import pictures, table
from boardgame_sae.probes.probe import Probe
from boardgame_sae.testbeds.testbed import Testbed

SHORT = {"mine": "m", "yours": "y", "empty": ""}
"""How what a layer believes of a square is written on it."""


class View(str):
    """HTML that a notebook draws."""

    def _repr_html_(self) -> str:
        return str(self)


def first_plies(game: Game, text: str, n_plies: int) -> str:
    """The first moves of a written game."""
    return "".join(game.split(text)[:n_plies])


def legal_after(game: Game, text: str) -> Tensor:
    """bool (plies + 1, alphabet): what may be played at each position of a written game, the start first."""
    return torch.from_numpy(np.asarray(game.legal_tokens(game.boards(game.record([text])))))


def chances_on_board(testbed: Testbed, text: str, n_plies: int) -> View:
    """The board after some plies (at least one), each square as warm as the GPT's probability of a move there."""
    game, model = testbed.corpus.game, testbed.model
    begun = first_plies(game, text, n_plies)
    chances_V = testbed.run_with_hooks(begun)[0, -1].softmax(-1)
    heat_S = np.array([_chance(model, chances_V, square) for square in game.squares])
    position = game.replay(begun)[-1]
    legal = {move: f"{heat_S[move]:.2f}".removeprefix("0") for move in game.legal_moves(position) if move < len(heat_S)}
    picture = game.picture(position, heat=heat_S.reshape(game.shape), scale=1.0, marks=legal, size=320)
    mover = "Black" if game.mover(position) else "White"
    return View(pictures([(picture, f"after {n_plies} plies, {mover} to move; numbers stand on legal moves")]))


def _chance(model: GameModel, chances_V: Tensor, square: str) -> float:
    return float(chances_V[model.alphabet.index(square)]) if square in model.alphabet else 0.0


def residual_stream(testbed: Testbed) -> tuple[str, ...]:
    """The embedding and the residual stream after every block."""
    blocks = (f"blocks.{layer}.hook_resid_post" for layer in range(testbed.model.gpt.cfg.n_layers))
    return ("blocks.0.hook_resid_pre", *blocks)


def whole_games(testbed: Testbed, split: str, n_games: int) -> list[str]:
    """Games of a split as texts, as far as the GPT reads them; those that end earlier are left out."""
    game, n_ctx = testbed.corpus.game, testbed.model.gpt.cfg.n_ctx
    texts = game.texts(testbed.corpus.record(testbed.corpus.games(split)[: 2 * n_games]))
    return [first_plies(game, text, n_ctx) for text in texts if len(game.split(text)) > n_ctx][:n_games]


def acts_of(testbed: Testbed, texts: str | Sequence[str], hook_names: Sequence[str]) -> dict[str, Tensor]:
    """(games x plies, width) at each hook point, as the GPT reads games of one length; game by game, ply by ply."""
    with torch.no_grad():
        acts = read(testbed.model.gpt, testbed.model.encode(texts), hook_names)
    return {name: acts_BLD.flatten(0, 1).float().cpu() for name, acts_BLD in acts.items()}


def beliefs(testbed: Testbed, text: str, n_plies: int) -> dict[str, Tensor]:
    """(squares, classes): each layer's probabilities of mine, yours and empty, by its probe, after some plies."""
    names = residual_stream(testbed)
    acts = acts_of(testbed, first_plies(testbed.corpus.game, text, n_plies), names)
    return {name: _board_probe(testbed, name).probabilities(acts[name][-1:])[0] for name in names}


def believed(testbed: Testbed, text: str, n_plies: int, hook_name: str) -> list[str]:
    """What one layer believes to stand on each square after some plies: `mine`, `yours` or `empty`."""
    chances_SC = beliefs(testbed, text, n_plies)[hook_name]
    return [testbed.corpus.game.contents[content] for content in chances_SC.argmax(-1).tolist()]


def _board_probe(testbed: Testbed, hook_name: str) -> Probe:
    return testbed.once(Testbed.probe, hook_name, "board")


def believed_board(testbed: Testbed, text: str, n_plies: int, hook_name: str, square: str) -> View:
    """The true board and what one layer believes of it; and what every layer believes of one square."""
    game = testbed.corpus.game
    position = game.replay(first_plies(game, text, n_plies))[-1]
    by_layer = beliefs(testbed, text, n_plies)
    contents, chances_SC = game.contents, by_layer[hook_name]
    believed_S = chances_SC.argmax(-1).tolist()
    marks = {s: SHORT[contents[c]] for s, c in enumerate(believed_S) if SHORT[contents[c]]}
    heat_S = (chances_SC[:, contents.index("mine")] - chances_SC[:, contents.index("yours")]).numpy()
    boards = [
        (game.picture(position, size=280), "the true board"),
        (
            game.picture(None, heat=heat_S.reshape(game.shape), scale=1.0, marks=marks, size=280),
            f"{hook_name} believes",
        ),
    ]
    at = game.squares.index(square)
    rows = [(name, *(f"{chance:.3f}" for chance in chances[at].tolist())) for name, chances in by_layer.items()]
    return View(pictures(boards) + table(f"{square}, layer by layer", rows, ("hook point", *contents)))
