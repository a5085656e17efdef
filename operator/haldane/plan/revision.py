"""What makes a revision, and how it is kept: one `apps/v1` ControllerRevision each, with the pod template as rendered then."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from haldane.api.v1alpha1 import ModelDeployment

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Revision:
    """A model together with how it is run, fixed for ever."""

    name: str
    """10 hex characters: the hash of what the user wrote in `spec.model` and `spec.runtime`."""
    version: str
    digest: str | None
    """`sha256:` and the model's digest, when spec gives it."""
    template: Manifest
    """Its PodTemplateSpec, fully rendered, the image resolved."""
    number: int = 0
    """Order among the revisions of one model, from 1; 0 while it has no ControllerRevision yet."""


def revision_hash(md: ModelDeployment) -> str:
    """The name of the revision that spec asks for: 10 hex characters of a SHA-256.

    Hashed is what the user wrote, without defaults: neither an upgrade of the operator nor a new field with a default
    may give a running model another name, because another name means a rollout.
    """
    written = {
        "model": md.spec.model.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "runtime": md.spec.runtime.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    canonical = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
