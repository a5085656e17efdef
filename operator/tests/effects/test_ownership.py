"""Who owns which field of a Deployment, by a real API server: the trap is that `replicas` silently becomes 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from haldane.control.errors import Conflict, Terminal
from haldane.control.ports import DEPLOYMENTS, MODEL_DEPLOYMENTS, Kind

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest
    from haldane.effects.kube import KubeCluster

Body = dict[str, Any]

pytestmark = pytest.mark.api

SERVICES = Kind("", "v1", "Service", "services")


def deployment(namespace: str, image: str = "a:1", **labels: str) -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": namespace,
            "name": "fraud-1",
            "labels": {"app.kubernetes.io/managed-by": "haldane", **labels},
        },
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "runtime", "image": image}]},
            },
        },
    }


def owners(live: Body) -> dict[tuple[str, str], set[str]]:
    """The fields of spec that each manager owns."""
    return {
        (entry["manager"], entry["operation"]): {
            name.removeprefix("f:") for name in entry["fieldsV1"].get("f:spec", {})
        }
        for entry in live["metadata"]["managedFields"]
    }


async def replicas(cluster: KubeCluster, namespace: str) -> int:
    live = await cluster.get(DEPLOYMENTS, namespace, "fraud-1")
    assert live
    return int(live["spec"]["replicas"])


async def test_a_new_deployment_has_its_size_and_two_owners(live_cluster: KubeCluster, namespace: str) -> None:
    live = await live_cluster.create(deployment(namespace), 3)
    assert live["spec"]["replicas"] == 3
    assert owners(live) == {("haldane", "Apply"): {"selector", "template"}, ("haldane-scale", "Apply"): {"replicas"}}


async def test_no_apply_ever_resets_replicas(live_cluster: KubeCluster, namespace: str, rest: Rest) -> None:
    await live_cluster.create(deployment(namespace), 3)
    await live_cluster.apply(deployment(namespace, "a:2"))
    assert await replicas(live_cluster, namespace) == 3
    # An autoscaler writes the scale subresource, as another manager.
    answer = rest.merge("Deployment", namespace, "fraud-1", {"spec": {"replicas": 7}}, "scale")
    assert answer.status == 200
    live = await live_cluster.apply(deployment(namespace, "a:3"))
    assert live["spec"]["replicas"] == 7
    assert "replicas" not in owners(live)["haldane", "Apply"]
    assert ("haldane-scale", "Apply") not in owners(live)
    # The autoscaler is turned off: the operator scales again, and that stays, too.
    live = await live_cluster.scale(live, 2)
    assert live["spec"]["replicas"] == 2
    await live_cluster.apply(deployment(namespace, "a:4"))
    assert await replicas(live_cluster, namespace) == 2


async def test_what_scale_gives_back_is_the_live_version(live_cluster: KubeCluster, namespace: str) -> None:
    scaled = await live_cluster.scale(await live_cluster.create(deployment(namespace), 1), 4)
    live = await live_cluster.get(DEPLOYMENTS, namespace, "fraud-1")
    assert live
    assert live["metadata"]["resourceVersion"] == scaled["metadata"]["resourceVersion"]
    assert live["spec"] == scaled["spec"]


async def test_a_field_that_is_no_longer_applied_goes(live_cluster: KubeCluster, namespace: str) -> None:
    """Because the scale manager, which made the Deployment, has let go of it."""
    await live_cluster.create(deployment(namespace, extra="1"), 1)
    live = await live_cluster.apply(deployment(namespace))
    assert live["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "haldane"}


async def test_an_apply_without_change_writes_nothing(live_cluster: KubeCluster, namespace: str) -> None:
    created = await live_cluster.create(deployment(namespace), 1)
    applied = await live_cluster.apply(deployment(namespace))
    assert applied["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_a_deployment_that_appeared_meanwhile_is_no_new_one(
    live_cluster: KubeCluster, namespace: str, rest: Rest
) -> None:
    theirs = deployment(namespace)
    theirs["spec"]["replicas"] = 9
    assert rest.create(namespace, theirs).status == 201
    with pytest.raises(Conflict, match=r"cannot apply Deployment .*/fraud-1"):
        await live_cluster.create(deployment(namespace), 3)
    assert await replicas(live_cluster, namespace) == 9


async def test_whoever_changes_a_field_of_ours_takes_it(live_cluster: KubeCluster, namespace: str, rest: Rest) -> None:
    """This is how drift is seen without comparing values that the API server may have written differently."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "fraud"},
        "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
    }
    ours = owners(await live_cluster.apply(service))["haldane", "Apply"]
    rest.merge("Service", namespace, "fraud", {"spec": {"selector": {"a": "c"}}})
    live = await live_cluster.get(SERVICES, namespace, "fraud")
    assert live
    assert owners(live)["haldane", "Apply"] < ours
    assert owners(await live_cluster.apply(service))["haldane", "Apply"] == ours


async def test_a_status_is_written_only_over_the_version_it_was_decided_on(
    live_cluster: KubeCluster, namespace: str, rest: Rest
) -> None:
    body = {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud"},
        "spec": {"model": {"uri": "s3://a/b"}},
    }
    created = rest.create(namespace, body).body
    status = {"replicas": 0, "rollout": {"phase": "Initializing", "weight": 0, "message": "x"}}
    live = await live_cluster.write_status(created, status)
    assert live["status"]["rollout"]["message"] == "x"
    assert live["spec"] == created["spec"]
    with pytest.raises(Conflict):
        await live_cluster.write_status(created, {"replicas": 1})
    same = await live_cluster.write_status(live, live["status"])
    assert same["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    rest.delete("ModelDeployment", namespace, "fraud")
    with pytest.raises(Conflict, match="is gone"):
        await live_cluster.write_status(live, {"replicas": 1})


async def test_only_the_very_object_is_deleted(live_cluster: KubeCluster, namespace: str) -> None:
    first = await live_cluster.create(deployment(namespace), 1)
    await live_cluster.delete(first)
    second = await live_cluster.create(deployment(namespace), 1)
    await live_cluster.delete(first)
    live = await live_cluster.get(DEPLOYMENTS, namespace, "fraud-1")
    assert live
    assert live["metadata"]["uid"] == second["metadata"]["uid"]
    await live_cluster.delete(second)
    assert await live_cluster.get(DEPLOYMENTS, namespace, "fraud-1") is None


async def test_what_is_wrong_with_a_manifest_is_said(live_cluster: KubeCluster, namespace: str) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["template"]["spec"]["containers"][0]["imagine"] = "x"
    with pytest.raises(Terminal, match="imagine"):
        await live_cluster.apply(wrong)


async def test_lists_hold_what_is_ours(live_cluster: KubeCluster, namespace: str) -> None:
    created = await live_cluster.create(deployment(namespace), 1)
    listing = await live_cluster.list(DEPLOYMENTS, namespace)
    assert [item["metadata"]["uid"] for item in listing.items] == [created["metadata"]["uid"]]
    assert listing.version >= int(created["metadata"]["resourceVersion"])
    assert (await live_cluster.list(MODEL_DEPLOYMENTS, namespace)).items == []
