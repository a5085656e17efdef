"""A real Kubernetes API without nodes: etcd and kube-apiserver straight from their programs, up in seconds.

There are no controllers and no kubelet: nothing makes pods of a Deployment, nothing fills endpoints, nothing collects
garbage, and a namespace that is deleted stays. A test writes the status of pods and Deployments by hand.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from .process import Process

START_SECONDS = 60.0
POLL_SECONDS = 0.05
REQUEST_SECONDS = 30.0
KUBECTL_SECONDS = 60.0
PORTS = range(10000, 20000)
"""Below 32768, where Linux begins to give ports to clients and to those who ask for any."""
ATTEMPTS = 3
"""A port that was free when it was chosen may be taken when it is used."""

ADMIN = "admin"
OPERATOR = "operator"
USERS = {ADMIN: "system:masters", OPERATOR: "haldane:operators"}
"""Who may log in, and their group; only the administrator has rights until a test binds a role to the operator."""


class NotStarted(Exception):
    """The API server did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens at now, all different, and none that the kernel gives to a client meanwhile."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            one = held.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"there are no {count} free ports between {PORTS[0]} and {PORTS[-1]}")


class ApiServer:
    """A running API server. `end()` stops it and its etcd; its folder is the caller's to remove."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        """Start it and wait until it is ready. Raises NotStarted after START_SECONDS."""
        self._programs = programs
        self._folder = folder
        self._processes: list[Process] = []
        for attempts_left in reversed(range(ATTEMPTS)):
            port, client, peer = free_ports(3)
            self.url = f"https://127.0.0.1:{port}"
            try:
                self._start(port, client, peer)
                self._wait()
            except NotStarted as error:
                self.end()
                if not attempts_left or "address already in use" not in str(error):
                    raise
            except BaseException:
                self.end()
                raise
            else:
                break

    @property
    def ca_file(self) -> Path:
        """The certificate that the server shows, and its authority."""
        return self._folder / "certificates" / "apiserver.crt"

    def token(self, user: str = ADMIN) -> str:
        """The bearer token of a user."""
        return f"token-of-{user}"

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A kubeconfig file of a user."""
        file = self._folder / f"{user}.kubeconfig"
        if not file.exists():
            cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": self.token(user)}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
                "current-context": "test",
            }
            # JSON is YAML.
            file.write_text(json.dumps(config))
        return file

    def client(self, user: str = ADMIN) -> httpx.Client:
        """An HTTP client that is logged in; paths are relative to the server's root."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        trusted = ssl.create_default_context(cafile=str(self.ca_file))
        return httpx.Client(
            base_url=self.url, headers=headers, verify=trusted, timeout=REQUEST_SECONDS, trust_env=False
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; its exit status is the caller's to judge."""
        command = [str(self._programs.kubectl), f"--kubeconfig={self.kubeconfig()}", *arguments]
        # Its cache of discovery would otherwise stand in the home folder, by host and port.
        command.insert(1, f"--cache-dir={self._folder / 'kubectl'}")
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
        )

    def tails(self, lines: int = 40) -> list[tuple[str, str]]:
        """The ends of the logs, by name."""
        return [(process.log.name, process.tail(lines)) for process in self._processes]

    def end(self) -> None:
        """Stop everything that was started, the API server first."""
        while self._processes:
            self._processes.pop().end()

    def _start(self, port: int, client: int, peer: int) -> None:
        etcd_url = f"http://127.0.0.1:{client}"
        peer_url = f"http://127.0.0.1:{peer}"
        certificates = self._folder / "certificates"
        tokens = self._folder / "tokens.csv"
        tokens.write_text("".join(f"{self.token(user)},{user},{user},{group}\n" for user, group in USERS.items()))
        etcd = {
            "--data-dir": self._folder / f"etcd-{client}",
            "--listen-client-urls": etcd_url,
            "--advertise-client-urls": etcd_url,
            "--listen-peer-urls": peer_url,
            "--initial-advertise-peer-urls": peer_url,
            "--initial-cluster": f"default={peer_url}",
            "--unsafe-no-fsync": "true",
            "--log-level": "warn",
        }
        kube_apiserver = {
            "--etcd-servers": etcd_url,
            "--bind-address": "127.0.0.1",
            "--secure-port": port,
            # It makes a certificate and key for itself here, which then also sign ServiceAccount tokens.
            "--cert-dir": certificates,
            "--service-account-issuer": "https://kubernetes.default.svc",
            "--service-account-key-file": certificates / "apiserver.crt",
            "--service-account-signing-key-file": certificates / "apiserver.key",
            "--service-cluster-ip-range": "10.96.0.0/16",
            "--token-auth-file": tokens,
            "--authorization-mode": "RBAC",
            "--endpoint-reconciler-type": "none",
            # It would refuse every pod: nothing makes the ServiceAccounts that pods name by default.
            "--disable-admission-plugins": "ServiceAccount",
        }
        for program, flags in ((self._programs.etcd, etcd), (self._programs.kube_apiserver, kube_apiserver)):
            command = [str(program), *(f"{flag}={value}" for flag, value in flags.items())]
            self._processes.append(Process(command, self._folder / f"{program.name}.log"))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.ended is not None:
                    raise NotStarted(f"{process.log.name} ended with status {process.ended}:\n{process.tail()}")
            if self._ready():
                return
            time.sleep(POLL_SECONDS)
        logs = "\n".join(f"{name}:\n{tail}" for name, tail in self.tails())
        raise NotStarted(f"The API server was not ready after {START_SECONDS:.0f} s.\n{logs}")

    def _ready(self) -> bool:
        if not self.ca_file.exists():
            return False
        try:
            with self.client() as client:
                return client.get("/readyz").status_code == httpx.codes.OK
        except (httpx.TransportError, OSError):
            return False
