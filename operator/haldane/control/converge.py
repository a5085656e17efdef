"""Makes the cluster hold the children that were decided, with as few writes as that takes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from haldane.control.errors import Retryable, Terminal
from haldane.control.ports import FIELD_MANAGER, KINDS, OWNED, Cluster, Manifest
from haldane.control.store import Key, Store
from haldane.plan.children import Child
from haldane.plan.names import MANAGED_BY, MANAGED_BY_LABEL, MODEL_LABEL, controller_of

logger = logging.getLogger(__name__)

_KINDS = {kind.kind: kind for kind in KINDS}
_OWNED = frozenset(kind.kind for kind in OWNED)
_ROUTES = {"Ingress": 0, "Service": 1}
# An autoscaler that is no longer wanted goes on scaling its Deployment, against what is written here.
_FIGHTING = frozenset({"HorizontalPodAutoscaler"})

GO_ON_SECONDS = 15.0
"""How long the other children are still tried when one fails: with a server that hangs, each try takes its whole time-out,
and the pass must not outlive its own deadline."""


class _ChildId(NamedTuple):
    kind: str
    name: str


@dataclass(frozen=True)
class _Applied:
    """What was applied last, and which fields that made ours: whoever changes one of them takes it from us.

    Unless it is ourselves: a write that was given up may land after the one that followed it, and two operators have one
    name. What decides where requests go is therefore compared by value as well, with what an apply made of it, so that
    neither defaults nor an admission webhook look like a difference.
    """

    uid: str
    manifest: str
    fields: str
    values: str


@dataclass(frozen=True)
class Outcome:
    """What a convergence did."""

    changed: bool
    refusal: str | None
    """Why the API server refuses a child, as a sentence; None when it took all of them."""


class Convergence:
    """Applies, scales and prunes children; remembers what it applied, so that at rest it asks nothing of the API server."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._applied: dict[Key, dict[_ChildId, _Applied]] = {}

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a ModelDeployment that is gone."""
        self._applied.pop(key, None)

    async def converge(self, parent: Manifest, wanted: list[Child], *, routes_first: bool) -> Outcome:
        """Bring every child to what is wanted, and delete those that are not, last.

        `routes_first`: traffic is taken from a candidate, and nothing may hold that up. A child that is refused, or fails
        for now, does not hold up the others, but nothing is pruned then except what would undo their scaling. Raises
        Conflict at once, and the first Retryable at the end.
        """
        changed = False
        refusals: list[str] = []
        failures: list[Retryable] = []
        loop = asyncio.get_running_loop()
        last_try = loop.time() + GO_ON_SECONDS
        for child in _in_order(wanted, routes_first=routes_first):
            if failures and loop.time() > last_try:
                break
            try:
                changed |= await self._bring(parent, child)
            except Terminal as refused:
                refusals.append(refused.reason)
            except Retryable as failed:
                failures.append(failed)
        try:
            changed |= await self._prune(parent, wanted, _FIGHTING if refusals or failures else _OWNED)
        except Retryable as failed:
            failures.append(failed)
        if failures:
            raise failures[0]
        return Outcome(changed, "; ".join(refusals) or None)

    async def _bring(self, parent: Manifest, child: Child) -> bool:
        manifest = child.manifest
        kind, metadata = _KINDS[manifest["kind"]], manifest["metadata"]
        key = Key(parent["metadata"]["namespace"], parent["metadata"]["name"])
        live = self._store.get(kind, key.namespace, metadata["name"])
        if live is None:
            # The watch may be late, and a name may be taken: server-side apply would seize a stranger's object.
            live = await self._cluster.get(kind, key.namespace, metadata["name"])
        if live is not None:
            _demand_ours(live, parent)

        changed = False
        applied = self._applied.setdefault(key, {})
        child_id = _ChildId(kind.kind, metadata["name"])
        if live is None or applied.get(child_id) != _applied(live, manifest):
            before = live and live["metadata"]["resourceVersion"]
            if live is None and child.replicas is not None:
                live = await self._cluster.create(manifest, child.replicas)
            else:
                live = await self._cluster.apply(manifest)
            applied[child_id] = _applied(live, manifest)
            self._store.put(live)
            changed = live["metadata"]["resourceVersion"] != before
            if changed:
                did = "created" if before is None else "applied"
                logger.info(did, extra={"key": str(key), "kind": kind.kind, "child": metadata["name"]})
        # An autoscaler leaves a Deployment alone that has no pods: without another's word it would stay so.
        theirs = child.autoscaled and live["spec"].get("replicas") != 0
        if child.replicas is not None and not theirs and live["spec"].get("replicas") != child.replicas:
            self._store.put(await self._cluster.scale(live, child.replicas))
            logger.info(
                "scaled",
                extra={"key": str(key), "kind": kind.kind, "child": metadata["name"], "replicas": child.replicas},
            )
            changed = True
        return changed

    async def _prune(self, parent: Manifest, wanted: Iterable[Child], kinds: frozenset[str]) -> bool:
        key = Key(parent["metadata"]["namespace"], parent["metadata"]["name"])
        keep = {_ChildId(child.manifest["kind"], child.manifest["metadata"]["name"]) for child in wanted}
        changed = False
        for obj in self._store.children(parent):
            child_id = _ChildId(obj["kind"], obj["metadata"]["name"])
            if obj["kind"] not in kinds or child_id in keep or obj["metadata"].get("deletionTimestamp"):
                continue
            await self._cluster.delete(obj)
            self._store.remove(obj)
            self._applied.get(key, {}).pop(child_id, None)
            logger.info("deleted", extra={"key": str(key), "kind": child_id.kind, "child": child_id.name})
            changed = True
        return changed


def _in_order(wanted: list[Child], *, routes_first: bool) -> list[Child]:
    if not routes_first:
        return wanted
    return sorted(wanted, key=lambda child: _ROUTES.get(child.manifest["kind"], len(_ROUTES)))


def _demand_ours(live: Manifest, parent: Manifest) -> None:
    """Raise Terminal for a stranger's object, and Retryable for one that is about to be garbage-collected."""
    metadata, name = live["metadata"], parent["metadata"]["name"]
    controller = controller_of(live)
    if controller is None:
        # Orphaned by `kubectl delete --cascade=orphan`, then taken over again.
        labels = metadata.get("labels") or {}
        ours = labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(MODEL_LABEL) == name
    else:
        ours = controller["uid"] == parent["metadata"]["uid"]
        if not ours and (controller["kind"], controller["name"]) == (parent["kind"], name):
            raise Retryable(
                f"{live['kind']} {metadata['name']} still belongs to a deleted ModelDeployment of the same name",
                timedelta(seconds=1),
            )
    if not ours and controller is not None and controller["kind"] == parent["kind"]:
        raise Terminal(
            f"{live['kind']} {metadata['name']} belongs to ModelDeployment {controller['name']}: "
            f"give that or ModelDeployment {name} another name"
        )
    if not ours:
        raise Terminal(
            f"{live['kind']} {metadata['name']} exists and does not belong to ModelDeployment {name}: "
            "delete it, or give the ModelDeployment another name"
        )


def _applied(live: Manifest, manifest: Manifest) -> _Applied:
    values = _digest(_as_far_as(manifest, live)) if manifest["kind"] in _ROUTES else ""
    return _Applied(str(live["metadata"]["uid"]), _digest(manifest), _our_fields(live), values)


def _as_far_as(written: Any, live: Any) -> Any:
    """What `live` holds of the fields that are `written`; a list of another length is shown whole."""
    if isinstance(written, Mapping) and isinstance(live, Mapping):
        return {key: _as_far_as(value, live.get(key)) for key, value in written.items()}
    if isinstance(written, list) and isinstance(live, list) and len(written) == len(live):
        return [_as_far_as(*pair) for pair in zip(written, live, strict=True)]
    return live


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _our_fields(live: Manifest) -> str:
    """Digest of the fields that the API server says are applied by us."""
    entries = live["metadata"].get("managedFields") or ()
    ours = [
        entry.get("fieldsV1")
        for entry in entries
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
    ]
    return _digest(ours)
