"""SAEs and GPTs of other libraries: writing ours for them, reading theirs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from boardgame_sae.cli.flags import Output, named, parse, verb
from boardgame_sae.config import ConfigError, Count, config


@config
class ExportInput:
    """What is written for whom."""

    source: str
    """Folder of an SAE or of a GPT, or the name of a shipped SAE."""
    to: str = "sae_lens"
    """Library that is to read it."""


@config
class ImportInput:
    """What is read."""

    source: str
    """Folder of another library's SAE or GPT, or the file of its weights."""
    game: str | None = None
    """Game that a GPT plays (default: chess of a nanoGPT, othello of a TransformerLens model, as published)."""
    n_heads: Count | None = None
    """Attention heads of a GPT whose file does not say."""


@verb("export", 160, "SAE_DIR --to sae_lens --out DIR")
def export(argv: Sequence[str]) -> Path:
    """Write an SAE or a GPT for another library."""
    from boardgame_sae.files import disk_error
    from boardgame_sae.integrity import content_of
    from boardgame_sae.model.exchange import files as gpts
    from boardgame_sae.model.game_model import GameModel
    from boardgame_sae.runs import Run
    from boardgame_sae.saes import exchange as saes
    from boardgame_sae.saes.load import load_sae
    from boardgame_sae.testbeds.shipped import find_sae

    libraries = f"An SAE can be exported to {' or '.join(saes.WRITERS)}, a GPT to {' or '.join(gpts.WRITERS)}."
    source, output = parse("export", named(argv, "--source"), ExportInput, Output, more=libraries)
    folder = find_sae(source.source)
    of_gpt = gpts.is_gpt(folder)
    if source.to not in (gpts.WRITERS if of_gpt else saes.WRITERS):
        raise ConfigError(f"{folder}: {'a GPT' if of_gpt else 'an SAE'} is not for {source.to}. {libraries}")
    if of_gpt:
        write = partial(gpts.WRITERS[source.to], GameModel.load(folder, "cpu"))
    else:
        write = partial(saes.WRITERS[source.to], load_sae(folder))
    with Run("export", source.to, {"to": source.to}, {"source": content_of(folder)}, output.out) as run:
        if not run.done:
            try:
                write(run.folder)
            except Exception as error:  # each library has its own for a full disk
                raise disk_error(run.folder, error) from error
            run.finish()
        return run.folder


@verb("import", 170, "FOREIGN --out DIR")
def import_(argv: Sequence[str]) -> Path:
    """Read an SAE of SAELens or dictionary_learning, or a GPT of nanoGPT or TransformerLens."""
    from boardgame_sae.integrity import content_of
    from boardgame_sae.model.exchange.files import open_foreign
    from boardgame_sae.runs import Run
    from boardgame_sae.saes.load import load_sae

    source, output = parse("import", named(argv, "--source"), ImportInput, Output)
    model = open_foreign(source.source, game=source.game, n_heads=source.n_heads)
    kind, config = ("sae", {}) if model is None else ("gpt", {"game": model.card["game"], "n_heads": source.n_heads})
    inputs = {kind: content_of(source.source)}
    with Run(kind, "imported", {"from": source.source, **config}, inputs, output.out) as run:
        if not run.done:
            (model or load_sae(source.source)).save(run.folder)
            run.finish()
        return run.folder
