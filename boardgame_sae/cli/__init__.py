"""One verb per stage: `boardgame-sae VERB ...`. Each verb reads and writes run folders and prints the last one's path.

Fields of a stage's config are flags; `--config FILE.yaml` gives them as YAML; a flag wins over the file. `endings`
lists the exit codes.

One module holds the verbs of one stage, with the flags that they take besides their stage's own config. Modules are
found by walking this folder. They import the package inside their functions, so that `--help` needs no torch.
"""

import sys
from collections.abc import Sequence

from boardgame_sae import __version__
from boardgame_sae.cli.endings import ended
from boardgame_sae.cli.flags import find_verb, say, verbs
from boardgame_sae.streams import open_closed_streams

__all__ = ["main", "verbs"]


def _help() -> str:
    lines = ["usage: boardgame-sae VERB [flags]    (boardgame-sae VERB --help shows a verb's flags)", ""]
    lines += [f"  {name:14}{verb.summary}" for name, verb in verbs().items()]
    return "\n".join(lines)


def _run(words: Sequence[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        say(_help())
    elif words[0] in ("-V", "--version"):
        say(f"boardgame-sae {__version__}")
    else:
        say(str(find_verb(words[0]).function(words[1:])))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    open_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    return ended(lambda: _run(words))
