"""Completion in the shell: the words that may follow, of every verb."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from boardgame_sae.cli.flags import FlagsByName, flags_by_choice, flags_of, named, parse, verb, verbs
from boardgame_sae.config import config

NAMED: Mapping[str, str] = {
    "--game": "games",
    "--testbed": "testbeds",
    "--like": "testbeds",
    "--sae": "SAEs",
    "--tracker": "trackers",
}
"""What flags name besides a folder, if anything."""
FIRST_WORD: Mapping[str, str] = {
    "check": "testbeds",
    "compare": "SAEs",
    "finetune-sae": "SAEs",
    "judge": "SAEs",
    "latent": "SAEs",
    "report": "testbeds",
    "score": "SAEs",
    "study": "studies",
}
"""What the first word of verbs names, if no flag comes before it."""


class Completed(NamedTuple):
    """What is completed after a verb."""

    flags: FlagsByName
    """Its flags where nothing is chosen."""
    choice: str
    """The flag whose value says which flags there are; empty where none does."""
    by_choice: Mapping[str, FlagsByName]
    """Those there are after each value of it."""
    first: Sequence[str] = ()
    """Names that its first word may be, where no flag comes before it."""

    @property
    def all_flags(self) -> FlagsByName:
        """The flags that it has after some choice or other."""
        return {flag: about for flags in (*self.by_choice.values(), self.flags) for flag, about in flags.items()}


FlagsByVerb: TypeAlias = Mapping[str, Completed]


@config
class ShellInput:
    """Which shell."""

    shell: Literal["bash", "zsh", "fish"]
    """The shell that is to complete."""


@verb("completion", 180, "bash > ~/.local/share/bash-completion/completions/boardgame-sae")
def completion(argv: Sequence[str]) -> str:
    """Print a script that has the shell complete verbs, flags and their values."""
    (given,) = parse("completion", named(argv, "--shell"), ShellInput)
    return _SCRIPTS[given.shell]({name: _completed(name) for name in verbs()})


def _completed(name: str) -> Completed:
    choice = verbs()[name].choice
    by_choice = {value: _with_names(flags) for value, flags in flags_by_choice(name).items()}
    first = names_of(FIRST_WORD[name]) if name in FIRST_WORD else ()
    return Completed(_with_names(flags_of(name)), "" if choice is None else choice.flag, by_choice, first)


def _with_names(flags: FlagsByName) -> FlagsByName:
    """Flags, with the names that are known here as values of those that list none themselves."""
    return {
        flag: (meaning, values or (names_of(NAMED[flag]) if flag in NAMED else ()))
        for flag, (meaning, values) in flags.items()
    }


def names_of(kind: str) -> tuple[str, ...]:
    """The names there are here of `games`, `testbeds`, `SAEs`, `studies` or `trackers`."""
    from boardgame_sae.games.registry import games
    from boardgame_sae.model.trackers.tracker import trackers
    from boardgame_sae.registry import declared
    from boardgame_sae.testbeds.shipped import shipped_saes, shipped_testbeds

    if kind == "games":
        return tuple(sorted(games()))
    if kind == "trackers":
        return ("none", *trackers())
    if kind == "studies":
        return tuple(sorted(each.argument for each in declared("boardgame_sae.studies", "study")))
    if kind == "testbeds":
        return tuple(shipped_testbeds())
    return tuple(f"{name}/{sae}" for name, folder in shipped_testbeds().items() for sae in shipped_saes(folder))


def _bash(flags: FlagsByVerb) -> str:
    lines = [
        "# Completion of boardgame-sae in bash.",
        "_boardgame_sae() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" last="${COMP_WORDS[COMP_CWORD-1]}" known=""',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        known="{" ".join(flags)} --help --version"',
        "    else",
        '        case "${COMP_WORDS[1]} $last $word" in',
        *_cases(flags, "            ", "${COMP_WORDS[*]}"),
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
        *_cases(flags, "        ", "${words[*]}"),
        "    esac",
        '    [[ -n "$known" ]] && compadd -- ${=known} || _files',
        "}",
        "compdef _boardgame_sae boardgame-sae",
    ]
    return "\n".join(lines)


def _cases(flags: FlagsByVerb, indent: str, line: str) -> list[str]:
    """Patterns of `VERB LAST WORD`, and what is known there: values after a flag, flags where a word begins with -.

    line: how the shell writes all words so far.
    """
    lines = []
    for name, own in flags.items():
        for flag, (_, values) in own.all_flags.items():
            if values:
                lines.append(f'{indent}"{name} {flag} "*) known="{" ".join(values)}" ;;')
        if own.first:
            lines.append(f'{indent}"{name} {name} -"*) {_known(own.flags)} ;;')
            lines.append(f'{indent}"{name} {name} "*) known="{" ".join(own.first)}" ;;')
        lines.append(f'{indent}"{name} "*" -"*) {_known(own.flags)}')
        if own.choice:
            lines.append(f'{indent}    case " {line} " in')
            for value, chosen in own.by_choice.items():
                patterns = "|".join(f'*" {own.choice}{sign}{value} "*' for sign in (" ", "=", " = "))  # bash cuts at =
                lines.append(f"{indent}        {patterns}) {_known(chosen)} ;;")
            lines.append(f"{indent}    esac")
        lines.append(f"{indent}    ;;")
    return lines


def _known(flags: FlagsByName) -> str:
    return f'known="{" ".join([*flags, "--config", "--help"])}"'


def _fish(flags: FlagsByVerb) -> str:
    lines = ["# Completion of boardgame-sae in fish."]
    for name, each in verbs().items():
        start, own = "complete -c boardgame-sae", flags[name]
        lines.append(f"{start} -n __fish_use_subcommand -f -a {name} -d {_quoted(each.summary)}")
        if own.first:
            words = _quoted(" ".join(own.first))
            alone = _quoted(f"__fish_seen_subcommand_from {name}; and test (count (commandline -opc)) -eq 2")
            lines.append(f"{start} -n {alone} -a {words}")
        for flag, (meaning, values) in own.all_flags.items():
            files = "-r" if flag in NAMED else "-x"  # a name stands for a folder, which one may give as well
            taken = f" {files} -a {_quoted(' '.join(values))}" if values else " -r"
            about = _quoted(meaning.partition(". ")[0])
            when = _quoted(f"__fish_seen_subcommand_from {name}{_fish_choice(own, flag)}")
            lines.append(f"{start} -n {when} -l {flag[2:]}{taken} -d {about}")
    return "\n".join(lines)


def _fish_choice(own: Completed, flag: str) -> str:
    """The condition that the line so far has chosen something with a flag; nothing where every choice has it."""
    having = [value for value, flags in own.by_choice.items() if flag in flags]
    if len(having) == len(own.by_choice):
        return ""
    line = '(string join " " -- (commandline -opc))'
    chosen = f"{own.choice}[= ]({'|'.join(having)})( |$)"
    if flag not in own.flags:
        return f'; and string match -qr -- "{chosen}" {line}'
    return f'; and begin; string match -qr -- "{chosen}" {line}; or not string match -q -- "*{own.choice}*" {line}; end'


def _quoted(text: str) -> str:
    """A text in single quotes, as every shell reads it."""
    return "'" + text.replace("'", r"'\''") + "'"


_SCRIPTS: Mapping[str, Callable[[FlagsByVerb], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
