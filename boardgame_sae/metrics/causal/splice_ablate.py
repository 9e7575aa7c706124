"""Splice-ablate: what play loses when the latents of one property are ablated, where it matters and where it does not.

A property is a disc or piece on a square (`d3 mine`). Where it is true the latents that classify it are switched off at
the position's token, the error term kept: x - sum of f_j d_j. It matters where some other content of the square would
change the legal moves. An SAE whose latents carry the property, and nothing else, changes play there and nowhere else:

    value  mean total variation of the next token's probabilities where the property matters
           less that where it does not, higher is better, mean over properties; 0 for latents that do nothing

The latents are those that correlate most with the property on train games (`latent_edits.ranked`); how many, is chosen
on validation games. Total variation is half of the summed differences of the probabilities: the share of them that
moves to other tokens. Beside it: the loss in nats (divergence from the model as it is) and the legal probability that
is lost, where tokens are whole moves.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from boardgame_sae.config import Count, Seed, config, seed_for
from boardgame_sae.metrics.causal.boards import EMPTY, set_square
from boardgame_sae.metrics.causal.edits import board_labels
from boardgame_sae.metrics.causal.latent_edits import N_LATENTS, Classifiers, classifiers
from boardgame_sae.metrics.counting.game_sums import GameSums
from boardgame_sae.metrics.results import ScoreValue
from boardgame_sae.metrics.saebench.data.above import Above, above, chunks
from boardgame_sae.metrics.saebench.data.examples import latent_rows
from boardgame_sae.metrics.saebench.unlearning.clamp import clamped
from boardgame_sae.metrics.score import Chance, Display, UnscorableError, score
from boardgame_sae.metrics.statistics.statistic import ABOUT_COLUMNS, Statistic
from boardgame_sae.metrics.subject import Subject
from boardgame_sae.model.float64 import exact
from boardgame_sae.testbeds.testbed import Testbed

MEASURED = ("validation", "test")
MIN_EACH = 10
"""Positions of each kind that a property must have in each of these splits."""
WHERE = ("matters", "elsewhere")
EFFECTS = ("moved", "loss", "lost")
"""Total variation, divergence in nats, and legal probability lost."""
SAME = tuple(f"asked_{where}" for where in WHERE)
ABLATED_SUMS = (
    *SAME,
    *(f"{effect}_{where}" for effect in EFFECTS for where in WHERE),
    *(f"random_{where}" for where in WHERE),
)
"""Summed over the positions of each game and property; `random` is the total variation for random latents."""


@config
class SpliceAblateConfig:
    """How many properties and positions."""

    n_properties: Count = 8
    """Maximum number of properties, each of another square."""
    n_train: Count = 600
    """Maximum number of train games that latents are ranked on."""
    n_games: Count = 200
    """Maximum number of validation and of test games."""
    n_each: Count = 150
    """Maximum number of positions of each property at which it matters, and at which it does not, in each split."""
    seed: Seed = 0
    """Which positions, and which random latents."""


def _numbers(sums: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Means over properties; sums (R, properties)."""

    def mean(name: str, where: str) -> np.ndarray:
        return (sums[f"{name}_{where}"] / np.maximum(sums[f"asked_{where}"], 1)).mean(1)

    moved = {where: mean("moved", where) for where in WHERE}
    numbers = {"value": moved["matters"] - moved["elsewhere"]}
    numbers["random_latents"] = mean("random", "matters") - mean("random", "elsewhere")
    numbers |= {f"moved_{where}": part for where, part in moved.items()}
    numbers |= {f"loss_{where}": mean("loss", where) for where in WHERE}
    if details[ABOUT_COLUMNS]["whole_moves"]:
        numbers |= {f"legal_mass_lost_{where}": mean("lost", where) for where in WHERE}
    return numbers


ABLATIONS = Statistic(ABLATED_SUMS, _numbers, same=SAME)


@score(
    "splice_ablate",
    title="Splice and ablate",
    meaning="How much more of the model's probability moves where ablating a property's latents should matter",
    source="this project; board edits after Li et al. 2022 (arXiv 2210.13382)",
    suites=("causal",),
    order=41,
    low=-1.0,
    needs=("W_dec",),
    config=SpliceAblateConfig,
    statistic=ABLATIONS,
    display=Display(
        parts={
            "moved_matters": "probability moved where it matters",
            "moved_elsewhere": "probability moved elsewhere",
            "loss_matters": "loss in nats where it matters",
            "loss_elsewhere": "loss in nats elsewhere",
            "random_latents": "random latents (chance)",
        },
        columns=("_moved_matters", "_moved_elsewhere"),
        chance=Chance("random_latents", shared=False),
        unit="difference of total variations",
    ),
)
def splice_ablate_score(subject: Subject, cfg: SpliceAblateConfig) -> ScoreValue:
    """Ablation of what stands on a square, where it matters and where it does not.

    Raises UnscorableError where no property has enough positions of both kinds.
    """
    properties = subject.testbed.once(ablated_properties, cfg)
    of = subject.once(classifiers, cfg.n_train)
    ablations = {split: _Ablations(subject, split, cfg) for split in MEASURED}
    on_validation = [_on_validation(ablations["validation"], properties, of, n) for n in N_LATENTS]
    chosen = N_LATENTS[int(np.argmax(on_validation))]
    alive = np.unique(ablations["validation"].latents_NF.indices)
    counts = {name: [] for name in ABLATED_SUMS}
    for one in properties:
        latents = _top(of, one.column, chosen)
        rng = np.random.default_rng(seed_for(cfg.seed, "random latents", one.name))
        effects = ablations["test"].effects(one, latents)
        effects["random"] = ablations["test"].effects(one, rng.permutation(alive)[: len(latents)])["moved"]
        effects["asked"] = np.ones(len(one.rows["test"]), np.int64)
        for name, per_game_B in _by_game(subject.testbed, one, effects).items():
            counts[name].append(per_game_B)
    sums = GameSums.dense({name: np.stack(parts, 1) for name, parts in counts.items()}, SAME)
    about = {"whole_moves": subject.testbed.corpus.tokenizer.is_whole_move}
    value = ABLATIONS.score(sums, {"n_latents": float(chosen)}, {ABOUT_COLUMNS: about})
    details = {"ablated": _ablated(properties, of, sums, chosen), "on_validation": on_validation}
    return value._replace(details={**value.details, **details})


def _on_validation(ablations: "_Ablations", properties: "list[Property]", of: Classifiers, n: int) -> float:
    """The value on validation games with at most n latents of each property."""
    values = []
    for one in properties:
        moved_N, matters_N = ablations.effects(one, _top(of, one.column, n))["moved"], one.matters["validation"]
        values.append(moved_N[matters_N].mean() - moved_N[~matters_N].mean())
    return round(float(np.mean(values)), 6)


class Property(NamedTuple):
    """What stands on a square, and positions where it is true."""

    name: str
    """`d3 mine`."""
    column: int
    """The square's content, by its number among all contents of all squares."""
    rows: Mapping[str, np.ndarray]
    """Numbers of positions of each split, ascending."""
    matters: Mapping[str, np.ndarray]
    """bool: whether another content of the square would change the legal moves there."""


def ablated_properties(testbed: Testbed, cfg: SpliceAblateConfig) -> list[Property]:
    """At most n_properties, each of another square, those nearest to being true half of the time first.

    Ask `testbed.once(ablated_properties, cfg)`. Raises UnscorableError where there is none.
    """
    labels_NP = testbed.once(board_labels, cfg.n_train)
    prop, contents = testbed.corpus.game.property(testbed.corpus.game.board_property), testbed.corpus.game.contents
    names, squares, found = prop.class_names, set[int](), list[Property]()
    for column in np.argsort(np.abs(labels_NP.mean(0) - 0.5), kind="stable").tolist():
        if len(found) == cfg.n_properties or len(squares) == len(testbed.corpus.game.squares):
            break
        square, content = divmod(column, len(contents))
        if square in squares or contents[content] == EMPTY or not labels_NP[:, column].any():
            continue
        drawn = {split: _positions(testbed, split, square, content, cfg) for split in MEASURED}
        if all(min(matters.sum(), (~matters).sum()) >= MIN_EACH for _, matters in drawn.values()):
            squares.add(square)
            rows, matters = ({split: both[part] for split, both in drawn.items()} for part in range(2))
            found.append(Property(names[column], column, rows, matters))
    if not found:
        raise UnscorableError(
            f"no content of a square has {MIN_EACH} validation and test positions where it matters to the legal moves, "
            "and as many where it does not; use more games"
        )
    return found


def _positions(
    testbed: Testbed, split: str, square: int, content: int, cfg: SpliceAblateConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Positions where a content stands on a square, at most n_each of those where it matters and of the others."""
    places = testbed.once(_replayed, split, cfg.n_games)
    rng = np.random.default_rng(seed_for(cfg.seed, "ablated", split, square, content))
    kept: dict[bool, list[int]] = {True: [], False: []}
    for row in rng.permutation(np.flatnonzero(places.content_NS[:, square] == content))[: 4 * cfg.n_each].tolist():
        it_matters = matters(testbed, places.positions[row], square, content)
        if it_matters is not None and len(kept[it_matters]) < cfg.n_each:
            kept[it_matters].append(row)
    rows = np.array(sorted(kept[True] + kept[False]), np.int64)
    return rows, np.isin(rows, kept[True])


def matters(testbed: Testbed, position: Any, square: int, content: int) -> bool | None:
    """Whether some other content of a square changes the legal moves; None where there are no moves, or none may stand
    there.
    """
    game, legal = testbed.corpus.game, testbed.corpus.game.legal_moves(position)
    others = [name for number, name in enumerate(game.contents) if number != content]
    edited = [other for name in others if (other := set_square(game, position, square, name)) is not None]
    return any(game.legal_moves(other) != legal for other in edited) if legal and edited else None


class _Replayed(NamedTuple):
    """Every scored position of some games."""

    positions: list[Any]
    content_NS: np.ndarray


def _replayed(testbed: Testbed, split: str, n_games: int) -> _Replayed:
    part, game = testbed.once(above, split, n_games), testbed.corpus.game
    of_games = [list(game.positions(moves.tolist())) for moves in testbed.corpus.record(part.where.games_B)]
    positions = [of_games[b][ply] for b, ply in zip(part.where.game_N, part.where.ply_N, strict=True)]
    labels = game.property(game.board_property).evaluate(part.boards)
    return _Replayed(positions, labels.reshape(len(positions), len(game.squares), -1).argmax(-1))


def _top(of: Classifiers, column: int, n: int) -> np.ndarray:
    """The latents that classify a column best, at most n."""
    return of.top_PK[column, :n][of.counts_PK[column, :n]].cpu().numpy()


class _Ablations:
    """A subject's latents at the positions of a split, to be ablated."""

    def __init__(self, subject: Subject, split: str, cfg: SpliceAblateConfig) -> None:
        assert subject.source.W_dec is not None
        self.split, self.W_dec = split, subject.source.W_dec
        self.part: Above = subject.testbed.once(above, split, cfg.n_games)
        self.latents_NF = latent_rows(subject, split, np.arange(len(self.part)))

    @torch.no_grad()
    def effects(self, one: Property, latents: np.ndarray) -> dict[str, np.ndarray]:
        """What ablating some latents does at a property's positions, by EFFECTS: float64 (n,) each."""
        parts = []
        for row_N in chunks(one.rows[self.split]):
            latents_NK = self.latents_NF[row_N][:, latents].toarray()
            change_ND = clamped(latents_NK, np.zeros(len(latents)), self.W_dec[torch.from_numpy(latents)])
            before, after = (
                self.part.read(row_N, acts_ND, logits=True).logits_NV
                for acts_ND in (self.part.acts_ND[row_N], self.part.acts_ND[row_N] + change_ND.to(self.part.acts_ND))
            )
            assert before is not None
            assert after is not None
            before_NV, after_NV = (exact(logits_NV).log_softmax(-1).cpu().numpy() for logits_NV in (before, after))
            fell_NV = np.exp(before_NV) - np.exp(after_NV)
            legal_NV = self.part.legal_NV
            lost_N = np.zeros(len(row_N)) if legal_NV is None else (fell_NV * legal_NV[row_N]).sum(1)
            loss_N = (np.exp(before_NV) * (before_NV - after_NV)).sum(1).clip(min=0)
            parts.append((np.abs(fell_NV).sum(1) / 2, loss_N, lost_N))
        return dict(zip(EFFECTS, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def _by_game(testbed: Testbed, one: Property, effects: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(B,) by name of ABLATED_SUMS, on test."""
    where, n_games = testbed.positions("test"), len(testbed.positions("test").games_B)
    game_N, matters_N = where.game_N[one.rows["test"]], one.matters["test"]
    sums = {}
    for name, values_N in effects.items():
        for at, chosen_N in zip(WHERE, (matters_N, ~matters_N), strict=True):
            sum_B = np.bincount(game_N[chosen_N], values_N[chosen_N], n_games)
            sums[f"{name}_{at}"] = sum_B.astype(np.int32) if values_N.dtype.kind == "i" else sum_B
    return sums


def _ablated(properties: list[Property], of: Classifiers, sums: GameSums, n: int) -> list[dict[str, Any]]:
    """What became of each property."""
    total = sums.totals()
    return [
        {
            "property": one.name,
            "latents": _top(of, one.column, n).tolist(),
            **{f"n_{at}": int(total[f"asked_{at}"][k]) for at in WHERE},
            **{f"moved_{at}": round(float(total[f"moved_{at}"][k] / total[f"asked_{at}"][k]), 6) for at in WHERE},
        }
        for k, one in enumerate(properties)
    ]
