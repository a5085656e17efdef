"""A thousand rollouts under way, as the operator finds them when it starts: objects, children, and a cluster to hold them."""

from __future__ import annotations

import asyncio
import time
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from haldane.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.errors import Conflict
from haldane.control.ports import Kind, Listing, Manifest
from haldane.plan import names, revision
from haldane.plan.children import children

Body = dict[str, Any]

NAMESPACE = "models"
WEIGHT = 5
IMAGE = "haldane/runtime:dev"
API_SECONDS = 0.004
"""What a request to the API server takes."""


def body(number: int, version: int = 2) -> Body:
    """One model, with the default checks, in a long step."""
    name, uid = f"model-{number:04d}", f"{number:08x}-{number * 2654435761 % 2**32:08x}"
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid, "generation": 1},
        "spec": {
            "model": {"uri": f"s3://models/{name}/{version}.onnx", "version": f"{version}.0.0"},
            "traffic": {"host": f"{name}.example.com", "ingress": {"className": "nginx"}},
            "rollout": {
                "steps": [{"weight": WEIGHT, "hold": "1h"}],
                "checks": [
                    {"name": "errors", "errorRate": {"maxIncrease": "1%", "abort": "20%"}},
                    {"name": "latency", "latency": {"quantile": "0.99", "maxIncrease": "20%"}},
                ],
            },
        },
    }


class MemoryCluster:
    """Implements `control.ports.Cluster`, and notes when each model's verdicts and its route's weight were written."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.version = 100
        self.looks: list[tuple[str, datetime, float]] = []
        """Model, instant of the look, and when its verdicts stood in status."""
        self.decided: dict[str, float] = {}
        """When each model's status said that its weight is 0."""
        self.emptied: dict[str, float] = {}
        """When each model's route got weight 0."""

    def put(self, obj: Manifest) -> Manifest:
        """Write an object; what it is then."""
        self.version += 1
        key = obj["kind"], obj["metadata"]["name"]
        known = self.objects.get(key)
        uid = known["metadata"]["uid"] if known else obj["metadata"].get("uid", f"uid-{self.version}")
        managed = [{"manager": "haldane", "operation": "Apply", "fieldsV1": {}}]
        metadata = {**obj["metadata"], "uid": uid, "resourceVersion": str(self.version), "managedFields": managed}
        live = self.objects[key] = {**obj, "metadata": metadata}
        return live

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        await asyncio.sleep(API_SECONDS)
        return self.objects.get((kind.kind, name))

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        return Listing([obj for (found, _), obj in self.objects.items() if found == kind.kind], self.version)

    async def apply(self, manifest: Manifest) -> Manifest:
        await asyncio.sleep(API_SECONDS)
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        annotations = manifest["metadata"].get("annotations") or {}
        if kind == "Ingress" and annotations.get("nginx.ingress.kubernetes.io/canary-weight") == "0":
            self.emptied.setdefault(name.removesuffix("-candidate"), time.time())
        known = self.objects.get((kind, name), {})
        kept = {"status": known["status"]} if "status" in known else {}
        made = {**kept, **deepcopy(manifest)}
        if "replicas" in known.get("spec", {}):
            made["spec"].setdefault("replicas", known["spec"]["replicas"])
        return self.put(made)

    async def create(self, manifest: Manifest, replicas: int) -> Manifest:
        return await self.apply({**manifest, "spec": {**manifest["spec"], "replicas": replicas}})

    async def scale(self, deployment: Manifest, replicas: int) -> Manifest:
        await asyncio.sleep(API_SECONDS)
        return self.put({**deployment, "spec": {**deployment["spec"], "replicas": replicas}})

    async def delete(self, manifest: Manifest) -> None:
        await asyncio.sleep(API_SECONDS)
        self.objects.pop((manifest["kind"], manifest["metadata"]["name"]), None)

    async def write_status(self, parent: Manifest, status: Manifest) -> Manifest:
        await asyncio.sleep(API_SECONDS)
        name, now = parent["metadata"]["name"], time.time()
        live = self.objects[parent["kind"], name]
        if live["metadata"]["resourceVersion"] != parent["metadata"]["resourceVersion"]:
            raise Conflict(f"{name} has changed")
        rollout, before = status["rollout"], live["status"]["rollout"]
        if "checkedAt" in rollout and rollout["checkedAt"] != before.get("checkedAt"):
            self.looks.append((name, datetime.fromisoformat(rollout["checkedAt"]), now))
        if before["weight"] and not rollout["weight"]:
            self.decided[name] = now
        return self.put({**live, "status": status})


def under_way(cluster: MemoryCluster, number: int, ago: timedelta) -> tuple[str, str]:
    """Put one rollout into the cluster whose weight was set so long ago; its stable and its candidate revision."""
    weighed = datetime.now(UTC) - ago
    wires = [body(number, version) for version in (1, 2)]
    before, md = (ModelDeployment.from_wire(wire) for wire in wires)
    stable, candidate = (revision.target(one, IMAGE) for one in (before, md))
    rollout = RolloutStatus(
        phase="Progressing",
        step=0,
        weight=WEIGHT,
        started_at=weighed,
        phase_started_at=weighed,
        weight_changed_at=weighed,
        step_started_at=weighed,
        message=f"weight {WEIGHT}%: holding for 1h",
    )
    states = [
        RevisionStatus(revision=one.name, version=one.version, replicas=1, ready_replicas=1)
        for one in (stable, candidate)
    ]
    status = ModelDeploymentStatus(stable=states[0], candidate=states[1], rollout=rollout)
    cluster.put({**wires[1], "status": status.to_wire()})
    known = revision.known_revisions((), stable)
    for child in children(md, status, {**known, candidate.name: candidate}):
        manifest = child.manifest
        if manifest["kind"] == "Deployment":
            counted = {"replicas": 1, "readyReplicas": 1, "observedGeneration": 1}
            manifest = {**manifest, "spec": {**manifest["spec"], "replicas": 1}, "status": counted}
        cluster.put(manifest)
    _endpoints(cluster, md.metadata.name, stable.name, candidate.name)
    return stable.name, candidate.name


def _endpoints(cluster: MemoryCluster, model: str, stable: str, candidate: str) -> None:
    for service, served in (
        (names.stable_service(model), stable),
        (names.candidate_service(model), candidate),
    ):
        pod, labels = f"{model}-{served}-0", names.labels(model, served)
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        cluster.put(
            {"kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": pod, "labels": labels}, "status": ready}
        )
        labels = {**names.labels(model), names.SERVICE_NAME_LABEL: service}
        endpoints = [{"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}]
        metadata = {"namespace": NAMESPACE, "name": f"{service}-slice", "labels": labels}
        cluster.put({"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints})
