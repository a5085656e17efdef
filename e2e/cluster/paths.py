"""Where things lie: the project's own files, the shared cache, and what belongs to one cluster."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def home() -> Path:
    """The project's folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "haldane"


def programs() -> Path:
    """Programs, as `<program>-<version>/<program>`."""
    return home() / "cluster" / "bin"


def archives() -> Path:
    """Images that take long to make, as `<name>-<key>.tar`."""
    return home() / "cluster" / "images"


def downloads() -> Path:
    """Files that are used as they come, such as CRDs."""
    return home() / "cluster" / "downloads"


def logs() -> Path:
    """One log a step, of its last run."""
    return home() / "cluster" / "logs"


def docker() -> Path:
    """Configuration and log of a Docker daemon started from here."""
    return home() / "cluster" / "docker"


def cluster(name: str) -> Path:
    """What belongs to one cluster: ports, kubeconfig, addresses."""
    return home() / "clusters" / name


def write(path: Path, text: str) -> None:
    """Write a whole file or nothing: readers never see a half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
