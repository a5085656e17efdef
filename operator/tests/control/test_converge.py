"""Children: written when they differ and not otherwise, in a safe order, and only if they are ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from haldane.control.converge import Convergence, Outcome
from haldane.control.errors import Retryable, Terminal
from haldane.control.store import Store
from haldane.plan.children import Child

if TYPE_CHECKING:
    from .cluster import MemoryCluster

Body = dict[str, Any]
Run = Callable[[Any], Any]

PARENT: Body = {
    "apiVersion": "haldane.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "shop", "name": "fraud", "uid": "p1", "resourceVersion": "1"},
}
LABELS = {"haldane.dev/model": "fraud", "app.kubernetes.io/managed-by": "haldane"}


def owner(uid: str = "p1", name: str = "fraud") -> Body:
    return {"kind": "ModelDeployment", "name": name, "uid": uid, "controller": True}


def manifest(kind: str, name: str, **spec: Any) -> Body:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"namespace": "shop", "name": name, "labels": LABELS, "ownerReferences": [owner()]},
        "spec": spec,
    }


def service(**spec: Any) -> Child:
    return Child(manifest("Service", "fraud", **spec))


def deployment(replicas: int, *, autoscaled: bool = False) -> Child:
    return Child(manifest("Deployment", "fraud-1"), replicas, autoscaled)


WANTED = [deployment(2), service(selector="a"), Child(manifest("Ingress", "fraud"))]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def convergence(cluster: MemoryCluster, store: Store) -> Convergence:
    return Convergence(cluster, store)


def tell(cluster: MemoryCluster, store: Store) -> None:
    """What the watches would tell."""
    for obj in cluster.objects.values():
        store.put(obj)


async def converge(convergence: Convergence, wanted: list[Child], *, routes_first: bool = False) -> Outcome:
    return await convergence.converge(PARENT, wanted, routes_first=routes_first)


async def test_what_is_missing_is_made_in_order_and_then_left_alone(
    cluster: MemoryCluster, convergence: Convergence
) -> None:
    assert await converge(convergence, WANTED) == Outcome(True, None)
    assert cluster.log == ["create Deployment fraud-1", "apply Service fraud", "apply Ingress fraud"]
    assert cluster.named("Deployment", "fraud-1")["spec"] == {"replicas": 2}
    cluster.log.clear()
    assert await converge(convergence, WANTED) == Outcome(False, None)
    assert cluster.log == []


async def test_routes_come_first_when_traffic_is_taken_away(cluster: MemoryCluster, convergence: Convergence) -> None:
    await converge(convergence, WANTED, routes_first=True)
    assert cluster.log == ["apply Ingress fraud", "apply Service fraud", "create Deployment fraud-1"]


async def test_only_what_differs_is_applied(cluster: MemoryCluster, convergence: Convergence) -> None:
    await converge(convergence, WANTED)
    cluster.log.clear()
    await converge(convergence, [WANTED[0], service(selector="b"), WANTED[2]])
    assert cluster.log == ["apply Service fraud"]


async def test_a_field_that_somebody_took_is_taken_back(
    cluster: MemoryCluster, convergence: Convergence, store: Store
) -> None:
    await converge(convergence, WANTED)
    cluster.log.clear()
    edited = cluster.named("Service", "fraud")
    edited["spec"]["selector"] = "c"
    edited["metadata"]["managedFields"] = [{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {}}]
    store.put(cluster.put(edited))
    assert (await converge(convergence, WANTED)).changed
    assert cluster.log == ["apply Service fraud"]
    assert cluster.named("Service", "fraud")["spec"] == {"selector": "a"}


def canary(weight: str) -> Child:
    made = manifest("Ingress", "fraud", rules=[{"host": "a", "http": {"paths": [{"path": "/"}]}}])
    made["metadata"]["annotations"] = {"canary-weight": weight}
    return Child(made)


@pytest.mark.parametrize(
    ("wanted", "late"),
    [(canary("0"), canary("50")), (service(selector={"revision": "1"}), service(selector={"revision": "2"}))],
)
async def test_a_late_write_of_our_own_is_corrected(
    cluster: MemoryCluster, convergence: Convergence, store: Store, wanted: Child, late: Child
) -> None:
    await converge(convergence, [wanted])
    expected = cluster.named(wanted.manifest["kind"], "fraud")
    cluster.log.clear()
    store.put(await cluster.apply(late.manifest))  # given up long ago, and it landed after all
    cluster.log.clear()
    assert (await converge(convergence, [wanted])).changed
    assert cluster.log == [f"apply {wanted.manifest['kind']} fraud"]
    live = cluster.named(wanted.manifest["kind"], "fraud")
    assert live["spec"] == expected["spec"]
    assert live["metadata"].get("annotations") == expected["metadata"].get("annotations")
    assert not (await converge(convergence, [wanted])).changed


async def test_rules_that_another_list_replaced_are_put_back(
    cluster: MemoryCluster, convergence: Convergence, store: Store
) -> None:
    await converge(convergence, [canary("0")])
    live = cluster.named("Ingress", "fraud")
    live["spec"]["rules"] = [*live["spec"]["rules"], {"host": "b"}]
    store.put(cluster.put(live))
    assert (await converge(convergence, [canary("0")])).changed


async def test_defaults_in_a_route_are_no_difference(
    cluster: MemoryCluster, convergence: Convergence, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = cluster.apply

    async def defaulted(body: Body) -> Body:
        rules = [{"host": "A", "http": {"paths": [{"path": "/", "pathType": "Prefix"}]}}]  # and a webhook changed one
        return await apply({**body, "spec": {"rules": rules}})

    monkeypatch.setattr(cluster, "apply", defaulted)
    await converge(convergence, [canary("0")])
    live = cluster.named("Ingress", "fraud")
    live["metadata"]["annotations"]["cert-manager"] = "1"
    store.put(cluster.put({**live, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}))
    cluster.log.clear()
    assert await converge(convergence, [canary("0")]) == Outcome(False, None)
    assert cluster.log == []


async def test_a_field_of_somebody_else_is_none_of_ours(
    cluster: MemoryCluster, convergence: Convergence, store: Store
) -> None:
    await converge(convergence, WANTED)
    cluster.log.clear()
    service = cluster.named("Service", "fraud")
    service["metadata"]["annotations"] = {"cloud": "1"}
    store.put(cluster.put(service))
    assert not (await converge(convergence, WANTED)).changed
    assert cluster.log == []


async def test_a_new_process_applies_once_and_changes_nothing(cluster: MemoryCluster, convergence: Convergence) -> None:
    await converge(convergence, WANTED)
    version, store = cluster.version, Store()
    tell(cluster, store)
    assert await converge(Convergence(cluster, store), WANTED) == Outcome(False, None)
    assert cluster.version == version


@pytest.mark.parametrize(("autoscaled", "writes"), [(False, ["scale Deployment fraud-1"]), (True, [])])
async def test_replicas_are_written_only_without_an_autoscaler(
    cluster: MemoryCluster, convergence: Convergence, store: Store, autoscaled: bool, writes: list[str]
) -> None:
    await converge(convergence, [deployment(2)])
    cluster.log.clear()
    live = cluster.named("Deployment", "fraud-1")
    live["spec"]["replicas"] = 7
    store.put(cluster.put(live))
    await converge(convergence, [deployment(3, autoscaled=autoscaled)])
    assert cluster.log == writes
    assert cluster.named("Deployment", "fraud-1")["spec"]["replicas"] == (7 if autoscaled else 3)


async def test_a_deployment_without_pods_is_not_left_to_its_autoscaler(
    cluster: MemoryCluster, convergence: Convergence, store: Store
) -> None:
    await converge(convergence, [deployment(0)])
    tell(cluster, store)
    await converge(convergence, [deployment(2, autoscaled=True)])
    assert cluster.named("Deployment", "fraud-1")["spec"]["replicas"] == 2, "an autoscaler never goes up from none"


async def test_what_is_no_longer_wanted_goes_last(cluster: MemoryCluster, convergence: Convergence) -> None:
    await converge(convergence, WANTED)
    cluster.log.clear()
    assert await converge(convergence, [service(selector="b")]) == Outcome(True, None)
    assert cluster.log[0] == "apply Service fraud"
    assert set(cluster.log[1:]) == {"delete Deployment fraud-1", "delete Ingress fraud"}
    cluster.log.clear()
    assert not (await converge(convergence, [service(selector="b")])).changed
    assert cluster.log == []


async def test_what_goes_already_is_not_deleted_again(
    cluster: MemoryCluster, convergence: Convergence, store: Store
) -> None:
    await converge(convergence, WANTED)
    cluster.log.clear()
    going = cluster.named("Deployment", "fraud-1")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    store.put(cluster.put(going))
    await converge(convergence, WANTED[1:])
    assert cluster.log == []


async def test_a_refused_child_holds_up_no_other_but_nothing_is_pruned(
    cluster: MemoryCluster, convergence: Convergence
) -> None:
    await converge(convergence, [*WANTED, Child(manifest("Service", "extra"))])
    cluster.log.clear()
    cluster.errors = {"apply Service fraud": Terminal("no such selector")}
    changed = [WANTED[0], service(selector="!"), Child(manifest("Ingress", "fraud", host="b"))]
    assert await converge(convergence, changed) == Outcome(True, "no such selector")
    assert cluster.log == ["apply Service fraud", "apply Ingress fraud"]
    cluster.errors = {}
    await converge(convergence, changed)
    assert cluster.log[2:] == ["apply Service fraud", "delete Service extra"]


async def test_a_child_that_fails_for_now_holds_up_no_other_and_the_pass_fails(
    cluster: MemoryCluster, convergence: Convergence
) -> None:
    await converge(convergence, [*WANTED, Child(manifest("Service", "extra"))])
    cluster.log.clear()
    cluster.errors = {
        "apply Service fraud": Retryable("its webhook is down"),
        "apply Ingress fraud": Retryable("so is the other's"),
    }
    changed = [service(selector="b"), Child(manifest("Ingress", "fraud", host="b")), deployment(3)]
    with pytest.raises(Retryable, match="its webhook is down"):
        await converge(convergence, changed)
    assert cluster.log == ["apply Service fraud", "apply Ingress fraud", "scale Deployment fraud-1"]
    cluster.log.clear()
    cluster.errors = {}
    assert (await converge(convergence, changed)).changed
    assert cluster.log == ["apply Service fraud", "apply Ingress fraud", "delete Service extra"]


@pytest.mark.parametrize("error", [Terminal("no"), Retryable("away")])
async def test_an_autoscaler_that_is_not_wanted_goes_whatever_else_fails(
    cluster: MemoryCluster, convergence: Convergence, error: Exception
) -> None:
    old, new = (Child(manifest("HorizontalPodAutoscaler", f"fraud-{n}")) for n in (1, 2))
    await converge(convergence, [*WANTED, old, Child(manifest("Service", "extra"))])
    cluster.log.clear()
    cluster.errors = {"apply Service fraud": error}
    with suppress(Retryable):
        await converge(convergence, [deployment(2), service(selector="b"), new])
    assert cluster.log == [
        "apply Service fraud",
        "apply HorizontalPodAutoscaler fraud-2",
        "delete HorizontalPodAutoscaler fraud-1",
    ]


def test_a_server_that_hangs_is_not_asked_for_every_child(
    cluster: MemoryCluster, convergence: Convergence, run_exactly: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(body: Body) -> Body:
        cluster.log.append(body["metadata"]["name"])
        await asyncio.sleep(15.0)
        raise Retryable("no answer")

    async def main() -> float:
        monkeypatch.setattr(cluster, "apply", hangs)
        with pytest.raises(Retryable, match="no answer"):
            await converge(convergence, [Child(manifest("Service", name)) for name in "abcdef"])
        return asyncio.get_running_loop().time()

    assert run_exactly(main()) == pytest.approx(30.0)
    assert cluster.log == ["a", "b"]


STRANGER = "Service fraud exists and does not belong to ModelDeployment fraud: delete it"


@pytest.mark.parametrize(
    ("labels", "owners", "error"),
    [
        ({}, [], STRANGER),
        (None, None, STRANGER),
        ({**LABELS, "haldane.dev/model": "other"}, [], STRANGER),
        (LABELS, [{"kind": "Deployment", "name": "x", "uid": "d", "controller": True}], STRANGER),
        (
            LABELS,
            [owner("p2", "other")],
            "Service fraud belongs to ModelDeployment other: give that or ModelDeployment fraud",
        ),
        (LABELS, [owner("p0")], "Service fraud still belongs to a deleted ModelDeployment of the same name"),
        (LABELS, [], None),
        (LABELS, [owner()], None),
    ],
)
async def test_only_our_own_or_orphans_of_ours_are_taken(
    cluster: MemoryCluster, convergence: Convergence, labels: Any, owners: Any, error: str | None
) -> None:
    found = manifest("Service", "fraud", selector="theirs")
    found["metadata"] |= {"labels": labels, "ownerReferences": owners}
    cluster.put(found)
    try:
        refusal = (await converge(convergence, [service(selector="a")])).refusal
    except Retryable as retryable:
        refusal = retryable.reason
    assert (refusal or "").startswith(error or "")
    assert bool(refusal) == bool(error)
    assert cluster.named("Service", "fraud")["spec"]["selector"] == ("theirs" if error else "a")
