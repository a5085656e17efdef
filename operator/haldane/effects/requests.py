"""Requests to the Kubernetes API as values: built here without I/O, sent by `effects.kube`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from haldane.control.ports import FIELD_MANAGER, KINDS, SCALE_MANAGER, Kind, Manifest

APPLY = "application/apply-patch+yaml"  # JSON is YAML, too
MERGE = "application/merge-patch+json"
JSON = "application/json"

PAGE = 500
"""Objects a page of a list."""

_MANAGED = "app.kubernetes.io/managed-by=haldane"
_KINDS = {(kind.api_version, kind.kind): kind for kind in KINDS}
_UNLABELLED = frozenset({"ModelDeployment"})


@dataclass(frozen=True)
class Request:
    """One HTTP request, and the words for what it does."""

    method: str
    path: str
    does: str
    """For messages, for example `apply Deployment shop/fraud-1b42c0ffee`."""
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    body: Manifest | None = None

    @property
    def target(self) -> str:
        """Path and query of the URL."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def kind_of(manifest: Manifest) -> Kind:
    """The kind of a manifest. Raises KeyError for one that the operator never makes."""
    return _KINDS[manifest["apiVersion"], manifest["kind"]]


def path_of(kind: Kind, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """Path of a collection, an object or a subresource."""
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


def get(kind: Kind, namespace: str, name: str) -> Request:
    """Read one object."""
    return Request("GET", path_of(kind, namespace, name), f"read {kind.kind} {namespace}/{name}")


def page(kind: Kind, namespace: str | None, after: str = "") -> Request:
    """Read one page of a list, after the `continue` token of the page before."""
    query = {"limit": str(PAGE)}
    if kind.kind not in _UNLABELLED:
        query["labelSelector"] = _MANAGED
    if after:
        query["continue"] = after
    return Request("GET", path_of(kind, namespace), f"list {kind.plural} in {namespace or 'all namespaces'}", query)


def apply(manifest: Manifest, manager: str = FIELD_MANAGER, *, force: bool = True) -> Request:
    """Server-side apply."""
    metadata = manifest["metadata"]
    return Request(
        "PATCH",
        path_of(kind_of(manifest), metadata["namespace"], metadata["name"]),
        f"apply {_named(manifest)}",
        {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Strict"},
        APPLY,
        manifest,
    )


def with_replicas(manifest: Manifest, replicas: int) -> Manifest:
    """A Deployment's manifest with `spec.replicas`."""
    return {**manifest, "spec": {**manifest["spec"], "replicas": replicas}}


def only_replicas(manifest: Manifest, replicas: int) -> Manifest:
    """Of a Deployment's manifest nothing but `spec.replicas`: what the scale manager is to own."""
    metadata = {field: manifest["metadata"][field] for field in ("name", "namespace")}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": metadata,
        "spec": {"replicas": replicas},
    }


def scale(deployment: Manifest, replicas: int) -> Request:
    """Set `replicas` through the scale subresource."""
    metadata = deployment["metadata"]
    return Request(
        "PATCH",
        path_of(kind_of(deployment), metadata["namespace"], metadata["name"], "scale"),
        f"scale {_named(deployment)} to {replicas}",
        {"fieldManager": SCALE_MANAGER},
        MERGE,
        {"spec": {"replicas": replicas}},
    )


def delete(manifest: Manifest) -> Request:
    """Delete this object and no other of its name; what it owns follows in the background."""
    metadata = manifest["metadata"]
    return Request(
        "DELETE",
        path_of(kind_of(manifest), metadata["namespace"], metadata["name"]),
        f"delete {_named(manifest)}",
        body={
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        },
    )


def status(parent: Manifest, written: Manifest) -> Request:
    """Replace the status of a ModelDeployment that is still at the resourceVersion that `parent` has.

    All of its metadata goes along: the API server changes none of it here, but takes what is missing from those who own
    it, in `managedFields`, and a GitOps tool would find that its labels and annotations are nobody's any more.
    """
    metadata = parent["metadata"]
    return Request(
        "PUT",
        path_of(kind_of(parent), metadata["namespace"], metadata["name"], "status"),
        f"write the status of {_named(parent)}",
        {"fieldManager": FIELD_MANAGER},
        body={
            "apiVersion": parent["apiVersion"],
            "kind": parent["kind"],
            "metadata": {field: value for field, value in metadata.items() if field != "managedFields"},
            "spec": parent.get("spec", {}),
            "status": written,
        },
    )


def create_event(namespace: str, body: Manifest) -> Request:
    """Create a Kubernetes Event."""
    return Request("POST", _events(namespace), f"record an Event in {namespace}", body=body)


def count_event(namespace: str, name: str, body: Manifest) -> Request:
    """Count another occurrence of an Event."""
    return Request("PATCH", f"{_events(namespace)}/{quote(name, safe='')}", f"count Event {name}", {}, MERGE, body)


def _events(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{quote(namespace, safe='')}/events"


def _named(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}"
