"""Whatever order news comes in, the store holds what is true."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from haldane.control.ports import DEPENDENTS, DEPLOYMENTS, MODEL_DEPLOYMENTS, Listing
from haldane.control.store import Key, Store, concerned

Body = dict[str, Any]

FRAUD = Key("shop", "fraud")
PODS, SLICES = DEPENDENTS


def parent(version: int, uid: str = "p1", **more: Any) -> Body:
    metadata = {"namespace": "shop", "name": "fraud", "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, **more}


def child(version: int, *, kind: str = "Deployment", name: str = "fraud-1", uid: str = "c1", owner: str = "p1") -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {"haldane.dev/model": "fraud"},
            "ownerReferences": [{"kind": "ModelDeployment", "name": "fraud", "uid": owner, "controller": True}],
        },
    }


def version(store: Store) -> str | None:
    known = store.get(DEPLOYMENTS, "shop", "fraud-1")
    return known["metadata"]["resourceVersion"] if known else None


@pytest.mark.parametrize("order", list(itertools.permutations([3, 5, 9])))
def test_the_newest_version_wins_in_any_order(order: tuple[int, ...]) -> None:
    store = Store()
    for number in order:
        store.put(child(number))
    assert version(store) == "9"


def test_a_late_event_is_no_news_after_a_write() -> None:
    store = Store()
    assert store.put(parent(5)) == FRAUD
    assert store.put(parent(8, status={"phase": "new"})) == FRAUD  # the answer to our own write
    assert store.put(parent(7)) is None  # an event from before it
    assert store.put(parent(8)) is None  # the event that our write caused
    found = store.parent(FRAUD)
    assert found
    assert found["status"] == {"phase": "new"}


def test_a_deleted_object_does_not_come_back_by_a_late_event() -> None:
    store = Store()
    store.put(child(5))
    assert store.remove(child(8)) == FRAUD
    assert store.put(child(7)) is None
    assert version(store) is None
    assert store.put(child(12, uid="c2")) == FRAUD
    assert version(store) == "12"


def test_a_late_deletion_does_not_take_the_successor() -> None:
    store = Store()
    store.put(child(5))
    store.put(child(12, uid="c2"))
    assert store.remove(child(8, uid="c1")) is None
    assert version(store) == "12"


def test_a_list_drops_ghosts_and_keeps_what_is_newer() -> None:
    store = Store()
    store.put(child(5, name="ghost"))
    store.put(child(6, name="fraud-1"))
    store.put(child(20, name="made-after-the-list"))
    news = store.replace(DEPLOYMENTS, None, Listing([child(6)], 10))
    assert news == {FRAUD}
    assert store.get(DEPLOYMENTS, "shop", "ghost") is None
    assert version(store) == "6"
    assert store.get(DEPLOYMENTS, "shop", "made-after-the-list")
    assert store.put(child(9, name="ghost")) is None
    assert store.replace(DEPLOYMENTS, None, Listing([child(6), child(20, name="made-after-the-list")], 30)) == set()


def test_a_list_speaks_only_of_its_kind_and_namespace() -> None:
    store = Store()
    store.put(child(5))
    store.put(child(5, kind="Pod", name="pod"))
    assert store.replace(DEPLOYMENTS, "other", Listing([], 10)) == set()
    assert store.replace(PODS, "shop", Listing([], 10)) == {FRAUD}
    assert version(store) == "5"


def test_children_are_those_of_this_very_object() -> None:
    store = Store()
    store.put(parent(1))
    store.put(child(2))
    store.put(child(3, name="earlier", owner="p0"))
    store.put(child(4, kind="Pod", name="pod", owner="replica-set"))
    store.put({**child(5, kind="EndpointSlice", name="slice"), "endpoints": []})
    assert [obj["metadata"]["name"] for obj in store.children(parent(1))] == ["fraud-1", "slice", "pod"]


def test_a_child_stays_with_its_controller_whatever_its_labels_say() -> None:
    store = Store()
    store.put(child(2))
    moved = child(3)
    moved["metadata"]["labels"] = {"haldane.dev/model": "other"}
    assert store.put(moved) == FRAUD
    assert store.children(parent(1)) == [moved]


def test_what_is_there_when_asked_for_by_name_was_not_deleted() -> None:
    """A watch by labels tells of a label that was taken away as of a deletion, at the version that the object has now."""
    store = Store()
    store.put(child(2))
    store.remove(child(3))
    store.found(child(3))
    assert version(store) == "3"
    store.remove(child(5))
    # An answer that was under way when it was deleted.
    store.found(child(4))
    assert version(store) is None


def test_a_pod_that_changes_its_label_changes_its_parent() -> None:
    store = Store()
    pod = child(2, kind="Pod", name="pod")
    del pod["metadata"]["ownerReferences"]
    store.put(pod)
    moved = child(3, kind="Pod", name="pod")
    del moved["metadata"]["ownerReferences"]
    moved["metadata"]["labels"]["haldane.dev/model"] = "other"
    assert store.put(moved) == Key("shop", "other")
    assert store.children(parent(1)) == []


def test_only_our_own_field_list_is_kept() -> None:
    store = Store()
    body = child(2)
    ours = {"manager": "haldane", "operation": "Apply", "fieldsV1": {}}
    body["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update"},
        ours,
        {"manager": "haldane", "operation": "Update", "subresource": "status"},
    ]
    store.put(body)
    known = store.get(DEPLOYMENTS, "shop", "fraud-1")
    assert known
    assert known["metadata"]["managedFields"] == [ours]


def test_of_a_model_deployment_is_kept_who_set_the_verbs() -> None:
    store = Store()
    body = parent(2)
    annotations: Body = {"f:haldane.dev/abort": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}
    alice = {"manager": "haldane:alice", "operation": "Update", "fieldsType": "FieldsV1"}
    body["metadata"]["managedFields"] = [
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:model": {}}}},
        {**alice, "fieldsV1": {"f:metadata": {"f:annotations": annotations}, "f:spec": {}}},
        {"manager": "haldane", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    store.put(body)
    known = store.parent(FRAUD)
    assert known
    kept = {**alice, "fieldsV1": {"f:metadata": {"f:annotations": {"f:haldane.dev/abort": {}}}}}
    assert known["metadata"]["managedFields"] == [kept]


def test_objects_without_a_label_concern_nobody() -> None:
    body = child(2)
    body["metadata"] |= {"labels": None, "ownerReferences": None}
    assert concerned(body) is None
    assert Store().put(body) is None


def test_a_list_brings_what_no_event_told() -> None:
    store = Store()
    assert store.replace(MODEL_DEPLOYMENTS, None, Listing([parent(1)], 1)) == {FRAUD}
    assert store.parent(FRAUD) == parent(1)
