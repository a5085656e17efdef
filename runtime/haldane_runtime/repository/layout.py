"""What lies in a model repository folder. Reads names, sizes and times, never contents.

    <repository>/<model>/<version>/model.onnx     versions are whole numbers from 1
    <repository>/<model>/model.onnx               the same as version 1
    <repository>/<model>.onnx                     the same as version 1

A folder that itself holds `model.onnx`, or versions of it, is a repository of that one model.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.location import MODEL_FILE

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
FIRST_VERSION = "1"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model: `path` is a .onnx file or the folder that holds `model.onnx`."""

    version: str
    path: Path


def scan(root: Path) -> dict[str, tuple[ModelVersion, ...]]:
    """The models of a repository by name, each with its versions, the lowest first.

    Folders without a version and without `model.onnx` are no models, as are names that could not
    be written in a URL.

    Raises:
        LoadError: ModelNotFound or AccessDenied, when the folder cannot be read.
    """
    try:
        own = _versions(root)
        if any(version.path == root or (version.path / MODEL_FILE).is_file() for version in own):
            return {model_name(root.resolve()): own}
        return dict(_models(root))
    except PermissionError as error:
        raise LoadError(Reason.ACCESS_DENIED, f"The model repository {root} cannot be read by this user.") from error
    except OSError as error:
        raise LoadError(
            Reason.MODEL_NOT_FOUND, f"The model repository {root} cannot be read: {error.strerror}; name a folder."
        ) from error


def model_name(path: Path) -> str:
    """A name for the model at `path`: that of its file or folder, without what says nothing of it."""
    parts = [part for part in path.parts if part != path.anchor]
    if parts and parts[-1] == MODEL_FILE:
        parts.pop()
    if parts and VERSION.fullmatch(parts[-1]):
        parts.pop()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1].removesuffix(".onnx")).strip("._-") if parts else ""
    return name[:128].rstrip("._-") or "model"


def stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of the version does: the name, size and time of each.

    Raises:
        OSError: when a file is gone.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((str(file), (info := file.stat()).st_size, info.st_mtime_ns) for file in files if file.is_file())


def _models(root: Path) -> Iterator[tuple[str, tuple[ModelVersion, ...]]]:
    children = [child for child in sorted(root.iterdir()) if NAME.fullmatch(child.name)]
    folders = {child.name: found for child in children if child.is_dir() and (found := _readable_versions(child))}
    yield from folders.items()
    for child in children:
        if child.suffix == ".onnx" and child.is_file() and child.stem not in folders:
            yield child.stem, (ModelVersion(FIRST_VERSION, child),)


def _readable_versions(folder: Path) -> tuple[ModelVersion, ...]:
    """None of a folder that is not ours to read, such as the `lost+found` of a volume."""
    try:
        return _versions(folder)
    except PermissionError:
        log.warning("%s cannot be read by this user and is left out of the repository", folder)
        return ()


def _versions(model: Path) -> tuple[ModelVersion, ...]:
    """Numbered folders, else the folder itself; a numbered folder without a model is a version that fails to load."""
    numbers = sorted(int(child.name) for child in model.iterdir() if VERSION.fullmatch(child.name) and child.is_dir())
    if not numbers and (model / MODEL_FILE).is_file():
        return (ModelVersion(FIRST_VERSION, model),)
    return tuple(ModelVersion(str(number), model / str(number)) for number in numbers)
