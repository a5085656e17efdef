"""A cluster in memory with the few rules that the control loop relies on: versions rise, status needs the right one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from haldane.control.errors import Conflict
from haldane.control.ports import Kind, Listing, Manifest


class MemoryCluster:
    """Implements `control.ports.Cluster`. `log` holds each write in order; `errors` what a write is answered instead."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.version = 100
        self.log: list[str] = []
        self.errors: dict[str, Exception] = {}

    def put(self, obj: Manifest) -> Manifest:
        """Write an object past all rules; what it is then."""
        self.version += 1
        key = (obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        known = self.objects.get(key)
        uid = known["metadata"]["uid"] if known else obj["metadata"].get("uid", f"uid-{self.version}")
        live = deepcopy(obj)
        live["metadata"] |= {"uid": uid, "resourceVersion": str(self.version)}
        self.objects[key] = live
        return deepcopy(live)

    def named(self, kind: str, name: str) -> Manifest:
        return self.objects[kind, "shop", name]

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        self._happen("list", kind.kind, "")
        items = [o for k, o in self.objects.items() if k[0] == kind.kind and namespace in (None, k[1])]
        return Listing(deepcopy(items), self.version)

    async def apply(self, manifest: Manifest) -> Manifest:
        self._happen("apply", manifest["kind"], manifest["metadata"]["name"])
        return self._applied(manifest)

    async def create(self, manifest: Manifest, replicas: int) -> Manifest:
        self._happen("create", manifest["kind"], manifest["metadata"]["name"])
        return self._applied({**manifest, "spec": {**manifest["spec"], "replicas": replicas}})

    async def scale(self, deployment: Manifest, replicas: int) -> Manifest:
        self._happen("scale", deployment["kind"], deployment["metadata"]["name"])
        return self.put({**deployment, "spec": {**deployment["spec"], "replicas": replicas}})

    async def delete(self, manifest: Manifest) -> None:
        self._happen("delete", manifest["kind"], manifest["metadata"]["name"])
        self.objects.pop((manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]), None)

    async def write_status(self, parent: Manifest, status: Manifest) -> Manifest:
        self._happen("status", parent["kind"], parent["metadata"]["name"])
        live = self.named(parent["kind"], parent["metadata"]["name"])
        if live["metadata"]["resourceVersion"] != parent["metadata"]["resourceVersion"]:
            raise Conflict("it has changed")
        return self.put({**live, "status": deepcopy(status)})

    def _happen(self, verb: str, kind: str, name: str) -> None:
        done = f"{verb} {kind} {name}".strip()
        if verb != "list":
            self.log.append(done)
        if done in self.errors:
            raise self.errors[done]

    def _applied(self, manifest: Manifest) -> Manifest:
        known = self.objects.get((manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        ours: Any = [{"manager": "haldane", "operation": "Apply", "fieldsV1": {"f": sorted(manifest)}}]
        merged = {**({"status": known["status"]} if known and "status" in known else {}), **deepcopy(manifest)}
        merged["metadata"]["managedFields"] = ours
        if known and "spec" in known and "replicas" in known["spec"]:
            merged["spec"].setdefault("replicas", known["spec"]["replicas"])
        if known and {**known, "metadata": None} == {**merged, "metadata": None}:
            annotations = (merged["metadata"].get("annotations") or {}).items()
            unchanged = annotations <= (known["metadata"].get("annotations") or {}).items()
            if unchanged and known["metadata"].get("managedFields") == ours:
                return deepcopy(known)
        return self.put(merged)
