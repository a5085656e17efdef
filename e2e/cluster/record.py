"""What is remembered of a cluster between two commands: where its images come from, and its host ports."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from e2e.cluster import paths, ports, programs

Source = Literal["registry", "built"]
"""Where a cluster's images come from: upstream's from a container registry, or made on this machine."""

FILE = "cluster-record.json"


@dataclass(frozen=True)
class Record:
    name: str
    source: Source
    ports: dict[str, int]
    complete: bool = False
    """False from before the node is created until kind has reported success: what lies between is removed and made anew."""

    @property
    def node(self) -> str:
        """The name of the node's container."""
        return f"{self.name}-control-plane"

    @property
    def kubeconfig(self) -> str:
        return str(paths.cluster(self.name) / "kubeconfig")

    @property
    def kubectl(self) -> str:
        """The client of the node's own version: ours where the node was built from it, else copied out of the node."""
        return str(programs.KUBECTL.path if self.source == "built" else paths.cluster(self.name) / "kubectl")

    @property
    def context(self) -> str:
        return f"kind-{self.name}"

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def save(record: Record) -> None:
    paths.write(paths.cluster(record.name) / FILE, json.dumps(asdict(record), indent=2))


def read(name: str) -> Record | None:
    """The record of a cluster; None when there is none, or none that can be read."""
    try:
        found = json.loads((paths.cluster(name) / FILE).read_text())
        record = Record(**found)
    except (OSError, ValueError, TypeError):
        return None
    return record if set(record.ports) == set(ports.NAMES) else None


def others(name: str) -> list[Record]:
    """The records of all clusters but this."""
    folders = paths.cluster(name).parent.glob(f"*/{FILE}")
    found = [read(file.parent.name) for file in sorted(folders)]
    return [record for record in found if record and record.name != name]


def new(name: str, source: Source, free: Callable[[int], bool] = ports.is_free) -> Record:
    """A record with fresh ports, saved at once so that no other cluster takes them."""
    taken = {port for other in others(name) for port in other.ports.values()}
    record = Record(name, source, ports.choose(name, taken, free))
    save(record)
    return record
