"""Tensor files: safetensors written whole and read with errors that name file and tensor; other libraries' `.pt` files.

Every weight that enters is finite: a NaN would spread to each number computed from it, silently.
"""

import hashlib
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from boardgame_sae.files import RunError, lfs_pointer_error, write_bytes

T = TypeVar("T")
WRAPPERS = ("module", "_orig_mod")
"""What data-parallel training and torch.compile put into the names of the tensors of what they wrap."""


def read_tensors(path: Path, fix: str, *, finite: bool = True, unset: Collection[str] = ()) -> dict[str, Any]:
    """The torch tensors, by name, of a safetensors file.

    fix: what to do about a damaged file, for the message. finite: False for a file that may also hold what is no
    weight, such as a mask, for which infinity is right. unset: names of tensors that are NaN until they are set.
    Raises RunError naming the file, and the tensor of one that is not finite.
    """
    with _open(path, "pt", fix) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if finite:
        check_finite(path, {name: tensor for name, tensor in tensors.items() if name not in unset})
    return tensors


def read_arrays(path: Path, fix: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The numpy arrays, by name, and the metadata of a safetensors file, without loading torch.

    fix: what to do about a damaged file, for the message. Raises RunError naming the file.
    """
    with _open(path, "numpy", fix) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return arrays, file.metadata() or {}


def read_metadata(path: Path, fix: str) -> dict[str, str]:
    """The metadata in a safetensors file's header. Raises RunError naming the file."""
    with _open(path, "numpy", fix) as file:
        return file.metadata() or {}


def shapes_of(path: Path, fix: str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a safetensors file, from its header alone. Raises RunError naming the file."""
    with _open(path, "numpy", fix) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _open(path: Path, framework: str, fix: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework) as file:
            yield file
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; {fix}") from None
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise lfs_pointer_error(path) or RunError(f"{path}: truncated or damaged ({error}); {fix}") from error


def read_pt(path: Path, fix: str) -> Any:
    """The tensors and plain data in another library's `.pt` file; anything else in it is refused and never run.

    fix: what to do about a file that is damaged or holds more, for the message.
    Raises RunError naming the file.
    """
    import torch  # imported late: it takes seconds

    if path.is_file() and tarfile.is_tarfile(path):  # torch would unpack it into a temporary folder, then refuse it
        raise RunError(f"{path}: in torch's .tar format of before 2017, which is not read; {fix}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise lfs_pointer_error(path) or RunError(
            f"{path}: damaged, or holds more than tensors and plain data and was not run ({reason}); {fix}"
        ) from error


def without_wrappers(tensors: Mapping[str, T]) -> dict[str, T]:
    """Tensors by the names they have outside of `DataParallel` and `torch.compile`, which may wrap parts too."""
    return {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): value for name, value in tensors.items()
    }


def check_finite(path: Path | str, tensors: Mapping[str, Any]) -> None:
    """Raise RunError naming the file and the tensors in which a number is NaN or infinite."""
    if faulty := not_finite(tensors):
        raise RunError(
            f"{path}: {_listed(faulty)} holds NaN or infinite values, so that every number computed from it would be "
            "wrong; its training diverged or the file was damaged: use an earlier checkpoint"
        )


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """Names of the tensors in which a number is NaN or infinite."""
    return [name for name, tensor in tensors.items() if not _finite(tensor)]


def _finite(tensor: Any) -> bool:
    if isinstance(tensor, np.ndarray):
        return tensor.dtype.kind not in "fc" or bool(np.isfinite(tensor).all())
    if not tensor.is_floating_point():
        return True
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())  # torch cannot of 8 bits


def _listed(names: Iterable[str]) -> str:
    first, *rest = (f"tensor '{name}'" for name in names)
    return f"{first} (and {len(rest)} more)" if rest else first


def tensors_hash(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of torch tensors, wherever they are: their names, number formats, shapes and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (all of torch or all of numpy) as safetensors, whole or not at all.

    The file is written by us and not by safetensors, which would leave temporary files of its own and give every file
    the mode 0600. Raises RunError when the disk is full.
    """
    about = dict(metadata) if metadata else None
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save

        write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about))
        return
    from safetensors.torch import save  # imported late: torch takes seconds

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, about))
