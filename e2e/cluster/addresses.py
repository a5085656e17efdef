"""The file by which everything else finds a cluster."""

import json
import re
import shutil
from pathlib import Path

from e2e.cluster import paths, programs
from e2e.cluster.record import Record
from e2e.cluster.shell import ask

OLDEST_HELM = (3, 18)


def file(name: str) -> Path:
    return paths.cluster(name) / "cluster.json"


def helm() -> Path:
    """The machine's helm when it is new enough for the chart, else the one in the cache."""
    found = shutil.which("helm")
    if found and helm_version(ask([found, "version", "--template", "{{.Version}}"]) or "") >= OLDEST_HELM:
        return Path(found)
    return programs.HELM.path


def helm_version(text: str) -> tuple[int, int]:
    """`(3, 18)` of `v3.18.4`; `(0, 0)` of anything else."""
    match = re.match(r"v(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


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
