"""Where the cluster is: what `make cluster` wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from e2e.harness.errors import HarnessError


@dataclass(frozen=True)
class Addresses:
    """One cluster: its kubeconfig and context, the URLs on this machine, and the programs that fit it."""

    name: str
    kubeconfig: str
    context: str
    ingress_url: str
    prometheus_url: str
    s3_url: str
    kubectl: str
    helm: str


def read(path: Path) -> Addresses:
    """The addresses in `path`. Raises HarnessError when the cluster was not made, or by another version."""
    try:
        written = json.loads(path.read_text())
        return Addresses(**{field.name: str(written[field.name]) for field in fields(Addresses)})
    except FileNotFoundError:
        raise HarnessError(f"There is no {path}: run `make cluster` first.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"{path} does not hold a cluster's addresses ({error!r}): run `make cluster-down` and `make cluster`."
        ) from None
