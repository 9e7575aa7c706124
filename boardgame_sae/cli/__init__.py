"""One verb per stage: `boardgame-sae VERB ...`. Each verb reads and writes run folders and prints the last one's path.

Fields of a stage's config are flags; `--config FILE.yaml` gives them as YAML; a flag wins over the file. Exit codes:
0 done, 1 a run failed, 2 bad input.

One module holds the verbs of one stage, with the flags that they take besides their stage's own config. Modules are
found by walking this folder. They import the package inside their functions, so that `--help` needs no torch.
"""

import os
import sys
from collections.abc import Sequence

from boardgame_sae.cli.flags import find_verb, say, verbs

__all__ = ["main", "verbs"]


def _help() -> str:
    lines = ["usage: boardgame-sae VERB [flags]    (boardgame-sae VERB --help shows a verb's flags)", ""]
    lines += [f"  {name:12}{verb.summary}" for name, verb in verbs().items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        say(_help())
        return 0
    try:
        say(str(find_verb(words[0]).function(words[1:])))
        sys.stdout.flush()
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except BrokenPipeError:  # whatever reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RuntimeError, OSError, MemoryError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again, it resumes\n")
        return 130
    return 0
