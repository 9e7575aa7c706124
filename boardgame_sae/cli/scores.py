"""Scores: computing and comparing them."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, Several, TestbedInput, named, parse, say, verb
from boardgame_sae.config import ConfigError, Natural, config
from boardgame_sae.metrics import Suite


@config
class ScoreInput:
    """What is scored."""

    saes: Several
    """Folders of SAEs, or names of shipped ones: `othello6-tiny/topk-16`."""


@config
class ScoreChoice:
    """Which scores are computed."""

    suite: Suite = "supervised"
    """quick: a minute or less; all: every score; the others: those of one kind."""
    baselines: tuple[str, ...] | None = None
    """Kinds of SAEs to train beside each, as it was trained, such as frozen_decoder (default: random_gpt_sae, unless
    the testbed ships with baselines). Baselines that need no training are always scored."""
    calibrate: bool = False
    """Set the threshold of a batch-wise SAE that was saved without one, on the testbed's train games."""


@config
class JudgeInput:
    """What is judged."""

    sae: str
    """Folder of an SAE, or the name of a shipped one: `othello6-tiny/topk-16`."""
    dry_run: bool = False
    """Say what it would cost, and send nothing."""
    calibrate: bool = False
    """Set the threshold of a batch-wise SAE that was saved without one, on the testbed's train games."""


@config
class LatentInput:
    """Which latent is shown."""

    sae: str
    """Folder of an SAE, or the name of a shipped one: `othello6-tiny/topk-16`."""
    latent: Natural
    """Number of the latent, from 0 on."""
    testbed: str | None = None
    """Folder of a testbed, or the name of a shipped one (default: the one that the SAE ships with)."""


@config
class CompareInput:
    """What is compared with what."""

    scores: Several
    """Score folders of one recipe, or names of shipped SAEs (othello6-tiny/topk-16); several are seeds of it."""
    against: Several
    """Those of the other recipe, on the same games."""


@verb("score", 110, "SAE_DIR ... --testbed DIR --suite supervised")
def score(argv: Sequence[str]) -> Path:
    """Score SAEs beside every baseline."""
    groups = (ScoreInput, TestbedInput, ScoreChoice, Device)
    given, source, choice, device = parse("score", named(argv, "--saes"), *groups)

    from boardgame_sae.metrics.results import Scores
    from boardgame_sae.metrics.statistics.compare import side_by_side
    from boardgame_sae.pipeline.score import score_with_baselines
    from boardgame_sae.testbeds.shipped import find_testbed

    testbed = find_testbed(source.testbed)
    how = {"suite": choice.suite, "device": device.device, "calibrate": choice.calibrate}
    folders = score_with_baselines(given.saes, testbed, twin_kinds=choice.baselines, **how)
    scored = [Scores.load(folder) for folder in folders.all]
    for scores in scored[: len(given.saes)]:
        say(f"\n{scores.subject['name']}\n{scores.table()}")
    say(f"\n{side_by_side(scored)}")
    return folders.saes[0]


@verb("latent", 118, "othello6-tiny/topk-16 17")
def latent(argv: Sequence[str]) -> Path:
    """Show one latent: where it is on, what it tells about the board, the moves it promotes."""
    words = named(argv, "--sae")
    if len(words) > 2 and words[0] == "--sae" and not words[2].startswith("-"):
        words.insert(2, "--latent")
    given, output, device = parse("latent", words, LatentInput, Output, Device)

    from boardgame_sae.files import write_bytes
    from boardgame_sae.model.exchange.hub import called
    from boardgame_sae.report.latents.latent import latent as look_at
    from boardgame_sae.runs import Run
    from boardgame_sae.runs.integrity import content_of
    from boardgame_sae.saes.load import load_sae, sae_folder
    from boardgame_sae.testbeds.shipped import find_testbed, shipped_testbeds
    from boardgame_sae.testbeds.testbed import load_testbed

    folder, shipped_with = sae_folder(given.sae), given.sae.partition("/")[0]
    if given.testbed is None and shipped_with not in shipped_testbeds():
        raise ConfigError("latent: field 'testbed' is required for an SAE that does not ship")
    bed = load_testbed(find_testbed(given.testbed or shipped_with), device.device)
    inputs = {"sae": content_of(folder), "testbed": bed.content}
    with Run("latent", f"{called(folder)}-{given.latent}", {"latent": given.latent}, inputs, output.out) as run:
        shown = look_at(load_sae(folder), bed, given.latent, name=given.sae)
        say(str(shown))
        if not run.done:
            write_bytes(run / "latent.html", shown.page().encode())
            run.finish()
        say(f"open {run / 'latent.html'}")
        return run.folder


@verb("compare", 120, "SCORES_DIR ... --against othello6-tiny/topk-16")
def compare(argv: Sequence[str]) -> Path:
    """Measure by how much one recipe scores better than another, with intervals."""
    given, output, device = parse("compare", named(argv, "--scores"), CompareInput, Output, Device)

    from boardgame_sae.metrics.statistics.compare import table
    from boardgame_sae.pipeline.comparison import compare_run

    folder, comparisons = compare_run(given.scores, given.against, out=output.out, device=device.device)
    say(table(comparisons))
    return folder


@verb("judge", 115, "SAE_DIR --testbed DIR --url https://api.openai.com/v1 --model gpt-4o-mini --dry-run")
def judge(argv: Sequence[str]) -> Path:
    """Have a language model explain an SAE's latents and tell where they are on."""
    from boardgame_sae.metrics.saebench.autointerp.judge_config import JudgeConfig

    groups = (JudgeInput, TestbedInput, JudgeConfig, Device)
    given, source, cfg, device = parse("judge", named(argv, "--sae"), *groups)

    from boardgame_sae.metrics.results import Scores
    from boardgame_sae.pipeline.judge import NAME, judge_sae
    from boardgame_sae.testbeds.shipped import find_sae, find_testbed

    how = {"dry_run": given.dry_run, "device": device.device, "calibrate": given.calibrate}
    folder = judge_sae(given.sae, find_testbed(source.testbed), cfg, say=say, **how)
    if folder is None:
        return find_sae(given.sae)
    judged = Scores.load(folder)
    say(Scores(judged.subject | {"skipped": {}}, {NAME: judged[NAME]}).table())
    return folder
