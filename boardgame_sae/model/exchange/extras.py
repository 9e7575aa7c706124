"""Optional libraries: what needs one names the extra that brings it."""

from collections.abc import Iterator
from contextlib import contextmanager

from boardgame_sae.files import RunError


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Import optional libraries inside this. Raises RunError that names the extra where one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f"{what} needs {error.name}, which is not installed: pip install 'boardgame-sae[{extra}]'"
        ) from error
