"""Testbeds as folders to be shared: the GPT, the games, what an engine thinks of them, the probes, and a manifest.

All that scores depend on comes along, so that the copy has the same `content`: scores on either belong together.
"""

import shutil
from abc import abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from boardgame_sae.files import write_json, writing
from boardgame_sae.model.exchange.sharing import Card, Shared
from boardgame_sae.model.game_model import GameModel
from boardgame_sae.probes.fit import PROBES_FILE, RESULTS_FILE
from boardgame_sae.testbeds.shipped import MANIFEST_FILE, PROBES, testbed_here
from boardgame_sae.transcripts.corpus import CORPUS_FILE, Corpus
from boardgame_sae.transcripts.evaluations import EVALUATIONS_FILE

T = TypeVar("T")
MODEL, CORPUS = "model", "corpus"


class SharedTestbed(Shared[T], Generic[T]):
    """What a testbed can do as a folder. T: the testbed's class."""

    model: GameModel
    corpus: Corpus
    hook_name: str
    properties: tuple[str, ...]
    n_games: int
    read_at: str
    _probe_folders: tuple[Path, ...]

    @property
    @abstractmethod
    def made_of(self) -> dict[str, str]:
        """Hashes of what its GPT and its corpus hold now."""

    def save(self, folder: str | Path) -> None:
        """Write its GPT, games, evaluations, probes and manifest. Raises RunError when the disk is full."""
        folder = Path(folder)
        self.model.save(folder / MODEL)
        _copy(self.corpus.path, folder / CORPUS / CORPUS_FILE)
        if self.corpus.evaluations is not None:
            self.corpus.evaluations.write(folder / CORPUS / EVALUATIONS_FILE)
        for probes in self._probe_folders:
            for name in (PROBES_FILE, RESULTS_FILE):
                _copy(probes / name, folder / PROBES / probes.name / name)
        own = {"hook_name": self.hook_name, "properties": list(self.properties), "n_games": self.n_games}
        parts = {"model": MODEL, "corpus": CORPUS, "content": self.made_of}
        write_json(folder / MANIFEST_FILE, {**own, "positions": self.read_at, **parts})

    @classmethod
    def find_here(cls, name: str | Path) -> Path | None:
        """The folder here that a name means, also that of a testbed that ships; None where there is none."""
        return testbed_here(name)

    def describe(self) -> Card:
        """What its card says when it is shared."""
        gpt, game = self.model.gpt.cfg, self.corpus.game
        facts = [
            ("game", game.spec),
            ("GPT", f"{gpt.n_layers} layers of width {gpt.d_model}, hash {self.model.hash}"),
            ("hook point", self.hook_name),
            ("properties", ", ".join(self.properties)),
            ("boards are read at", self.read_at),
            ("games", f"{len(self.corpus):,}; up to {self.n_games:,} of each split are scored on"),
            ("games played by", ", ".join(self.corpus.config.get("players", ()))),
            ("probes", ", ".join(probes.name for probes in self._probe_folders)),
            *((f"content of the {part}", value) for part, value in self.made_of.items()),
        ]
        tags = ["testbed", "sparse-autoencoder", "mechanistic-interpretability", "board-games", game.name]
        return Card(f"A testbed of {game.name}", tags, facts, 'testbed = bgs.load_testbed("{name}")')


def _copy(source: Path, target: Path) -> None:
    with writing(target) as temporary:
        shutil.copyfile(source, temporary)
