"""Completion in the shell: the words that may follow, of every verb."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from boardgame_sae.cli.flags import flags_of, named, parse, verb, verbs
from boardgame_sae.config import config

FlagsByVerb: TypeAlias = Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]]
"""For each verb its flags, as `flags_of` gives them."""


@config
class ShellInput:
    """Which shell."""

    shell: Literal["bash", "zsh", "fish"]
    """The shell that is to complete."""


@verb("completion", 180, "bash > ~/.local/share/bash-completion/completions/boardgame-sae")
def completion(argv: Sequence[str]) -> str:
    """Print a script that has the shell complete verbs, flags and their values."""
    (given,) = parse("completion", named(argv, "--shell"), ShellInput)
    return _SCRIPTS[given.shell]({name: flags_of(name) for name in verbs()})


def _bash(flags: FlagsByVerb) -> str:
    lines = [
        "# Completion of boardgame-sae in bash.",
        "_boardgame_sae() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" last="${COMP_WORDS[COMP_CWORD-1]}" known=""',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        known="{" ".join(flags)} --help --version"',
        "    else",
        '        case "${COMP_WORDS[1]} $last $word" in',
        *_cases(flags, "            "),
        "        esac",
        "    fi",
        '    COMPREPLY=($(compgen -W "$known" -- "$word"))',
        "}",
        "complete -o default -F _boardgame_sae boardgame-sae",
    ]
    return "\n".join(lines)


def _zsh(flags: FlagsByVerb) -> str:
    described = " ".join(_quoted(f"{name}:{each.summary}") for name, each in verbs().items())
    lines = [
        "#compdef boardgame-sae",
        "_boardgame_sae() {",
        '    local word="${words[CURRENT]}" last="${words[CURRENT-1]}" known=""',
        "    if (( CURRENT == 2 )); then",
        f"        local -a described=({described})",
        "        _describe verb described",
        "        return",
        "    fi",
        '    case "${words[2]} $last $word" in',
        *_cases(flags, "        "),
        "    esac",
        '    if [[ -n "$known" ]]; then compadd -- ${=known}; else _files; fi',
        "}",
        "compdef _boardgame_sae boardgame-sae",
    ]
    return "\n".join(lines)


def _cases(flags: FlagsByVerb, indent: str) -> list[str]:
    """Patterns of `VERB LAST WORD`, and what is known there: values after a flag, flags where a word begins with -."""
    lines = []
    for name, own in flags.items():
        for flag, (_, values) in own.items():
            if values:
                lines.append(f'{indent}"{name} {flag} "*) known="{" ".join(values)}" ;;')
        lines.append(f'{indent}"{name} "*" -"*) known="{" ".join([*own, "--config", "--help"])}" ;;')
    return lines


def _fish(flags: FlagsByVerb) -> str:
    lines = ["# Completion of boardgame-sae in fish."]
    for name, each in verbs().items():
        start = "complete -c boardgame-sae"
        lines.append(f"{start} -n __fish_use_subcommand -f -a {name} -d {_quoted(each.summary)}")
        for flag, (meaning, values) in flags[name].items():
            taken = f" -x -a {_quoted(' '.join(values))}" if values else " -r"
            about = _quoted(meaning.partition(". ")[0])
            lines.append(f"{start} -n '__fish_seen_subcommand_from {name}' -l {flag[2:]}{taken} -d {about}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text in single quotes, as every shell reads it."""
    return "'" + text.replace("'", r"'\''") + "'"


_SCRIPTS: Mapping[str, Callable[[FlagsByVerb], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
