"""Completion for shells: scripts that are valid and know every verb, flag and choice."""

import re
import shutil
import subprocess
from itertools import chain

import pytest

from boardgame_sae import cli
from boardgame_sae.cli.completion import FIRST_WORD, names_of
from boardgame_sae.cli.flags import flags_by_choice, flags_of
from boardgame_sae.games.registry import games
from boardgame_sae.saes.registry import architectures
from boardgame_sae.testbeds.shipped import shipped_testbeds


@pytest.fixture(scope="module")
def scripts():
    """The script of each shell, made once."""
    made = {}
    for shell in ("bash", "zsh", "fish"):
        made[shell] = cli.find_verb("completion").function([shell])
    return made


def complete(script, *words):
    """What bash offers for the last of some words."""
    array = " ".join(f"'{word}'" for word in words)
    ask = f'{script}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _boardgame_sae; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_verbs_flags_and_values(scripts):
    assert complete(scripts["bash"], "boardgame-sae", "import") == ["import-pgn", "import-games", "import"]
    assert set(complete(scripts["bash"], "boardgame-sae", "")) >= set(cli.verbs())
    assert complete(scripts["bash"], "boardgame-sae", "score", "--suite", "q") == ["quick"]
    assert complete(scripts["bash"], "boardgame-sae", "train-gpt", "--preset", "") == ["tiny", "small", "paper"]
    assert complete(scripts["bash"], "boardgame-sae", "generate", "--n-") == ["--n-games"]
    assert complete(scripts["bash"], "boardgame-sae", "import", "") == []  # bash then offers files


def test_bash_completes_names_of_games_testbeds_saes_and_studies(scripts):
    bash = scripts["bash"]
    assert complete(bash, "boardgame-sae", "generate", "--game", "othello6") == [
        name for name in sorted(games()) if name.startswith("othello6")
    ]
    assert complete(bash, "boardgame-sae", "train-sae", "--testbed", "othello6") == ["othello6-tiny"]
    assert complete(bash, "boardgame-sae", "check", "") == list(shipped_testbeds())
    assert complete(bash, "boardgame-sae", "latent", "othello6-tiny/topk-1") == ["othello6-tiny/topk-16"]
    assert complete(bash, "boardgame-sae", "study", "stit") == ["stitching"]
    assert complete(bash, "boardgame-sae", "study", "--n") == ["--name"]
    assert complete(bash, "boardgame-sae", "check", "./data") == []  # no name: bash then offers files


@pytest.mark.parametrize("name", FIRST_WORD)
def test_a_verbs_first_word_is_what_completion_says_it_names(name):
    """A verb that takes no word without a flag would refuse it."""
    assert flags_of(name, "WORD") == flags_of(name)
    assert names_of(FIRST_WORD[name])


@pytest.mark.parametrize(
    "chosen", [["--architecture", "gated"], ["--architecture=gated"], ["--architecture", "=", "gated"]]
)
def test_bash_offers_the_flags_of_what_is_chosen_on_the_line_so_far(scripts, chosen):
    start = ("boardgame-sae", "train-sae")
    assert "--k" in complete(scripts["bash"], *start, "-") and "--k" not in complete(
        scripts["bash"], *start, *chosen, "-"
    )
    offered = complete(scripts["bash"], *start, *chosen, "--")
    assert set(offered) == {*flags_of("train-sae", "--architecture", "gated"), "--config", "--help"}
    assert complete(scripts["bash"], *start, *chosen, "--sparsity-c") == ["--sparsity-coefficient"]
    assert complete(scripts["bash"], *start, "--architecture", "gat") == ["gated", "gated_p_anneal"]


def test_fish_offers_a_flag_where_what_is_chosen_has_it(scripts):
    (line,) = [line for line in scripts["fish"].splitlines() if "from train-sae" in line and " -l k " in line]
    chosen = next(part for part in line.split('"') if part.startswith("--architecture[= ]"))
    with_k = {name for name in architectures() if "--k" in flags_of("train-sae", "--architecture", name)}
    assert {name for name in architectures() if re.search(chosen, f"train-sae --architecture {name} --k")} == with_k
    assert all(re.search(chosen, f"train-sae --architecture={name}") for name in with_k)
    if shutil.which("fish"):
        ask = f"{scripts['fish']}\ncomplete -C 'boardgame-sae train-sae --architecture gated --sparsity'"
        assert "--sparsity-coefficient" in subprocess.run(["fish", "-c", ask], capture_output=True, text=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_flag_is_there_and_the_shell_reads_it(scripts, shell, tmp_path):
    text = scripts[shell]
    for verb in cli.verbs():
        assert verb in text
        for flag in {*flags_of(verb), *chain.from_iterable(flags_by_choice(verb).values())}:
            assert flag.removeprefix("--") in text, (verb, flag)
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_the_verb_prints_the_script_and_nothing_else(capsys, scripts):
    assert cli.main(["completion", "fish"]) == 0 and capsys.readouterr().out == scripts["fish"] + "\n"
    assert cli.main(["completion", "tcsh"]) == 2


def test_the_flags_of_a_verb_are_those_of_its_help():
    assert flags_of("score")["--suite"][1] == ("quick", "supervised", "saebench", "causal", "all")
    assert "--out" in flags_of("generate") and flags_of("ls") == {}
