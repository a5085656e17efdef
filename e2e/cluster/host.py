"""What the machine itself must have: packages, and what its kernel lets root do."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell

PACKAGES = {
    "docker": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "tar": "tar",
}
"""The Debian package of each program that is asked for."""

APT_SECONDS = 600

CAP_SYS_RESOURCE = 24


def search_path() -> str:
    """PATH with the folders of the administrator's programs, which a plain user's PATH lacks on Debian."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def which(program: str) -> Path | None:
    found = shutil.which(program, path=search_path())
    return Path(found) if found else None


def missing(programs: Iterable[str]) -> list[str]:
    """The programs that are not installed."""
    return [program for program in programs if not which(program)]


def advice(programs: Iterable[str], *, root: bool, debian: bool) -> str:
    """The sentence for programs that are missing and cannot be installed from here."""
    names = list(programs)
    packages = " ".join(sorted({PACKAGES.get(name, name) for name in names}))
    sentence = f"Missing on this machine: {', '.join(names)}."
    if debian:
        how = "" if root else "sudo "
        return f"{sentence} Install with: {how}apt-get install --no-install-recommends {packages}"
    return f"{sentence} Install the packages of your distribution that hold them (on Debian: {packages})."


def is_debian() -> bool:
    return which("apt-get") is not None


def is_root() -> bool:
    return os.geteuid() == 0


def install(programs: Iterable[str], shell: Shell) -> None:
    """Install the missing programs' packages. Raises ClusterError that names them where that needs another user."""
    names = missing(programs)
    if not names:
        return
    if not (is_root() and is_debian()):
        raise ClusterError(advice(names, root=is_root(), debian=is_debian()))
    packages = sorted({PACKAGES.get(name, name) for name in names})
    shell.say(" ".join(packages))
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    shell.run(["apt-get", "update", "-q"], seconds=APT_SECONDS, env=env)
    command = ["apt-get", "install", "-q", "--yes", "--no-install-recommends", *packages]
    shell.run(command, seconds=APT_SECONDS, env=env)
    if left := missing(programs):
        raise ClusterError(advice(left, root=True, debian=True))


def cgroup_v1() -> bool:
    """Whether the kernel's control groups are laid out the old way, which kubelet must be told to accept."""
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def withholds_privileges(status: str | None = None) -> bool:
    """Whether CAP_SYS_RESOURCE is outside this process's bounding set, as some sandboxes have it.

    Privileged containers then fail to start, unless something asks for less in their name. `status` is the text of
    /proc/self/status.
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    for line in text.splitlines():
        if line.startswith("CapBnd:"):
            return not int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return False
