"""Completion for shells: scripts that are valid and know every verb, flag and choice."""

import shutil
import subprocess

import pytest

from boardgame_sae import cli
from boardgame_sae.cli.flags import flags_of


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
    assert complete(scripts["bash"], "boardgame-sae", "check", "") == []  # bash then offers files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_flag_is_there_and_the_shell_reads_it(scripts, shell, tmp_path):
    text = scripts[shell]
    for verb in cli.verbs():
        assert verb in text
        for flag in flags_of(verb):
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
