"""Where numba keeps compiled kernels: one folder for each state of their sources, at the first place it can write to.

By itself numba looks only at the file that a kernel is in, so that after an upgrade it runs code in which another
file's kernel, compiled in, is still the old one. And it gives up, and no kernel can be imported, where neither the
package nor the user's home can be written to, as in a container that runs as somebody else.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent
_VARIABLE = "NUMBA_CACHE_DIR"
_FOLDER = "kernels-"


def choose_kernel_cache() -> None:
    """Name a folder for numba's cache in the environment, unless one is named there.

    To be called before numba is imported. Worker processes inherit the choice.
    """
    if _VARIABLE in os.environ:
        return
    place, name = _beside_the_sources() or _of_user() or _private(), f"{_FOLDER}{_kernels_hash()}"
    if place.parent == _PACKAGE:
        for older in place.glob(f"{_FOLDER}*"):
            if older.name != name:
                shutil.rmtree(older, ignore_errors=True)
    os.environ[_VARIABLE] = str(place / name)


def _kernels_hash() -> str:
    """A hash of every source that holds a kernel."""
    digest = hashlib.sha256()
    for source in sorted(_PACKAGE.rglob("*.py")):
        data = source.read_bytes()
        if b"njit" in data:
            digest.update(f"{source.relative_to(_PACKAGE)} {len(data)} ".encode() + data)
    return digest.hexdigest()[:16]


def _beside_the_sources() -> Path | None:
    """The package's own folder of compiled files, if it can be written to."""
    return _made(_PACKAGE / "__pycache__")


def _of_user() -> Path | None:
    """A folder in the user's cache, if there can be one."""
    return _made(Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "boardgame-sae" / "numba")


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _private() -> Path:
    """A temporary folder that nobody else can write to, as numba runs what it finds there; the same each time if it is.

    Raises OSError when no temporary folder can be made.
    """
    if not hasattr(os, "getuid"):  # Windows, where the temporary folder is the user's own
        return Path(tempfile.gettempdir()) / "boardgame-sae-numba"
    folder = Path(tempfile.gettempdir()) / f"boardgame-sae-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="boardgame-sae-numba-"))
    own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
    return folder if own else Path(tempfile.mkdtemp(prefix="boardgame-sae-numba-"))
