"""What the study of variants asks: what its rows share, made when first asked for, and every kind of row."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from boardgame_sae.config import ConfigError, Count, Seed, config
from boardgame_sae.games import load_game
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.model.legality import legal_positions
from boardgame_sae.pipeline.grid import expand
from boardgame_sae.probes.fit import Probe, residual_stream
from boardgame_sae.saes.training.train import TrainSAEConfig
from boardgame_sae.studies.over_games import Counted, mean
from boardgame_sae.studies.study import Row, Setting, StudyConfig
from boardgame_sae.studies.variants.transfer import (
    Data,
    Edit,
    board_data,
    choose_edit,
    cosine,
    drawn_edits,
    fitted,
    halves,
    majority,
    removed,
    right,
)
from boardgame_sae.studies.variants.which import Played, Telling, by_ply, telling_latents, told, train_on_all
from boardgame_sae.studies.variants.world import World, WorldConfig, make_world, observer
from boardgame_sae.testbeds.testbed import Testbed


@config
class VariantsStudy(StudyConfig):
    """The games, their GPT, and how it is asked.

    `testbed` is the control: its GPT has learned one of the games, and reads the same tokens.
    """

    world: WorldConfig = WorldConfig()
    """The games, and the GPT that learns them all."""
    n_games: Count = 500
    """Games of each split and game on which probes are fitted, latents chosen and everything is tested."""
    sae: dict[str, Any] = field(default_factory=lambda: {"architecture": "topk", "n_latents": 512, "k": 16})
    """The SAE whose latents are asked which game it is, at the layer whose board probes are best."""
    training: TrainSAEConfig = TrainSAEConfig()
    """How it is trained, on equally many activations of every game."""
    n_edits: Count = 150
    """About how many edits of each game's validation games the layer and length of edits are chosen on."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the GPT's training and of the SAE's; all learn the same games."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < max(1, len(self.seeds)):
            raise ValueError("seeds: give one or more, each once")

    def of_seed(self, seed: int) -> "VariantsStudy":
        """The study of one seed alone."""
        world = replace(self.world, gpt=replace(self.world.gpt, seed=seed))
        training = replace(self.training, seed=seed)
        return replace(self, world=world, sae={**self.sae, "seed": seed}, training=training, seeds=(seed,))


def check(cfg: VariantsStudy, setting: Setting) -> None:
    """Raise ConfigError for games that are unknown or have other moves than the control's, and for an unusable SAE."""
    for name in cfg.world.games:
        if load_game(name).alphabet != setting.testbed.corpus.game.alphabet:
            control = f"{setting.testbed.corpus.game.name}, the game of the testbed {setting.folder.name}"
            raise ConfigError(f"world.games: {name} has other moves than {control}")
    expand([cfg.sae], cfg.world.gpt.d_model, cfg.training, "sae")


@dataclass(frozen=True, eq=False)
class Question:
    """A study of one seed that is under way: what its rows share is made when first asked for."""

    cfg: VariantsStudy
    setting: Setting

    @cached_property
    def world(self) -> World:
        """The games and their GPT."""
        return make_world(self.cfg.world, self.setting.device)

    @cached_property
    def layers(self) -> dict[str, list[Testbed]]:
        """Each game as a testbed, by hook point."""
        names = residual_stream(self.world.model)
        return {name: self.world.testbeds(self.world.model, name, self.cfg.n_games) for name in names}

    @cached_property
    def data(self) -> dict[tuple[str, int, str], Data]:
        """Activations and boards by hook point, game and split."""
        return {
            (name, game, split): board_data(testbed, split)[0]
            for name, testbeds in self.layers.items()
            for game, testbed in enumerate(testbeds)
            for split in ("train", "validation", "test")
        }

    @cached_property
    def probes(self) -> dict[tuple[str, int], Probe]:
        """The probes of each game's board by hook point and game."""
        targets = board_data(next(iter(self.layers.values()))[0], "train")[1]
        return {key[:2]: fitted(data, targets) for key, data in self.data.items() if key[2] == "train"}

    @cached_property
    def best_layer(self) -> str:
        """The hook point at which probes read their own game's validation boards best, on average."""

        def accuracy(name: str) -> float:
            own = range(len(self.world.names))
            return float(np.mean([right(self.probes[name, v], self.data[name, v, "validation"]).mean() for v in own]))

        return max(self.layers, key=accuracy)

    def norm(self, name: str, game: int) -> float:
        """The mean norm of activations at a hook point in train games."""
        return float(self.data[name, game, "train"].acts_ND.norm(dim=1).mean())

    @cached_property
    def edits(self) -> list[Edit]:
        """For each game, the layer and length of edits along its own probes that are best on validation."""
        chosen = []
        for game, testbed in enumerate(self.layers[self.best_layer]):
            edits = drawn_edits(testbed, "validation", self.cfg.n_games, self.cfg.n_edits)
            chosen.append(choose_edit(edits, [(n, self.probes[n, game], self.norm(n, game)) for n in self.layers]))
        return chosen

    @cached_property
    def telling(self) -> list[Telling]:
        """The SAE's latent that tells each game best."""
        testbeds = self.layers[self.best_layer]
        sae = train_on_all(testbeds, self.cfg.sae, self.cfg.training, self.setting.device)
        return telling_latents(sae, testbeds)

    @cached_property
    def observed(self) -> np.ndarray:
        """(N,) how often one who knows the rules names the right game, at the test positions of all games."""
        return np.concatenate([observer(self.world, testbed, "test") for testbed in self.layers[self.best_layer]])

    def legal(self, game: int) -> Row:
        """How often the GPT's most probable move is legal in one of the games."""
        corpus, one_game = self.world.corpora[game], self.setting.testbed.model
        legal_N, game_N = legal_positions(self.world.model, corpus, n_games=self.cfg.n_games)
        control_N, _ = legal_positions(one_game, corpus, n_games=self.cfg.n_games)
        value, name = mean(legal_N, game_N), self.world.names[game]
        return _answer("legal moves", "the GPT of all", name, value, control_N.mean(), "the GPT of one game")

    def which(self, layer: int | None) -> Row:
        """How often a probe at a layer names the right game, at every ply; None: at the GPT of one game."""
        one_game, names = self.setting.testbed, list(self.layers)
        model = self.world.model if layer is not None else one_game.model
        hook_name = names[layer] if layer is not None else one_game.hook_name
        right_N, test = self._told(model, hook_name)
        control_N, _ = self._told(model.random_twin(), hook_name)
        of = "the GPT of all" if layer is not None else "the GPT of one game"
        value = mean(right_N, test.data.game_N)
        answer = _answer("which game", of, hook_name, value, control_N.mean(), "random weights")
        own = {"value_by_ply": right_N, "control_by_ply": control_N, "observer_by_ply": self.observed}
        plies = {name: by_ply(values_N, test.ply_N) for name, values_N in own.items()}
        plies |= {"observer": float(self.observed.mean()), "plies": np.unique(test.ply_N).tolist()}
        return {**answer, **self._of_each(test, right_N, control_N), **plies}

    def _of_each(self, test: Played, right_N: np.ndarray, control_N: np.ndarray) -> Row:
        """The same at the positions of each game alone."""
        row: Row = {}
        for game, name in enumerate(self.world.names):
            own_N = test.data.classes_NS[:, 0].numpy() == game
            row[f"right_{name}"] = mean(right_N[own_N], test.data.game_N[own_N])
            row[f"control_{name}"] = float(control_N[own_N].mean())
        return row

    def _told(self, model: GameModel, hook_name: str) -> tuple[np.ndarray, Played]:
        right_N, test = told(self.world.testbeds(model, hook_name, self.cfg.n_games))
        return right_N.astype(float), test

    def latent(self, game: int) -> Row:
        """How well a single latent tells one of the games from the others."""
        found, name = self.telling[game], self.world.names[game]
        answer = _answer("latent of the game", "the best latent", name, found.f1, found.always, "always on")
        more = {"latent": str(found.latent), "threshold": found.threshold, "precision": found.precision}
        return {**answer, "hook_name": self.best_layer, **more}

    def transfer(self, of: int, on: int) -> Row:
        """How well the board probe of a game reads another's board, and how their directions lie."""
        name = self.best_layer
        train, test = (self.data[name, on, split] for split in ("train", "test"))
        accuracy = mean(right(self.probes[name, of], test), test.game_N)
        answer = _answer("board probe", *self._pair(of, on), accuracy, majority(train, test), "always the majority")
        own, other = (self.probes[name, game] for game in (of, on))
        if of == on:  # as alike as two probes get, of halves of the same games
            own, other = (fitted(half, own.targets) for half in halves(train))
        return {**answer, "hook_name": name, "cosine": cosine(own, other)}

    def edit(self, of: int, on: int) -> Row:
        """What edits along the board probe of a game remove of the errors in another."""
        chosen = self.edits[of]
        edits = drawn_edits(self.layers[self.best_layer][on], "test", self.cfg.n_games)
        name = chosen.hook_name
        found = removed(edits, chosen, self.probes[name, of], self.norm(name, of))
        answer = _answer("board edit", *self._pair(of, on), found.share, found.other_square, "another square")
        before, after = found.errors
        more = {"hook_name": name, "length": chosen.length, "n_edits": found.n_edits}
        return {**answer, **more, "errors_before": before, "errors_after": after}

    def _pair(self, of: int, on: int) -> tuple[str, str]:
        return f"probe of {self.world.names[of]}", self.world.names[on]


def _answer(what: str, of: str, on: str, value: Counted | None, control: float, control_is: str) -> Row:
    return {"what": what, "of": of, "on": on, "value": value, "control": float(control), "control_is": control_is}
