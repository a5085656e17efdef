from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haldane.plan import names
from haldane.plan.observe import observe
from haldane.plan.observed import Observed, RevisionPods

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
Manifest = dict[str, Any]


def endpoint_slice(service: str, *endpoints: Manifest | None, name: str = "slice") -> Manifest:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {**names.labels("fraud"), "kubernetes.io/service-name": service}},
        "endpoints": list(endpoints) or None,
    }


def endpoint(pod: str, **conditions: bool) -> Manifest:
    return {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": pod}, "conditions": conditions}


def ingress(name: str = "fraud-candidate", **annotations: str) -> Manifest:
    prefixed = {f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"kind": "Ingress", "metadata": {"name": name, "labels": names.labels("fraud"), "annotations": prefixed}}


def test_nothing() -> None:
    assert observe("fraud", []) == Observed()


def test_pods_by_revision(deployment: Callable[..., Manifest]) -> None:
    fresh = deployment(B)
    del fresh["spec"]["replicas"], fresh["status"]
    observed = observe("fraud", [deployment(A, replicas=3, ready=2), fresh])
    assert observed.revisions == {A: RevisionPods(A, 3, 2), B: RevisionPods(B, 1, 0)}


def test_other_models_and_what_is_being_deleted_do_not_count(deployment: Callable[..., Manifest]) -> None:
    leaving, foreign = deployment(A), deployment(B)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    foreign["metadata"]["labels"] = names.labels("fraud-2", B)
    assert observe("fraud", [leaving, foreign]) == Observed()


def test_a_pod_is_present_until_it_has_ended(deployment: Callable[..., Manifest], pod: Callable[..., Manifest]) -> None:
    ending, ended = pod(A, "a-1", phase="Running"), pod(A, "a-2", phase="Succeeded")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    observed = observe("fraud", [deployment(A, replicas=0), ending, ended, pod(B, "b-1")])
    assert observed.pods(A).present == 1


def test_problems_only_while_pods_lack(deployment: Callable[..., Manifest], pod: Callable[..., Manifest]) -> None:
    lost = pod(A, phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    enough = observe("fraud", [deployment(A, replicas=2, ready=2), lost])
    assert enough.pods(A).problem is None
    lacking = observe("fraud", [deployment(A, replicas=2, ready=1), lost])
    assert lacking.pods(A).problem is not None


def test_ready_endpoints_by_revision(pod: Callable[..., Manifest]) -> None:
    pods = [pod(A, "a-1"), pod(A, "a-2"), pod(A, "a-3"), pod(B, "b-1")]
    leaving = pod(A, "a-4")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    slices = [
        endpoint_slice(
            "fraud",
            endpoint("a-1", ready=True),
            endpoint("a-2", ready=False),
            endpoint("a-3"),
            endpoint("a-4", ready=True),
            endpoint("unknown", ready=True),
            {"addresses": ["10.0.0.9"]},
        ),
        endpoint_slice("fraud", endpoint("a-1", ready=True), name="ipv6"),
        endpoint_slice("fraud-candidate", endpoint("b-1", ready=True)),
        endpoint_slice("fraud-candidate", name="empty"),
        endpoint_slice("another", endpoint("b-1", ready=True)),
    ]
    observed = observe("fraud", [*pods, leaving, *slices])
    assert observed.stable_endpoints == {A: 2}
    assert observed.candidate_endpoints == {B: 1}


@pytest.mark.parametrize(
    ("route", "weight"),
    [
        (ingress(canary="true", canary_weight="25"), 25),
        (ingress(canary="true", canary_weight="0"), 0),
        (ingress(canary="true"), None),
        (ingress(canary="true", canary_weight="many"), None),
        (ingress(canary="true", canary_weight="-1"), None),
        (ingress(canary="false", canary_weight="25"), None),
        (ingress(), None),
        (ingress("fraud", canary="true", canary_weight="25"), None),
    ],
)
def test_weight_of_the_canary_route(route: Manifest, weight: int | None) -> None:
    assert observe("fraud", [route]).route_weight == weight


def service(name: str, revision: str | None) -> Manifest:
    selector = {names.MODEL_LABEL: "fraud"} | ({names.REVISION_LABEL: revision} if revision else {})
    return {
        "kind": "Service",
        "metadata": {"name": name, "labels": names.labels("fraud")},
        "spec": {"selector": selector},
    }


def test_where_services_lead() -> None:
    observed = observe("fraud", [service("fraud", A), service("fraud-candidate", B)])
    assert (observed.stable_leads, observed.candidate_leads) == (A, B)
    assert observe("fraud", [service("fraud", None)]).stable_leads == "", "both revisions stand behind it"
