"""What a path or URI on the command line means, as the settings that say the same."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.repository.layout import VERSION, model_name, scan
from haldane_runtime.store.location import MODEL_FILE

_SOURCES = ("HALDANE_MODEL_URI", "HALDANE_MODEL_REPOSITORY")
_ALSO_DESCRIBED = ("HALDANE_MODEL_NAME", "HALDANE_MODEL_VERSION")


def with_target(environ: Mapping[str, str], target: str | None) -> dict[str, str]:
    """The environment with `target` for what is to be served, instead of what it says itself.

    A URI or a .onnx file is one model, as is a folder that holds `model.onnx`; any other folder is
    a repository. Name and version come from the path unless the environment gives them.

    Raises:
        LoadError: ModelNotFound, when there is nothing of the kind at that path.
    """
    if target is None:
        return dict(environ)
    kept = {name: value for name, value in environ.items() if name not in _SOURCES}
    meant = _meaning(target)
    for name in _ALSO_DESCRIBED:
        if kept.get(name, "").strip():
            meant.pop(name, None)
    return {**kept, **meant, **_cache(kept)}


def _meaning(target: str) -> dict[str, str]:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", target):
        name = model_name(Path(target.split("?", 1)[0].split("://", 1)[1]))
        return {"HALDANE_MODEL_URI": target, "HALDANE_MODEL_NAME": name}
    path = Path(target).absolute()
    if not path.exists():
        raise LoadError(
            Reason.MODEL_NOT_FOUND,
            f"{target} does not exist; name a .onnx file, a folder with {MODEL_FILE}, a repository's folder or a URI.",
        )
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        if not scan(path):
            raise LoadError(
                Reason.MODEL_NOT_FOUND, f"{target} holds no model; a model is <model>/<version>/{MODEL_FILE} in it."
            )
        return {"HALDANE_MODEL_REPOSITORY": str(path)}
    return {"HALDANE_MODEL_URI": path.as_uri(), "HALDANE_MODEL_NAME": model_name(path), **_version(path)}


def _version(path: Path) -> dict[str, str]:
    folder = path.parent if path.name == MODEL_FILE else path
    return {"HALDANE_MODEL_VERSION": folder.name} if VERSION.fullmatch(folder.name) else {}


def _cache(environ: Mapping[str, str]) -> dict[str, str]:
    """Outside a container the default folder is not this user's to write."""
    default = Path("/var/cache/haldane")
    if environ.get("HALDANE_CACHE_DIR", "").strip() or os.access(
        default if default.exists() else "/var/cache", os.W_OK
    ):
        return {}
    home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    return {"HALDANE_CACHE_DIR": f"{home}/haldane/models"}
