"""Deterministic names and labels of everything that Haldane makes: the same object always has the same children."""

from __future__ import annotations

from typing import Any

from haldane.api.v1alpha1 import API_VERSION, GROUP, KIND, ModelDeployment

MODEL_LABEL = f"{GROUP}/model"
REVISION_LABEL = f"{GROUP}/revision"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "haldane"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_NAME_LABEL = "app.kubernetes.io/name"
_INSTANCE_LABEL = "app.kubernetes.io/instance"
_RUNTIME = "haldane-runtime"

ALLOWED_LABELS = frozenset({_NAME_LABEL, MANAGED_BY_LABEL, _INSTANCE_LABEL, MODEL_LABEL, REVISION_LABEL})
"""The only labels that children carry. The parent's own are never copied: a GitOps tool's tracking label on a child
makes that tool delete the child, because no manifest in git names it."""


def revision_name(name: str, revision: str) -> str:
    """Name of a revision's Deployment, ControllerRevision, autoscaler and disruption budget."""
    return f"{name}-{revision}"


def revision_of(obj: dict[str, Any]) -> str:
    """The revision that an object belongs to; empty when it belongs to none.

    By its label, and without it, because labels can be taken away, by the name of what Haldane itself named.
    """
    metadata = obj["metadata"]
    label = (metadata.get("labels") or {}).get(REVISION_LABEL)
    if label is not None:
        return str(label)
    model = owner_of(obj)
    return str(metadata["name"]).removeprefix(f"{model}-") if model else ""


def owner_of(obj: dict[str, Any]) -> str | None:
    """The ModelDeployment that controls an object; None when none does."""
    controller = controller_of(obj)
    return str(controller["name"]) if controller and controller.get("kind") == KIND else None


def controller_of(obj: dict[str, Any]) -> dict[str, Any] | None:
    """The owner reference to the object's controller, of which there is at most one; None when it has none."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def stable_service(name: str) -> str:
    """Name of the Service that clients use."""
    return name


def candidate_service(name: str) -> str:
    """Name of the Service behind the canary route; it exists always, so that no route ever names a missing Service."""
    return f"{name}-candidate"


def stable_ingress(name: str) -> str:
    """Name of the Ingress that clients use."""
    return name


def candidate_ingress(name: str) -> str:
    """Name of the canary Ingress; it exists always, idle at weight 0."""
    return f"{name}-candidate"


def service_account(name: str) -> str:
    """Name of the ServiceAccount that is made when the user names none."""
    return name


def labels(name: str, revision: str | None = None) -> dict[str, str]:
    """Labels of a child of the ModelDeployment `name`; with `revision`, of one that belongs to that revision."""
    made = {
        _NAME_LABEL: _RUNTIME,
        MANAGED_BY_LABEL: MANAGED_BY,
        _INSTANCE_LABEL: name,
        MODEL_LABEL: name,
    }
    if revision is not None:
        made[REVISION_LABEL] = revision
    return made


def selector(name: str, revision: str | None = None) -> dict[str, str]:
    """Labels that select the pods of one revision, or of every revision of the model when `revision` is None."""
    return {MODEL_LABEL: name} if revision is None else {MODEL_LABEL: name, REVISION_LABEL: revision}


def metadata(md: ModelDeployment, name: str, revision: str | None = None) -> dict[str, Any]:
    """ObjectMeta of a child: garbage-collected with its owner, and never in the way of the owner's deletion."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": md.metadata.name,
        "uid": md.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "name": name,
        "namespace": md.metadata.namespace,
        "labels": labels(md.metadata.name, revision),
        "ownerReferences": [owner],
    }
