"""Lesson 2: the board inside."""

import torch
import torch.nn.functional as F
from torch import Tensor

from boardgame_sae.games import Game


def colour_classes(game: Game, text: str) -> Tensor:
    """int64 (plies + 1, squares): 0 where a square is empty, 1 where a black disc stands, 2 where a white one does.

    `game.cells(position)` writes a position as text, one character per square: `b`, `w` or `.`.
    """
    return torch.tensor([[".bw".index(cell) for cell in game.cells(position)] for position in game.replay(text)])


def fit_probe(acts_ND: Tensor, classes_NS: Tensor, ridge: float) -> Tensor:
    """(D + 1, S, 3): the linear map from activations, with a 1 appended, that fits one-hot classes best.

    It minimises the summed squared error plus `ridge` times the summed squared weights (the bias's too, for
    simplicity), so it is (X'X + ridge I)^-1 X'Y.
    """
    X_ND = F.pad(acts_ND, (0, 1), value=1.0)
    Y_NP = F.one_hot(classes_NS, 3).flatten(1).to(X_ND)
    gram_DD = X_ND.T @ X_ND + ridge * torch.eye(X_ND.shape[1])
    return torch.linalg.solve(gram_DD, X_ND.T @ Y_NP).view(-1, classes_NS.shape[1], 3)


def probe_accuracy(weights_DSC: Tensor, acts_ND: Tensor, classes_NS: Tensor) -> float:
    """Share of squares, over all positions, of which the probe's largest output is that of the true class.

    weights_DSC: of `fit_probe`, (D + 1, S, 3); the last row is the bias.
    """
    outputs_NSC = torch.einsum("nd,dsc->nsc", acts_ND, weights_DSC[:-1]) + weights_DSC[-1]
    return (outputs_NSC.argmax(-1) == classes_NS).float().mean().item()


def majority_accuracy(train_classes_NS: Tensor, classes_NS: Tensor) -> float:
    """Accuracy of always saying of each square what stands there most often in the train games."""
    return (train_classes_NS.mode(0).values == classes_NS).float().mean().item()


def to_mover(classes_NS: Tensor, black_N: Tensor) -> Tensor:
    """int64 (N, S): the same boards as the player to move sees them: 0 empty, 1 mine, 2 yours.

    classes_NS: 0 empty, 1 black, 2 white. black_N: bool, whether Black is to move at each position.
    """
    swapped_NS = torch.tensor([0, 2, 1])[classes_NS]
    return torch.where(black_N[:, None], classes_NS, swapped_NS)


def accuracy_by_ply(right_NS: Tensor, ply_N: Tensor) -> Tensor:
    """(plies,) float: the share of right squares after 1 ply, after 2, and so on to the largest ply there is.

    right_NS: bool, whether a square is read correctly. ply_N: how many plies are played at each position, from 1 on.
    """
    right_N = right_NS.float().mean(1)
    return torch.stack([right_N[ply_N == ply].mean() for ply in range(1, int(ply_N.max()) + 1)])
