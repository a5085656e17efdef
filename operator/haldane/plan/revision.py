"""What makes a revision, and how it is kept: one `apps/v1` ControllerRevision each, with the pod template as rendered then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.pod_template import CONTAINER, render

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


def target(md: ModelDeployment, default_image: str) -> Revision:
    """The revision that spec asks for, rendered now. `default_image` is the bundled one for `spec.runtime.device`.

    Raises PodTemplateError (a ValueError) when `spec.runtime.podTemplate` cannot be merged.
    """
    name, model = revision_hash(md), md.spec.model
    version = model.version or name
    return Revision(
        name=name,
        version=version,
        digest=f"sha256:{model.sha256}" if model.sha256 else None,
        template=render(md, name, version, md.spec.runtime.image or default_image),
    )


def to_controller_revision(md: ModelDeployment, revision: Revision, number: int) -> Manifest:
    """The ControllerRevision that keeps a revision; `number` orders it among the others, from 1."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": names.metadata(md, names.revision_name(md.metadata.name, revision.name), revision.name),
        "revision": number,
        "data": {"version": revision.version, "digest": revision.digest, "template": revision.template},
    }


def from_controller_revision(obj: Manifest) -> Revision:
    """Read a revision back. Raises KeyError for an object that Haldane did not write."""
    data = obj["data"]
    return Revision(
        name=names.revision_of(obj),
        version=data["version"],
        digest=data.get("digest"),
        template=data["template"],
        number=int(obj["revision"]),
    )


def from_deployment(obj: Manifest) -> Revision:
    """Read a revision back from its Deployment, for one whose ControllerRevision somebody deleted.

    Without it the Deployment would belong to no known revision, and be pruned while it serves.
    """
    template = obj["spec"]["template"]
    name = names.revision_of(obj)
    containers = template["spec"]["containers"]
    runtime: Manifest = next((container for container in containers if container["name"] == CONTAINER), {})
    values = {variable["name"]: variable.get("value") for variable in runtime.get("env") or ()}
    digest = values.get("HALDANE_MODEL_SHA256")
    return Revision(
        name=name,
        version=values.get("HALDANE_MODEL_VERSION") or name,
        digest=f"sha256:{digest}" if digest else None,
        template=template,
    )


def known_revisions(children: Iterable[Manifest], wanted: Revision | None = None) -> Mapping[str, Revision]:
    """Every revision of one model that the cluster knows, and `wanted`, by name.

    A kept template always wins over a freshly rendered one: that is why an upgraded operator restarts no model.
    New revisions get the next numbers.
    """
    objects = list(children)
    kept = [from_controller_revision(obj) for obj in objects if obj["kind"] == "ControllerRevision"]
    found = {revision.name: revision for revision in kept}
    for obj in objects:
        if obj["kind"] == "Deployment":
            found.setdefault(names.revision_of(obj), from_deployment(obj))
    if wanted:
        found.setdefault(wanted.name, wanted)
    number = max((revision.number for revision in kept), default=0)
    for name, revision in found.items():
        if revision.number == 0:
            number += 1
            found[name] = replace(revision, number=number)
    return found
