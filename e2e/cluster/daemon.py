"""A Docker daemon: the one that runs, or one started here."""

import json
import os
import subprocess
from pathlib import Path

from e2e.cluster import host, paths
from e2e.cluster.errors import ClusterError
from e2e.cluster.programs import WITHIN_LIMITS
from e2e.cluster.shell import Shell, ask, tail

START_SECONDS = 60


def answers() -> bool:
    """Whether a Docker daemon can be talked to."""
    return bool(ask(["docker", "version", "--format", "{{.Server.Version}}"]))


def start(shell: Shell) -> None:
    """Start the daemon by the machine's init, or by hand where none runs services, and wait until it answers.

    Raises ClusterError that shows the end of the daemon's log.
    """
    if not host.is_root():
        raise ClusterError(
            "The Docker daemon does not answer. Start it (sudo systemctl start docker) "
            "and make sure that you may use it (sudo usermod -aG docker $USER, then log in again)."
        )
    if Path("/run/systemd/system").exists():
        shell.run(["systemctl", "start", "docker"], seconds=START_SECONDS)
        shell.wait("the Docker daemon", answers, seconds=START_SECONDS)
        return
    program = host.which("dockerd")
    if not program:
        raise ClusterError("The Docker daemon does not answer, and dockerd is not installed here to start one.")
    log = paths.docker() / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(program), *_configuration(shell)]
    with log.open("ab") as output:
        # A session of its own: the daemon outlives this command and the terminal.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "PATH": host.search_path()},
            start_new_session=True,
        )

    def up() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"`{' '.join(command)}` ended with status {process.returncode}.\n{tail(log)}")
        return answers()

    try:
        shell.wait("the Docker daemon", up, seconds=START_SECONDS, every=0.2)
    except ClusterError as error:
        raise ClusterError(f"{error}\n{tail(log)}") from error


def _configuration(shell: Shell) -> list[str]:
    """The daemon's own settings, unless root's privileges are cut: then every container goes through the wrapper."""
    if not host.withholds_privileges():
        return []
    if not WITHIN_LIMITS.ready():
        WITHIN_LIMITS.get(shell)
    system = Path("/etc/docker/daemon.json")
    settings = json.loads(system.read_text() or "{}") if system.exists() else {}
    settings["runtimes"] = {**settings.get("runtimes", {}), "within-limits": {"path": str(WITHIN_LIMITS.path)}}
    settings["default-runtime"] = "within-limits"
    file = paths.docker() / "daemon.json"
    paths.write(file, json.dumps(settings, indent=2))
    return ["--config-file", str(file)]
