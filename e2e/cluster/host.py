"""What the machine itself must have: packages, and what its kernel lets root do."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell, ask

PACKAGES = {
    "debootstrap": ("debootstrap",),
    "docker": ("docker-cli", "docker.io"),
    "dockerd": ("docker.io",),
    "iptables": ("iptables",),
    "tar": ("tar",),
}
"""The Debian packages that hold each program, of which the first that the release has is taken."""

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


def packages(programs: Iterable[str], known: Callable[[str], bool] = lambda _: True) -> list[str]:
    """The packages to install for these programs, where `known` tells which packages there are."""
    chosen = set()
    for program in programs:
        choices = PACKAGES.get(program, (program,))
        chosen.add(next((choice for choice in choices if known(choice)), choices[-1]))
    return sorted(chosen)


def advice(programs: Iterable[str], known: Callable[[str], bool], *, root: bool, debian: bool) -> str:
    """The sentence for programs that are missing and cannot be installed from here."""
    names = list(programs)
    wanted = " ".join(packages(names, known))
    sentence = f"Missing on this machine: {', '.join(names)}."
    if debian:
        how = "" if root else "sudo "
        return f"{sentence} Install with: {how}apt-get install --no-install-recommends {wanted}"
    return f"{sentence} Install the packages of your distribution that hold them (on Debian: {wanted})."


def is_debian() -> bool:
    return which("apt-get") is not None


def is_root() -> bool:
    return os.geteuid() == 0


def install(programs: Iterable[str], shell: Shell) -> None:
    """Install the missing programs' packages. Raises ClusterError that names them where that needs another user."""
    wanted = list(programs)
    names = missing(wanted)
    if not names:
        return
    if not (is_root() and is_debian()):
        raise ClusterError(advice(names, _known, root=is_root(), debian=is_debian()))
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    shell.run(["apt-get", "update", "-q"], seconds=APT_SECONDS, env=env)
    chosen = packages(names, _known)
    shell.say(" ".join(chosen))
    command = ["apt-get", "install", "-q", "--yes", "--no-install-recommends", *chosen]
    shell.run(command, seconds=APT_SECONDS, env=env)
    if left := missing(wanted):
        raise ClusterError(advice(left, _known, root=True, debian=True))


def _known(package: str) -> bool:
    return bool(ask(["apt-cache", "show", package]))


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
