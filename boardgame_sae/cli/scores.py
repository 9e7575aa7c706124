"""Scores: computing and comparing them."""

from collections.abc import Sequence
from pathlib import Path

from boardgame_sae.cli.flags import Device, Output, Several, TestbedInput, named, parse, say, verb
from boardgame_sae.config import config


@config
class ScoreInput:
    """What is scored."""

    saes: Several
    """Folders of SAEs, or names of shipped ones: `othello6-tiny/topk-16`."""


@config
class ScoreChoice:
    """Which scores are computed."""

    suite: str = "supervised"
    """quick, supervised, saebench, causal or all."""
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
class CompareInput:
    """What is compared with what."""

    scores: Several
    """Score folders of one recipe, or names of shipped SAEs (othello6-tiny/topk-16); several are seeds of it."""
    against: Several
    """Those of the other recipe, on the same games."""


@verb("score", 110, "SAE_DIR ... --testbed DIR --suite supervised")
def score(argv: Sequence[str]) -> Path:
    """Score SAEs beside every baseline."""
    from boardgame_sae.metrics.results import Scores
    from boardgame_sae.metrics.statistics.compare import side_by_side
    from boardgame_sae.pipeline.score import score_with_baselines
    from boardgame_sae.testbeds.shipped import find_testbed

    groups = (ScoreInput, TestbedInput, ScoreChoice, Device)
    given, source, choice, device = parse("score", named(argv, "--saes"), *groups)
    testbed = find_testbed(source.testbed)
    how = {"suite": choice.suite, "device": device.device, "calibrate": choice.calibrate}
    folders = score_with_baselines(given.saes, testbed, twin_kinds=choice.baselines, **how)
    scored = [Scores.load(folder) for folder in folders.all]
    for scores in scored[: len(given.saes)]:
        say(f"\n{scores.subject['name']}\n{scores.table()}")
    say(f"\n{side_by_side(scored)}")
    return folders.saes[0]


@verb("compare", 120, "SCORES_DIR ... --against othello6-tiny/topk-16")
def compare(argv: Sequence[str]) -> Path:
    """Measure by how much one recipe scores better than another, with intervals."""
    from boardgame_sae.metrics.statistics.compare import table
    from boardgame_sae.pipeline.comparison import compare_run

    given, output, device = parse("compare", named(argv, "--scores"), CompareInput, Output, Device)
    folder, comparisons = compare_run(given.scores, given.against, out=output.out, device=device.device)
    say(table(comparisons))
    return folder


@verb("judge", 115, "SAE_DIR --testbed DIR --url https://api.openai.com/v1 --model gpt-4o-mini --dry-run")
def judge(argv: Sequence[str]) -> Path:
    """Have a language model explain an SAE's latents and tell where they are on."""
    from boardgame_sae.metrics.results import Scores
    from boardgame_sae.metrics.saebench.autointerp.llm_judge import JudgeConfig
    from boardgame_sae.pipeline.judge import NAME, judge_sae
    from boardgame_sae.testbeds.shipped import find_sae, find_testbed

    groups = (JudgeInput, TestbedInput, JudgeConfig, Device)
    given, source, cfg, device = parse("judge", named(argv, "--sae"), *groups)
    how = {"dry_run": given.dry_run, "device": device.device, "calibrate": given.calibrate}
    folder = judge_sae(given.sae, find_testbed(source.testbed), cfg, say=say, **how)
    if folder is None:
        return find_sae(given.sae)
    judged = Scores.load(folder)
    say(Scores(judged.subject | {"skipped": {}}, {NAME: judged[NAME]}).table())
    return folder
