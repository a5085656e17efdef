"""Docker images: whether they are there, how they are built, kept in the cache and taken back from it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import host, paths
from e2e.cluster.shell import Shell, ask

BUILD_SECONDS = 1800
LOAD_SECONDS = 300
KEY_LABEL = "dev.haldane.key"
"""An image's label with the hash of all that it was made from: a tag alone does not tell whether the image is current."""


@dataclass(frozen=True)
class Image:
    """An image made here. Two images of the same key are the same image."""

    tag: str
    key: str

    def exists(self) -> bool:
        form = f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}'
        return (ask(["docker", "image", "inspect", "--format", form, self.tag]) or "").strip() == self.key

    @property
    def archive(self) -> Path:
        name = self.tag.removeprefix("haldane.local/").replace("/", "-").replace(":", "-")
        return paths.archives() / f"{name}-{self.key}.tar"

    def save(self, shell: Shell) -> None:
        """Keep the image in the cache, in place of older ones of the same tag."""
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.archive.with_name(f".{self.archive.name}.{os.getpid()}")
        shell.run(["docker", "save", "-o", fresh, self.tag], seconds=LOAD_SECONDS)
        fresh.replace(self.archive)
        for old in self.archive.parent.glob(self.archive.name.replace(self.key, "*")):
            if old != self.archive:
                old.unlink()

    def restore(self, shell: Shell) -> None:
        """Give the image back to a daemon that lost it."""
        shell.run(["docker", "load", "-i", self.archive], seconds=LOAD_SECONDS)


def key(*parts: str | Path) -> str:
    """A short hash of texts, and of files by their content and whether they are executable."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(f"{part.name} {os.access(part, os.X_OK)}\0".encode())
            digest.update(part.read_bytes())
        else:
            digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def builder() -> dict[str, str]:
    """The environment for `docker build`.

    The classic builder is chosen where BuildKit is not whole (a client without buildx refuses to build), and where containers
    need the OCI wrapper, which BuildKit inside the daemon does not use.
    """
    if host.withholds_privileges() or not ask(["docker", "buildx", "version"]):
        return {"DOCKER_BUILDKIT": "0"}
    return {}


def proxies() -> list[str]:
    """Build arguments that pass the host's proxies on; Docker knows these names without a declaration."""
    names = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return [word for name in names if name in os.environ for word in ("--build-arg", name)]


def build(
    image: Image, dockerfile: Path, files: Sequence[Path], shell: Shell, arguments: Mapping[str, str] | None = None
) -> None:
    """Build from a Dockerfile and a few files, each found at the root of the context under its own name.

    The tag appears when the build is complete, never before.
    """
    with tempfile.TemporaryDirectory(prefix="haldane-") as folder:
        for file in [dockerfile, *files]:
            shutil.copy(file, Path(folder) / file.name)
        options = [word for name, value in (arguments or {}).items() for word in ("--build-arg", f"{name}={value}")]
        labels = ["--label", f"{KEY_LABEL}={image.key}"]
        command = ["docker", "build", "--network", "host", *proxies(), *options, *labels, "-t", image.tag]
        shell.run([*command, "-f", Path(folder) / dockerfile.name, folder], seconds=BUILD_SECONDS, env=builder())


def image_id(tag: str) -> str | None:
    """The ID of a local image, None when Docker has none of that name."""
    return (ask(["docker", "image", "inspect", "--format", "{{.Id}}", tag]) or "").strip() or None


def container_state(name: str) -> str | None:
    """`running`, `exited`, ... or None when there is no such container."""
    return (ask(["docker", "container", "inspect", "--format", "{{.State.Status}}", name]) or "").strip() or None
