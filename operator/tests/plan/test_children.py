from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.api.status import ModelDeploymentStatus, Phase, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import NAME_LIMIT, ModelDeployment
from haldane.plan import names
from haldane.plan.children import KEPT_REVISIONS, Child, children
from haldane.plan.observe import observe
from haldane.plan.reading import KEPT
from haldane.plan.revision import Revision, target
from haldane.plan.traffic.ingress import CANARY, CANARY_BY_HEADER, CANARY_WEIGHT, url

Make = Callable[..., ModelDeployment]
ROUTED = {"host": "fraud.example.com", "path": "/score", "ingress": {"className": "nginx", "tlsSecret": "tls"}}
A, B, C = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"


def revision(md: ModelDeployment, name: str, number: int = 1) -> Revision:
    made = target(md, "haldane/runtime:1")
    template = {**made.template, "metadata": {"labels": names.labels(md.metadata.name, name)}}
    return Revision(name, f"v-{name}", None, template, number)


def status(stable: str | None, candidate: str | None = None, weight: int = 0, **more: Any) -> ModelDeploymentStatus:
    def part(name: str | None, replicas: int = 2) -> RevisionStatus | None:
        return RevisionStatus(revision=name, version=f"v-{name}", replicas=replicas) if name else None

    phase = more.pop("phase", "Progressing" if candidate else "Stable")
    previous = part(more.pop("previous", None), more.pop("previous_replicas", 2))
    rollout = RolloutStatus(phase=phase, weight=weight, strategy=more.pop("strategy", None))
    return ModelDeploymentStatus(
        stable=part(stable), candidate=part(candidate, 1), previous=previous, rollout=rollout, **more
    )


def made(md: ModelDeployment, wanted: ModelDeploymentStatus, *known: str) -> list[Child]:
    return children(md, wanted, {name: revision(md, name, i + 1) for i, name in enumerate(known or (A, B, C))})


def of(kind: str, found: list[Child]) -> dict[str, Child]:
    return {child.manifest["metadata"]["name"]: child for child in found if child.manifest["kind"] == kind}


def selector(found: list[Child], service: str) -> dict[str, str]:
    wanted: dict[str, str] = of("Service", found)[service].manifest["spec"]["selector"]
    return wanted


def test_at_rest(model_deployment: Make) -> None:
    found = made(model_deployment(), status(A), A)
    assert [(child.manifest["kind"], child.manifest["metadata"]["name"]) for child in found] == [
        ("ControllerRevision", f"fraud-{A}"),
        ("ServiceAccount", "fraud"),
        ("Deployment", f"fraud-{A}"),
        ("PodDisruptionBudget", f"fraud-{A}"),
        ("Service", "fraud"),
        ("Service", "fraud-candidate"),
    ]


def test_before_the_first_decision_there_is_nothing_to_serve(model_deployment: Make) -> None:
    found = made(model_deployment(), ModelDeploymentStatus(), A)
    assert {child.manifest["kind"] for child in found} == {"ControllerRevision", "ServiceAccount"}


def test_a_deployment_says_nothing_of_its_replicas(model_deployment: Make) -> None:
    found = of("Deployment", made(model_deployment(), status(A, B, 5)))
    assert {name: child.replicas for name, child in found.items()} == {f"fraud-{A}": 2, f"fraud-{B}": 1}
    assert all("replicas" not in child.manifest["spec"] for child in found.values())
    assert not any(child.autoscaled for child in found.values())


@pytest.mark.parametrize(("replicas", "exists"), [(2, True), (0, False)])
def test_the_previous_revision_stays_while_it_has_pods(model_deployment: Make, replicas: int, exists: bool) -> None:
    found = made(model_deployment(), status(B, previous=A, previous_replicas=replicas, phase="Watching"))
    assert (f"fraud-{A}" in of("Deployment", found)) is exists
    assert (f"fraud-{A}" in of("PodDisruptionBudget", found)) is exists, "warm pods are worth protecting"
    assert f"fraud-{A}" in of("ControllerRevision", found)


def test_the_autoscaler_follows_the_stable_revision(model_deployment: Make) -> None:
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 9,
        "metrics": [{"type": "CPU", "target": "70%"}, {"type": "Memory", "target": "1Gi"}],
    }
    found = made(model_deployment(scaling=scaling), status(A, B, 5, previous=C))
    assert of("HorizontalPodAutoscaler", found).keys() == {f"fraud-{A}"}, "the pods make the share, and follow stable's"
    spec = of("HorizontalPodAutoscaler", found)[f"fraud-{A}"].manifest["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"fraud-{A}"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert [metric["containerResource"]["target"] for metric in spec["metrics"]] == [
        {"type": "Utilization", "averageUtilization": 70},
        {"type": "AverageValue", "averageValue": "1Gi"},
    ]
    owned = {name: child.autoscaled for name, child in of("Deployment", found).items()}
    assert owned == {f"fraud-{A}": True, f"fraud-{B}": False, f"fraud-{C}": False}


def test_a_candidate_with_a_share_of_its_own_has_an_autoscaler_that_starts_at_what_the_share_needs(
    model_deployment: Make,
) -> None:
    md = model_deployment(scaling={"minReplicas": 4, "maxReplicas": 9}, traffic=ROUTED)
    at_rest = made(md, status(A))
    assert _least(at_rest) == {f"fraud-{A}": 4}
    assert _least(made(md, status(A, B, 0, phase="Preparing"))) == {f"fraud-{A}": 4}, "it has no load yet"
    for phase, weight in (("Progressing", 5), ("Promoting", 100), ("RollingBack", 0)):
        found = made(md, status(A, B, weight, previous=C, phase=phase))
        assert _least(found) == {f"fraud-{A}": 4, f"fraud-{B}": 1}
        owned = {name: child.autoscaled for name, child in of("Deployment", found).items()}
        assert owned == {f"fraud-{A}": True, f"fraud-{B}": True, f"fraud-{C}": False}
    assert _least(made(md, status(B, previous=A, phase="Watching"))) == {f"fraud-{B}": 4}


def _least(found: list[Child]) -> dict[str, int]:
    """How many pods each autoscaler leaves at least."""
    return {name: child.manifest["spec"]["minReplicas"] for name, child in of("HorizontalPodAutoscaler", found).items()}


def test_recreate_has_pods_of_one_revision_alone_and_no_autoscaler_for_the_other(model_deployment: Make) -> None:
    md = model_deployment(scaling={"minReplicas": 2, "maxReplicas": 5})
    found = made(md, status(A, B, phase="Preparing", strategy="Recreate"))
    sizes = {name: (child.replicas, child.autoscaled) for name, child in of("Deployment", found).items()}
    assert sizes == {f"fraud-{A}": (0, False), f"fraud-{B}": (1, False)}
    assert of("HorizontalPodAutoscaler", found) == {}
    after = made(md, status(B, previous=A, previous_replicas=0, phase="Watching", strategy="Recreate"))
    assert set(of("HorizontalPodAutoscaler", after)) == set(of("Deployment", after)) == {f"fraud-{B}"}


@pytest.mark.parametrize("scaling", [{"minReplicas": 2}, {"minReplicas": 2, "maxReplicas": 2}])
def test_no_autoscaler_without_room_to_scale(model_deployment: Make, scaling: dict[str, Any]) -> None:
    assert not of("HorizontalPodAutoscaler", made(model_deployment(scaling=scaling), status(A)))


def test_a_service_account_of_the_users_own(model_deployment: Make) -> None:
    md = model_deployment(runtime={"serviceAccountName": "identity"})
    assert not of("ServiceAccount", made(md, status(A)))


def test_the_service_account_stays_while_a_revision_runs_under_it(model_deployment: Make) -> None:
    before, md = model_deployment(), model_deployment(runtime={"serviceAccountName": "identity"})
    found = children(md, status(A, B, 5), {A: revision(before, A), B: revision(md, B, 2)})
    assert "fraud" in of("ServiceAccount", found)


def test_keeps_the_revisions_in_use_and_the_newest(model_deployment: Make) -> None:
    md = model_deployment()
    many = {f"{i:010d}": revision(md, f"{i:010d}", i) for i in range(1, 20)}
    kept = of("ControllerRevision", children(md, status(f"{1:010d}"), many))
    newest = {f"fraud-{i:010d}" for i in range(20 - KEPT_REVISIONS, 20)}
    assert kept.keys() == {f"fraud-{1:010d}"} | newest
    assert [child.manifest["revision"] for child in kept.values()] == [1, *range(10, 20)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (status(A, B, 100), status(B, previous=A, phase="Promoting")),
        (status(B, previous=A, phase="Watching"), status(B)),
        (status(B, previous=A, phase="RollingBack"), status(A, B, phase="RollingBack")),
        (status(A, B, 50), status(B, previous=A, phase="RollingBack")),
    ],
    ids=["handed over", "settled", "restored", "taken over"],
)
def test_what_is_kept_of_the_spec_is_there_however_far_the_writing_came(
    model_deployment: Make, before: ModelDeploymentStatus, after: ModelDeploymentStatus
) -> None:
    md = model_deployment()
    known = {name: revision(md, name, number) for number, name in enumerate((A, B), 1)}

    def keepers(wanted: ModelDeploymentStatus) -> dict[str, Any]:
        found = of("ControllerRevision", children(md, wanted, known, "{}"))
        return {name: child.manifest["metadata"].get("annotations", {}).get(KEPT) for name, child in found.items()}

    live = keepers(before)
    for name, kept in keepers(after).items():
        live[name] = kept
        assert "{}" in live.values(), name


def test_a_revision_nobody_kept_is_left_out(model_deployment: Make) -> None:
    found = made(model_deployment(), status(A, B, 0, phase="Preparing"), A)
    assert of("Deployment", found).keys() == {f"fraud-{A}"}


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(0, A), (1, None), (50, None), (99, None), (100, B)],
)
def test_without_a_route_pod_counts_make_the_share(model_deployment: Make, weight: int, expected: str | None) -> None:
    found = made(model_deployment(), status(A, B, weight))
    assert selector(found, "fraud").get(names.REVISION_LABEL) == expected
    assert selector(found, "fraud")[names.MODEL_LABEL] == "fraud"
    assert selector(found, "fraud-candidate")[names.REVISION_LABEL] == B
    assert not of("Ingress", found)


@pytest.mark.parametrize("weight", [0, 1, 50, 99, 100])
def test_with_a_route_the_stable_service_is_stables_alone(model_deployment: Make, weight: int) -> None:
    found = made(model_deployment(traffic=ROUTED), status(A, B, weight))
    assert selector(found, "fraud") == {names.MODEL_LABEL: "fraud", names.REVISION_LABEL: A}
    assert selector(found, "fraud-candidate") == {names.MODEL_LABEL: "fraud", names.REVISION_LABEL: B}


HTTP = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}
GRPC = {
    "name": "grpc",
    "port": 8081,
    "protocol": "TCP",
    "targetPort": "grpc",
    "appProtocol": "kubernetes.io/h2c",
}


def before_grpc(made: Revision) -> Revision:
    """The revision as an operator of before gRPC rendered and kept it."""
    template = deepcopy(made.template)
    template["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    return replace(made, template=template)


@pytest.mark.parametrize(
    ("old", "rollout", "ports"),
    [
        ("", status(A), [HTTP, GRPC]),
        (A, status(A), [HTTP]),
        (A, status(A, B, 5), [HTTP, GRPC]),
        (A + B, status(A, B, 5), [HTTP]),
        (B, status(A, B, 5), [HTTP, GRPC]),
        (A, status(B, previous=A, phase="Watching"), [HTTP, GRPC]),
        (B, status(B, previous=A, phase="Watching"), [HTTP]),
    ],
)
def test_services_have_a_port_for_grpc_while_a_revision_has_one(
    model_deployment: Make, old: str, rollout: ModelDeploymentStatus, ports: list[dict[str, Any]]
) -> None:
    md = model_deployment()
    known = {name: revision(md, name, i + 1) for i, name in enumerate((A, B))}
    known = {name: before_grpc(made) if name in old else made for name, made in known.items()}
    found = children(md, rollout, known)
    assert [child.manifest["spec"]["ports"] for child in of("Service", found).values()] == [ports, ports]
    # The Services may change, pods that run do not.
    for name, child in of("Deployment", found).items():
        assert child.manifest["spec"]["template"] == known[name.removeprefix("fraud-")].template


def test_a_port_of_that_name_in_another_container_is_not_the_models(model_deployment: Make) -> None:
    md = model_deployment(
        runtime={
            "grpc": {"enabled": False},
            "podTemplate": {"spec": {"containers": [{"name": "tap", "ports": [{"name": "grpc", "containerPort": 1}]}]}},
        }
    )
    found = children(md, status(A), {A: revision(md, A)})
    assert of("Service", found)["fraud"].manifest["spec"]["ports"] == [HTTP]


def test_both_ingresses(model_deployment: Make) -> None:
    traffic = {**ROUTED, "ingress": {**ROUTED["ingress"], "annotations": {"example.com/limit": "5"}}}  # type: ignore[dict-item]
    found = of("Ingress", made(model_deployment(traffic=traffic), status(A, B, 25)))
    stable, canary = found["fraud"].manifest, found["fraud-candidate"].manifest
    assert stable["metadata"]["annotations"] == {"example.com/limit": "5"}
    assert canary["metadata"]["annotations"] == {"example.com/limit": "5", CANARY: "true", CANARY_WEIGHT: "25"}
    for ingress, service in ((stable, "fraud"), (canary, "fraud-candidate")):
        backend = {"service": {"name": service, "port": {"name": "http"}}}
        path = {"path": "/score", "pathType": "Prefix", "backend": backend}
        assert ingress["spec"] == {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["fraud.example.com"], "secretName": "tls"}],
            "rules": [{"host": "fraud.example.com", "http": {"paths": [path]}}],
        }


@pytest.mark.parametrize(
    ("candidate", "phase", "weight", "leads"),
    [
        (None, "Stable", 0, False),
        (B, "Preparing", 0, False),
        (B, "Progressing", 0, True),
        (B, "Progressing", 25, True),
        (B, "Promoting", 0, False),
        (B, "Promoting", 100, True),
        (B, "RollingBack", 0, False),
        (None, "Watching", 0, False),
    ],
)
def test_a_header_leads_to_a_candidate_that_is_ready(
    model_deployment: Make, candidate: str | None, phase: Phase, weight: int, leads: bool
) -> None:
    traffic = {**ROUTED, "ingress": {"previewHeader": "X-Preview"}}
    found = of("Ingress", made(model_deployment(traffic=traffic), status(A, candidate, weight, phase=phase)))
    annotations = found["fraud-candidate"].manifest["metadata"]["annotations"]
    assert annotations.get(CANARY_BY_HEADER) == ("X-Preview" if leads else None)
    assert "annotations" not in found["fraud"].manifest["metadata"]


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        ({}, "http://fraud.payments.svc/"),
        (ROUTED, "https://fraud.example.com/score"),
        ({"host": "fraud.example.com", "ingress": {}}, "http://fraud.example.com/"),
    ],
)
def test_url(model_deployment: Make, traffic: dict[str, Any], expected: str) -> None:
    assert url(model_deployment(traffic=traffic)) == expected


def test_the_longest_name_fits_everywhere(model_deployment: Make) -> None:
    name = "n" * NAME_LIMIT
    scaling = {"minReplicas": 1, "maxReplicas": 2}
    found = made(model_deployment(name=name, traffic=ROUTED, scaling=scaling), status(A, B, 5, previous=C))
    assert {child.manifest["kind"] for child in found} == {
        "ControllerRevision", "ServiceAccount", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler",
        "Service", "Ingress",
    }  # fmt: skip
    for child in found:
        assert len(child.manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in child.manifest["metadata"]["labels"].values())


def test_children_carry_our_labels_and_no_others(model_deployment: Make) -> None:
    """The parent in this test carries Argo CD's tracking label: on a child it would get the child pruned."""
    scaling = {"minReplicas": 1, "maxReplicas": 2}
    for child in made(model_deployment(traffic=ROUTED, scaling=scaling), status(A, B, 5, previous=C)):
        metadata = child.manifest["metadata"]
        assert metadata["labels"].keys() <= names.ALLOWED_LABELS
        assert metadata["labels"][names.MODEL_LABEL] == "fraud"
        assert metadata["namespace"] == "payments"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "haldane.dev/v1alpha1",
                "kind": "ModelDeployment",
                "name": "fraud",
                "uid": "11111111-2222-3333-4444-555555555555",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


@st.composite
def statuses(draw: st.DrawFn) -> ModelDeploymentStatus:
    stable, candidate, previous = draw(st.permutations([A, B, C]))
    return status(
        stable,
        candidate if draw(st.booleans()) else None,
        draw(st.integers(0, 100)),
        previous=previous if draw(st.booleans()) else None,
        previous_replicas=draw(st.integers(0, 3)),
        phase=draw(st.sampled_from(get_args(Phase))),
    )


@given(statuses(), st.booleans(), st.booleans())
def test_whatever_status_says(
    model_deployment: Make, wanted: ModelDeploymentStatus, routed: bool, autoscaled: bool
) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 2} if autoscaled else {}
    md = model_deployment(traffic=ROUTED if routed else {}, scaling=scaling)
    found = made(md, wanted)
    assert wanted.stable is not None
    stable, candidate = wanted.stable.revision, wanted.candidate.revision if wanted.candidate else None

    identities = [(child.manifest["kind"], child.manifest["metadata"]["name"]) for child in found]
    assert len(set(identities)) == len(identities), "no child is named twice"

    services = of("Service", found)
    assert services.keys() == {"fraud", "fraud-candidate"}
    clients, canary = selector(found, "fraud"), selector(found, "fraud-candidate")
    assert canary[names.REVISION_LABEL] == (candidate or stable)
    if routed or candidate is None or wanted.rollout.weight == 0:
        assert clients[names.REVISION_LABEL] == stable
    # Whatever the weight, requests reach revisions that have pods to answer them.
    deployed = {
        child.manifest["metadata"]["labels"][names.REVISION_LABEL] for child in of("Deployment", found).values()
    }
    assert clients.get(names.REVISION_LABEL, stable) in deployed
    assert canary[names.REVISION_LABEL] in deployed

    observed = observe("fraud", [child.manifest for child in found])
    assert observed.route_weight == (wanted.rollout.weight if routed else None)
    assert of("Ingress", found).keys() == ({"fraud", "fraud-candidate"} if routed else set())
    if routed:
        annotations = of("Ingress", found)["fraud"].manifest["metadata"].get("annotations", {})
        assert not any(key.startswith(CANARY) for key in annotations), "the stable route is never a canary"

    scaled = of("HorizontalPodAutoscaler", found).keys()
    assert scaled <= ({f"fraud-{stable}", f"fraud-{candidate}"} if autoscaled else set())
    assert f"fraud-{stable}" in scaled or not autoscaled
    owned = {name for name, child in of("Deployment", found).items() if child.autoscaled}
    assert owned == scaled, "whose replicas are left alone is scaled by somebody"
    assert children(md, wanted, {name: revision(md, name, i + 1) for i, name in enumerate((A, B, C))}) == found
