"""Images as an OCI layout in a tar stream, which containerd imports without a registry or Docker in between.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
COMPRESSIONS = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}
"""The first bytes of a compressed layer, and what its media type then ends in."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CHUNK = 1 << 20


@dataclass(frozen=True)
class Descriptor:
    """A blob by its media type, its digest (`sha256:...`) and its size in bytes."""

    kind: str
    digest: str
    size: int

    def json(self) -> dict[str, Any]:
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class ProgramImage:
    """An image of one static program, which is its entry point."""

    reference: str
    """The image's full name, with registry and version."""
    program: Path
    target: str
    """Where the program lies in the image."""


class Layout:
    """Writes images to a tar stream. Blobs in `held` are named but not sent: the reader has them."""

    def __init__(self, stream: IO[bytes], held: Collection[str] = ()) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w|")  # noqa: SIM115
        self._sent = set(held)
        self._images: list[dict[str, Any]] = []

    def __enter__(self) -> "Layout":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._file("oci-layout", _encoded({"imageLayoutVersion": "1.0.0"}))
            self._file("index.json", _encoded({"schemaVersion": 2, "manifests": self._images}))
            self._tar.close()

    def blob(self, kind: str, content: bytes) -> Descriptor:
        """Send a small blob."""
        return self.blob_of(kind, io.BytesIO(content))

    def blob_of(self, kind: str, file: IO[bytes]) -> Descriptor:
        """Send a blob from a file that can be read twice."""
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        size = file.seek(0, os.SEEK_END)
        found = Descriptor(kind, f"sha256:{digest.hexdigest()}", size)
        if found.digest not in self._sent:
            self._sent.add(found.digest)
            file.seek(0)
            member = tarfile.TarInfo(f"blobs/sha256/{digest.hexdigest()}")
            member.size = size
            self._tar.addfile(member, file)
        return found

    def layer(self, file: IO[bytes]) -> Descriptor:
        """Send a layer, compressed or not."""
        start = file.read(4)
        file.seek(0)
        ending = next((ending for magic, ending in COMPRESSIONS.items() if start.startswith(magic)), "")
        return self.blob_of(LAYER + ending, file)

    def image(self, references: Sequence[str], config: bytes, layers: Sequence[Descriptor]) -> None:
        """Add an image, under each of its full names, whose layers have been sent."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(CONFIG, config).json(),
            "layers": [layer.json() for layer in layers],
        }
        described = self.blob(MANIFEST, _encoded(manifest)).json()
        for reference in references:
            self._images.append({**described, "annotations": {"io.containerd.image.name": reference}})

    def program(self, image: ProgramImage) -> None:
        """Add an image of one program."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as layer:
                member = tarfile.TarInfo(image.target.lstrip("/"))
                member.size = image.program.stat().st_size
                member.mode = 0o755
                with image.program.open("rb") as program:
                    layer.addfile(member, program)
            file.seek(0)
            sent = self.layer(file)
        config = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [image.target], "Env": ["PATH=/usr/local/bin:/"]},
            "rootfs": {"type": "layers", "diff_ids": [sent.digest]},
        }
        self.image([image.reference], _encoded(config), [sent])

    def _file(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


def thinned(saved: IO[bytes], stream: IO[bytes], held: Collection[str], references: dict[str, str]) -> None:
    """Turn what `docker save` prints into an OCI layout without the blobs that are held.

    Docker names an image's parts in `manifest.json`, the last member; older versions call layers by other names than their
    digests, so each is hashed on its way. `references` maps the names that Docker knows to full names.
    """
    with Layout(stream, held) as layout, tarfile.open(fileobj=saved, mode="r|") as archive:
        small: dict[str, bytes] = {}
        layers: dict[str, Descriptor] = {}
        links: dict[str, str] = {}
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if member.issym():
                # A layer that two images share may be stored once and linked to.
                links[member.name] = os.path.normpath(Path(member.name).parent / member.linkname)
            elif source and member.name.endswith(("json", "repositories", "VERSION", "oci-layout")):
                small[member.name] = source.read()
            elif source:
                with tempfile.TemporaryFile() as file:
                    shutil.copyfileobj(source, file, CHUNK)
                    file.seek(0)
                    if member.size < CHUNK:
                        # Newer versions store an image's configuration among the layers, under its digest.
                        small[member.name] = file.read()
                        file.seek(0)
                    layers[member.name] = layout.layer(file)
        for image in json.loads(small["manifest.json"]):
            parts = [layers[links.get(name, name)] for name in image["Layers"]]
            names = [references[tag] for tag in image["RepoTags"] or () if tag in references]
            layout.image(names, small[image["Config"]], parts)


def _encoded(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
