"""SAEs and GPTs of other libraries: writing ours for them, reading theirs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from boardgame_sae.cli.flags import Output, named, parse, verb
from boardgame_sae.config import ConfigError, Count, config
from boardgame_sae.foreign_names import closest


@config
class ExportInput:
    """What is written for whom."""

    source: str
    """Folder of an SAE (of any library) or of a GPT, or the name of a shipped SAE."""
    to: str = "sae_lens"
    """Library that is to read it. One that is not known gets the list of those that are."""


@config
class ImportInput:
    """What is read."""

    source: str
    """Folder of another library's SAE or GPT, the file of its weights, or `hf:owner/name` on the Hugging Face hub."""
    game: str | None = None
    """Game that a GPT plays (default: chess of a nanoGPT, othello of a TransformerLens model, as published)."""
    n_heads: Count | None = None
    """Attention heads of a GPT whose file does not say."""
    calibrate: str | None = None
    """Testbed on whose train games the threshold of a batch-wise SAE is set, where it was saved without one."""


@verb("export", 160, "SAE_DIR --to sae_lens --out DIR")
def export(argv: Sequence[str]) -> Path:
    """Write an SAE or a GPT for another library."""
    source, output = parse("export", named(argv, "--source"), ExportInput, Output)

    from boardgame_sae.files import disk_error
    from boardgame_sae.model.exchange import files as gpts
    from boardgame_sae.model.game_model import GameModel
    from boardgame_sae.runs import Run
    from boardgame_sae.runs.integrity import content_of
    from boardgame_sae.saes import exchange as saes
    from boardgame_sae.saes.load import load_sae, sae_folder
    from boardgame_sae.testbeds.shipped import find_sae

    writers = saes.writers()
    libraries = f"An SAE can be exported to {' or '.join(writers)}, a GPT to {' or '.join(gpts.WRITERS)}."
    folder = find_sae(source.source)
    of_gpt = gpts.is_gpt(folder)
    known = gpts.WRITERS if of_gpt else writers
    if source.to not in known:
        near = closest(source.to, known)
        hint = f"; did you mean '{near}'?" if near else "."
        raise ConfigError(f"{folder}: {'a GPT' if of_gpt else 'an SAE'} is not for {source.to}{hint} {libraries}")
    if of_gpt:
        write = partial(gpts.WRITERS[source.to], GameModel.load(folder, "cpu"))
    else:
        folder = sae_folder(folder)
        write = partial(writers[source.to], load_sae(folder))
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
    """Read another library's SAE, or a GPT of nanoGPT or TransformerLens."""
    source, output = parse("import", named(argv, "--source"), ImportInput, Output)

    from boardgame_sae.model.exchange.files import open_foreign
    from boardgame_sae.model.exchange.sharing import local
    from boardgame_sae.runs import Run
    from boardgame_sae.runs.integrity import content_of
    from boardgame_sae.saes.load import load_sae, sae_folder
    from boardgame_sae.saes.training.on_testbed import calibrated_on
    from boardgame_sae.testbeds.testbed import load_testbed

    path = local(source.source)
    thing = open_foreign(path, game=source.game, n_heads=source.n_heads)
    if thing is not None:
        kind, config, inputs = "gpt", {"game": thing.card["game"], "n_heads": source.n_heads}, {}
    else:
        kind, config, inputs, path = "sae", {}, {}, sae_folder(path)
        thing = load_sae(path, uncalibrated=source.calibrate is not None)
        if source.calibrate is not None:
            testbed = load_testbed(source.calibrate)
            thing, inputs = calibrated_on(testbed, thing), {"testbed": testbed.hash}
    with Run(kind, "imported", {"from": str(path), **config}, {kind: content_of(path), **inputs}, output.out) as run:
        if not run.done:
            thing.save(run.folder)
            run.finish()
        return run.folder
