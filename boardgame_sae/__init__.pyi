"""The names a user starts from. Type checkers read this list; `__init__.py` imports each name when it is first used."""

from collections.abc import Callable
from typing import Any

from boardgame_sae.metrics.causal.edit import edit as edit
from boardgame_sae.metrics.causal.steering.steer import steer as steer
from boardgame_sae.metrics.evaluate import evaluate as evaluate
from boardgame_sae.model.game_model import GameModel as GameModel
from boardgame_sae.model.legality import legality as legality
from boardgame_sae.model.train import train_gpt as train_gpt
from boardgame_sae.model.train_config import TrainGPTConfig as TrainGPTConfig
from boardgame_sae.pipeline.comparison import compare as compare
from boardgame_sae.report.figures.plot import plot as plot
from boardgame_sae.report.latents.latent import latent as latent
from boardgame_sae.report.results import results as results
from boardgame_sae.report.run import make_report as make_report
from boardgame_sae.saes.finetuning.finetune import finetune_sae as finetune_sae
from boardgame_sae.saes.hooks import ablate as ablate
from boardgame_sae.saes.hooks import set_latents as set_latents
from boardgame_sae.saes.hooks import splice as splice
from boardgame_sae.saes.load import load_sae as load_sae
from boardgame_sae.saes.registry import make_sae as make_sae
from boardgame_sae.saes.registry import sae_config as sae_config
from boardgame_sae.saes.training.on_testbed import train_sae as train_sae
from boardgame_sae.saes.training.train import TrainSAEConfig as TrainSAEConfig
from boardgame_sae.testbeds.testbed import Testbed as Testbed
from boardgame_sae.testbeds.testbed import load_testbed as load_testbed
from boardgame_sae.transcripts.corpus import Corpus as Corpus
from boardgame_sae.transcripts.generate import generate as generate
from boardgame_sae.transcripts.imports.importer import import_games as import_games
from boardgame_sae.transcripts.imports.importer import make_corpus as make_corpus
from boardgame_sae.transcripts.pgn.importer import import_pgn as import_pgn

__version__: str

def front_door(package: str, file: str) -> tuple[list[str], Callable[[str], Any]]: ...
