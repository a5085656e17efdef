"""A Debian root file system as a Docker image, for machines that no registry serves."""

import os
import shutil
import tempfile
from pathlib import Path

from e2e.cluster import containers, host, paths, versions
from e2e.cluster.containers import Image
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell

MIRROR = "HALDANE_DEBIAN_MIRROR"
"""The environment variable that names another mirror than Debian's own."""

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""The certificates that this machine trusts. They go into the image, so that downloads inside it work where a proxy of the
network signs with its own."""

DEBOOTSTRAP_SECONDS = 600


def mirror() -> str:
    return os.environ.get(MIRROR, "http://deb.debian.org/debian")


def _bundle() -> bytes:
    return BUNDLE.read_bytes() if BUNDLE.exists() else b""


def base() -> Image:
    """Debian's minimum and certificates."""
    return Image(f"haldane.local/debian:{versions.DEBIAN}", containers.key("1", mirror(), _bundle().decode()))


def python() -> Image:
    """The base of the project's images: the same with Python and venv."""
    dockerfile = paths.HERE / "dockerfiles" / "python.Dockerfile"
    return Image(f"haldane.local/python:{versions.PYTHON}", containers.key(base().key, dockerfile))


def make_base(shell: Shell) -> None:
    if not host.is_root():
        raise ClusterError("Making a Debian root file system needs root: run this command with sudo once.")
    host.install(["debootstrap", "tar"], shell)
    folder = Path(tempfile.mkdtemp(prefix="haldane-debian-"))
    try:
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", versions.DEBIAN, folder, mirror()]
        shell.run(command, seconds=DEBOOTSTRAP_SECONDS, env={"PATH": host.search_path()})
        if bundle := _bundle():
            (folder / "etc/ssl/certs/ca-certificates.crt").write_bytes(bundle)
        for pattern in ("var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*_*"):
            for file in folder.glob(pattern):
                file.unlink()
        # Without it dpkg syncs every file, although a half-built layer is thrown away anyway.
        (folder / "etc/dpkg/dpkg.cfg.d/container").write_text("force-unsafe-io\n")
        image = base()
        changes = ["--change", f"LABEL {containers.KEY_LABEL}={image.key}"]
        shell.pipe(["tar", "-C", folder, "-c", "."], ["docker", "import", *changes, "-", image.tag], seconds=300)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_python(shell: Shell) -> None:
    image = python()
    dockerfile = paths.HERE / "dockerfiles" / "python.Dockerfile"
    containers.build(image, dockerfile, [], shell, {"BASE": base().tag})
    image.save(shell)
