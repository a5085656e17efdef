"""The file by which everything else finds a cluster."""

import json
import shutil
from pathlib import Path

from e2e.cluster import paths, programs
from e2e.cluster.record import Record


def file(name: str) -> Path:
    return paths.cluster(name) / "cluster.json"


def helm() -> Path:
    """The machine's helm, or the one in the cache."""
    found = shutil.which("helm")
    return Path(found) if found else programs.HELM.path


def describe(made: Record) -> dict[str, str]:
    """How to reach the cluster; what runs inside it uses the Services' names instead."""
    return {
        "name": made.name,
        "kubeconfig": made.kubeconfig,
        "context": made.context,
        "ingress_url": made.url("ingress"),
        "prometheus_url": made.url("prometheus"),
        "s3_url": made.url("s3"),
        "kubectl": made.kubectl,
        "helm": str(helm()),
    }


def written(made: Record) -> bool:
    """Whether the file is there and right."""
    try:
        return bool(json.loads(file(made.name).read_text()) == describe(made))
    except (OSError, ValueError):
        return False


def write(made: Record) -> None:
    paths.write(file(made.name), json.dumps(describe(made), indent=2) + "\n")
