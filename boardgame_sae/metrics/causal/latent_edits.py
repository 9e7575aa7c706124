"""Edits through an SAE's latents: those that tell what stands on a square are set to what they are on other boards.

Of the latents that classify a content of a square, the K that correlate most with it on train games are taken:

    set         x + sum over j of (old)  s (mean where it is not there - f_j) d_j
                  + sum over j of (new)  s (mean where it is there     - f_j) d_j,   the error term kept
    directions  x + length * unit(sum over j of (new) m_j d_j - sum over j of (old) m_j d_j),
                m_j the mean where it is there less that where it is not: the decoder's directions alone

With s = 1 latents are just what they are on boards that have, or do not have, that content; with more they go beyond.
K, s, the length and whether it is done at every token at which boards are read are chosen on validation games.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from boardgame_sae.metrics.causal.edits import Edits, board_labels
from boardgame_sae.metrics.causal.inner_board import Change, Intervention, Setting
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.runs import progress

N_LATENTS = (1, 2, 5, 10, 20, 50)
"""Maximum numbers of latents of each content to choose from."""
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
LENGTHS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
"""As shares of the mean norm of activations."""


class Classifiers(NamedTuple):
    """The latents that classify each content of each square; a column is a content of a square, P in all."""

    top_PK: Tensor
    """int64: their numbers, the one that correlates most with the column first."""
    with_PK: Tensor
    """The mean of each where the content is there."""
    without_PK: Tensor
    """The mean of each where it is not; both 0 where the correlation is not above 0."""
    counts_PK: Tensor
    """bool: whether the correlation is above 0."""


class LatentEdit(NamedTuple):
    """One way to edit through latents."""

    way: str
    """`set` or `directions`."""
    n_latents: int
    size: float
    """The strength, or the length."""
    everywhere: bool = False


def classifiers(subject: Subject, n_games: int) -> Classifiers:
    """Rank latents by their correlation with every column on train games: ask `subject.once(classifiers, n_games)`."""
    labels_NP = subject.testbed.once(board_labels, n_games)
    latents_NF: csr_array = latent_rows(subject, "train", np.arange(len(labels_NP)))
    return ranked(latents_NF, labels_NP, subject.testbed.model.gpt.device)


def ranked(latents_NF: csr_array, labels_NP: np.ndarray, device: torch.device) -> Classifiers:
    """The latents that correlate most with each column."""
    n, n_true_P = len(labels_NP), labels_NP.sum(0).astype(np.float64)
    sum_F, square_F = (np.asarray(part.sum(0)).ravel() for part in (latents_NF, latents_NF.power(2)))
    sum_FP = np.asarray(latents_NF.T @ labels_NP.astype(np.float32), np.float64)
    with_FP = sum_FP / np.maximum(n_true_P, 1)
    without_FP = (sum_F[:, None] - sum_FP) / np.maximum(n - n_true_P, 1)
    spread_F = np.sqrt(np.maximum(square_F / n - (sum_F / n) ** 2, 1e-12))
    share_P = n_true_P / n
    correlation_FP = (with_FP - without_FP) * np.sqrt(share_P * (1 - share_P)) / spread_F[:, None]
    top_KP = np.argsort(-correlation_FP, axis=0, kind="stable")[: max(N_LATENTS)]
    counts_KP = np.take_along_axis(correlation_FP, top_KP, 0) > 0
    means = (np.where(counts_KP, np.take_along_axis(part, top_KP, 0), 0.0) for part in (with_FP, without_FP))
    with_PK, without_PK = (torch.from_numpy(part.T.astype(np.float32)).to(device) for part in means)
    top_PK, counts_PK = (torch.from_numpy(np.ascontiguousarray(part.T)).to(device) for part in (top_KP, counts_KP))
    return Classifiers(top_PK, with_PK, without_PK, counts_PK)


class LatentEdits:
    """A subject's ways to edit."""

    def __init__(self, subject: Subject, n_train: int, norm: float) -> None:
        """norm: mean norm of the activations at the hook point."""
        assert subject.source.W_dec is not None
        self.hook_name, self.norm, self._encode = subject.testbed.hook_name, norm, subject.source.encode
        self.W_dec = subject.source.W_dec.to(subject.testbed.model.gpt.device)
        self.of = subject.once(classifiers, n_train)
        self.n_contents = len(subject.testbed.corpus.game.contents)

    def intervention(self, edit: LatentEdit) -> Intervention:
        """The changes that an edit makes."""
        change = self._setting(edit) if edit.way == "set" else self._along(edit)
        return Intervention({self.hook_name: change}, edit.everywhere)

    def _columns(self, setting: Setting, n_latents: int) -> tuple[Classifiers, Classifiers]:
        """The latents of what is to stand on each square, and of what stands there, that are not among the first."""
        new, old = (
            Classifiers(*(part[setting.square_M * self.n_contents + content_M, :n_latents] for part in self.of))
            for content_M in (setting.new_M, setting.old_M)
        )
        shared_MK = (old.top_PK[:, :, None] == new.top_PK.masked_fill(~new.counts_PK, -1)[:, None]).any(2)
        return new, old._replace(counts_PK=old.counts_PK & ~shared_MK)

    def _setting(self, edit: LatentEdit) -> Change:
        def change(x_MD: Tensor, setting: Setting) -> Tensor:
            latents_MF, total_MD = dense(self._encode(x_MD), x_MD), torch.zeros_like(x_MD)
            new, old = self._columns(setting, edit.n_latents)
            for part, target_MK in ((new, new.with_PK), (old, old.without_PK)):
                step_MK = edit.size * (target_MK - latents_MF.gather(1, part.top_PK)) * part.counts_PK
                total_MD += torch.einsum("mk,mkd->md", step_MK, self.W_dec[part.top_PK])
            return total_MD

        return change

    def _along(self, edit: LatentEdit) -> Change:
        def change(x_MD: Tensor, setting: Setting) -> Tensor:
            direction_MD = torch.zeros_like(x_MD)
            for sign, part in zip((1, -1), self._columns(setting, edit.n_latents), strict=True):
                weight_MK = sign * (part.with_PK - part.without_PK) * part.counts_PK
                direction_MD += torch.einsum("mk,mkd->md", weight_MK, self.W_dec[part.top_PK])
            return edit.size * self.norm * F.normalize(direction_MD, dim=1)

        return change


def dense(latents: Any, like: Tensor) -> Tensor:
    """Latents as a dense tensor, whatever an SAE gives."""
    if isinstance(latents, Tensor):
        return (latents.to_dense() if latents.layout != torch.strided else latents).to(like)
    return torch.as_tensor(latents.toarray() if hasattr(latents, "toarray") else latents).to(like)


def families() -> Iterator[tuple[str, LatentEdit]]:
    """Every edit that is tried at the last token, by its family."""
    for n_latents, strength in itertools.product(N_LATENTS, STRENGTHS):
        yield "set" if strength == 1 else "scaled", LatentEdit("set", n_latents, strength)
    for n_latents, length in itertools.product(N_LATENTS, LENGTHS):
        yield "directions", LatentEdit("directions", n_latents, length)


class LatentChoice(NamedTuple):
    """The best edit of each family, the best of all, and the errors of each per validation edit."""

    best: dict[str, LatentEdit]
    chosen: LatentEdit
    on_validation: dict[LatentEdit, float]


def choose_latent_edits(latents: LatentEdits, edits: Edits) -> LatentChoice:
    """Try every edit on the edits of validation games; the best of all also at every token where boards are read."""
    errors, best = dict[LatentEdit, float](), dict[str, LatentEdit]()

    def try_all(tried: Sequence[tuple[str, LatentEdit]]) -> None:
        with progress(len(tried), "edits through latents", "settings", leave=False) as bar:
            for family, edit in tried:
                errors[edit] = float(edits.outcomes(edits.ask(latents.intervention(edit))).error_N.mean())
                if family not in best or errors[edit] < errors[best[family]]:
                    best[family] = edit
                bar.update(1)

    try_all(list(families()))
    first = min(best.values(), key=errors.__getitem__)
    sizes = STRENGTHS if first.way == "set" else LENGTHS
    try_all([("everywhere", first._replace(size=size, everywhere=True)) for size in sizes])
    return LatentChoice(best, min(best.values(), key=errors.__getitem__), errors)
