"""Where numba keeps compiled kernels: beside the sources, where it can write there; else where it can at all.

By itself it gives up, and no kernel can be imported, where neither the package nor the user's home can be written to,
as in a container that runs as somebody else.
"""

import os
import stat
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent
_VARIABLE = "NUMBA_CACHE_DIR"


def choose_kernel_cache() -> None:
    """Name a folder for numba's cache in the environment, unless it is named or numba finds one beside the sources.

    To be called before numba is imported. Worker processes inherit the choice.
    """
    if _VARIABLE not in os.environ and not _writable_package():
        os.environ[_VARIABLE] = str(_of_user() or _private())


def _writable_package() -> bool:
    folders = {source.parent for source in _PACKAGE.rglob("*.py")}
    caches = (folder / "__pycache__" if (folder / "__pycache__").exists() else folder for folder in folders)
    return all(os.access(cache, os.W_OK | os.X_OK) for cache in caches)


def _of_user() -> Path | None:
    """A folder in the user's cache, if there can be one."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "boardgame-sae" / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _private() -> Path:
    """A temporary folder that nobody else can write to, as numba runs what it finds there; the same each time if it is.

    Raises OSError when no temporary folder can be made.
    """
    folder = Path(tempfile.gettempdir()) / f"boardgame-sae-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="boardgame-sae-numba-"))
    own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
    return folder if own else Path(tempfile.mkdtemp(prefix="boardgame-sae-numba-"))
