"""Raw children, as the API server gave them -> what the decisions need of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from haldane.plan import names
from haldane.plan.crashes import crashes
from haldane.plan.diagnosis import diagnose
from haldane.plan.environment import PORT
from haldane.plan.observed import Observed, RevisionPods
from haldane.plan.pod_template import CONTAINER, PORT_NAME
from haldane.plan.traffic.ingress import carried_weight

Manifest = dict[str, Any]


def observe(name: str, children: Iterable[Manifest]) -> Observed:
    """Read the Deployments, Pods, EndpointSlices and Ingresses of the ModelDeployment `name`, told apart by `kind`.

    Other kinds, and objects of other models, are passed over. What is being deleted counts as gone, except that a pod is
    present until it has ended.
    """
    own: dict[str, list[Manifest]] = {}
    present: Counter[str] = Counter()
    for child in children:
        metadata = child["metadata"]
        if name not in ((metadata.get("labels") or {}).get(names.MODEL_LABEL), names.owner_of(child)):
            continue
        if child["kind"] == "Pod" and child.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            present[names.revision_of(child)] += 1
        if not metadata.get("deletionTimestamp"):
            own.setdefault(child["kind"], []).append(child)
    pods: dict[str, list[Manifest]] = {}
    for pod in own.get("Pod", []):
        pods.setdefault(names.revision_of(pod), []).append(pod)
    revisions = {
        names.revision_of(deployment): _revision_pods(
            deployment, pods.get(names.revision_of(deployment), []), present[names.revision_of(deployment)]
        )
        for deployment in own.get("Deployment", [])
    }
    revision_of_pod = {pod["metadata"]["name"]: names.revision_of(pod) for pod in own.get("Pod", [])}
    slices = own.get("EndpointSlice", [])
    routes = (i for i in own.get("Ingress", []) if i["metadata"]["name"] == names.candidate_ingress(name))
    return Observed(
        revisions=revisions,
        stable_endpoints=_endpoints(slices, names.stable_service(name), revision_of_pod),
        candidate_endpoints=_endpoints(slices, names.candidate_service(name), revision_of_pod),
        stable_leads=_selected(own.get("Service", []), names.stable_service(name)),
        candidate_leads=_selected(own.get("Service", []), names.candidate_service(name)),
        route_weight=next((carried_weight(route) for route in routes), None),
    )


def _selected(services: list[Manifest], name: str) -> str | None:
    found = next((service for service in services if service["metadata"]["name"] == name), None)
    return str((found["spec"].get("selector") or {}).get(names.REVISION_LABEL, "")) if found else None


def _revision_pods(deployment: Manifest, pods: list[Manifest], present: int) -> RevisionPods:
    replicas = int(deployment["spec"].get("replicas", 1))
    ready = int(deployment.get("status", {}).get("readyReplicas", 0))
    problem = diagnose(pods, deployment) if ready < replicas else None
    askable = tuple(sorted(_door(pod) for pod in pods if _is_ready(pod)))
    return RevisionPods(names.revision_of(deployment), replicas, ready, problem, present, askable, crashes(pods))


def _door(pod: Manifest) -> str:
    """Where its runtime speaks HTTP: `pod:port`."""
    ports = (
        port["containerPort"]
        for container in pod.get("spec", {}).get("containers", ())
        for port in container.get("ports") or ()
        if (container["name"], port.get("name")) == (CONTAINER, PORT_NAME)
    )
    return f"{pod['metadata']['name']}:{next(ports, PORT)}"


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _endpoints(slices: Iterable[Manifest], service: str, revision_of_pod: Mapping[str, str]) -> dict[str, int]:
    """Ready endpoints by revision. Each pod counts once, also when it has an address of either family."""
    ready = {
        target
        for item in slices
        if item["metadata"].get("labels", {}).get(names.SERVICE_NAME_LABEL) == service
        # null is allowed where there are none yet
        for endpoint in item.get("endpoints") or []
        # absent means unknown, which the API asks to take for ready
        if endpoint.get("conditions", {}).get("ready") is not False
        and (target := endpoint.get("targetRef", {}).get("name", "")) in revision_of_pod
    }
    counts: dict[str, int] = {}
    for pod in ready:
        revision = revision_of_pod[pod]
        counts[revision] = counts.get(revision, 0) + 1
    return counts
