"""One verb per stage: `boardgame-sae VERB ...`. Each verb reads and writes run folders and prints the last one's path.

Fields of a stage's config are flags; `--config FILE.yaml` gives them as YAML; a flag wins over the file. Exit codes:
0 done, 1 a run failed, 2 bad input, 130 interrupted, 143 terminated.

One module holds the verbs of one stage, with the flags that they take besides their stage's own config. Modules are
found by walking this folder. They import the package inside their functions, so that `--help` needs no torch.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence

from boardgame_sae.cli.flags import find_verb, say, verbs

__all__ = ["main", "verbs"]

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a program, and here end it as Ctrl-C does."""


class Ended(KeyboardInterrupt):
    """One of the `ENDING` signals came; its only argument is its number."""


def _end(number: int, _: object) -> None:
    raise Ended(number)


def _answer_signals() -> None:
    """Have `ENDING` signals raise Ended, but those that whoever started this process has it ignore, as nohup does."""
    if threading.current_thread() is not threading.main_thread():
        return  # a notebook's or a server's: signals are not ours to answer
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


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
    _answer_signals()
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
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("\ninterrupted; run the same command again, it resumes\n")
        return 128 + (interrupt.args[0] if isinstance(interrupt, Ended) else signal.SIGINT)
    return 0
