"""Verbs that exchange SAEs and GPTs with other libraries."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import named, parse, verb
from boardgame_sae.cli.inputs import ExportInput, ImportInput, Place
from boardgame_sae.config import ConfigError

OF_SAES = ("sae_lens", "dictionary_learning")
"""What an SAE can be given to; a GPT to the others."""


@verb("export", "Give an SAE, or a GPT, to another library.", "SAE_DIR --to sae_lens --out DIR")
def _export(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.exchange import files as gpts
    from boardgame_sae.model.game_model import GameModel
    from boardgame_sae.runs import Run, content_of
    from boardgame_sae.saes import exchange as saes
    from boardgame_sae.saes.load import load_sae
    from boardgame_sae.testbeds.shipped import find_sae

    source, place = parse("export", named(argv, "--source"), ExportInput, Place)
    folder, of_sae = find_sae(source.source), source.to in OF_SAES
    if gpts.is_gpt(folder) == of_sae:
        takes, others = ("an SAE", "transformer_lens or hugging_face") if of_sae else ("a GPT", " or ".join(OF_SAES))
        raise ConfigError(f"{folder}: {source.to} takes {takes}, and this is none; an export of it is to {others}")
    made = load_sae(folder) if of_sae else GameModel.load(folder, "cpu")
    with Run("export", source.to, {"to": source.to}, {"source": content_of(folder)}, place.out) as run:
        if not run.done:
            write = getattr(saes, f"to_{source.to}") if of_sae else getattr(gpts, f"write_{source.to}")
            write(made, run.folder)
            run.finish()
        return run.folder


@verb(
    "import",
    "Bring in an SAE of SAELens or dictionary_learning, or a GPT of nanoGPT or TransformerLens.",
    "FOREIGN --out DIR",
)
def _import(argv: Sequence[str]) -> Path:
    from boardgame_sae.model.exchange.files import open_foreign
    from boardgame_sae.runs import Run, content_of
    from boardgame_sae.saes.load import load_sae

    source, place = parse("import", named(argv, "--source"), ImportInput, Place)
    model = open_foreign(source.source, game=source.game, n_heads=source.n_heads)
    kind, config = ("sae", {}) if model is None else ("gpt", {"game": model.card["game"], "n_heads": source.n_heads})
    inputs = {kind: content_of(source.source)}
    with Run(kind, "imported", {"from": source.source, **config}, inputs, place.out) as run:
        if not run.done:
            (model or load_sae(source.source)).save(run.folder)
            run.finish()
        return run.folder
