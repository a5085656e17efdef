"""Least privilege, held by walking every rule that the chart grants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haldane.control import ports

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

READ = {"get", "list", "watch"}
MANAGE = READ | {"create", "patch", "delete"}

# Everything the operator may do, a line a resource. A new right is a decision: it has to be made here too.
OPERATOR = {
    ("haldane.dev", "modeldeployments"): READ,
    ("haldane.dev", "modeldeployments/status"): {"update"},
    ("apps", "deployments"): MANAGE,
    ("apps", "deployments/scale"): {"patch"},
    ("apps", "controllerrevisions"): MANAGE,
    ("", "services"): MANAGE,
    ("", "serviceaccounts"): MANAGE,
    ("networking.k8s.io", "ingresses"): MANAGE,
    ("autoscaling", "horizontalpodautoscalers"): MANAGE,
    ("policy", "poddisruptionbudgets"): MANAGE,
    ("", "pods"): READ,
    ("discovery.k8s.io", "endpointslices"): READ,
    ("events.k8s.io", "events"): {"create", "patch"},
    # To ask a candidate's pods what they take before they get any traffic; not where gates are off.
    ("", "pods/proxy"): {"get", "create"},
}

COMBINATIONS: list[Manifest] = [
    {},
    {"watchNamespaces": ["payments"]},
    {"watchNamespaces": ["payments", "search"], "rbac": {"aggregate": False}},
    {"serviceAccount": {"create": False, "name": "mine"}},
    {"podMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}},
]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def rights(role: Manifest) -> dict[tuple[str, str], set[str]]:
    granted: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        assert not {"resourceNames", "nonResourceURLs"} & rule.keys()
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                granted.setdefault((group, resource), set()).update(rule["verbs"])
    return granted


def every_right(manifests: list[Manifest]) -> Iterator[tuple[str, str, str]]:
    for role in of_kind(manifests, "Role", "ClusterRole"):
        for (group, resource), verbs in rights(role).items():
            for verb in verbs:
                yield group, resource, verb


@pytest.mark.parametrize("values", COMBINATIONS)
def test_no_rule_has_a_wildcard_or_reaches_secrets_or_rights_themselves(render: Render, values: Manifest) -> None:
    for group, resource, verb in every_right(render(values)):
        assert "*" not in (group, resource, verb)
        assert resource.partition("/")[0] not in {"secrets", "configmaps", "nodes", "namespaces"}
        assert group not in {"rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io"}
        assert verb not in {"escalate", "bind", "impersonate"}
        assert resource not in {"pods/exec", "pods/attach", "pods/ephemeralcontainers", "serviceaccounts/token"}


def test_the_operator_may_do_these_things_and_no_others(defaults: list[Manifest]) -> None:
    operator = next(role for role in of_kind(defaults, "ClusterRole") if role["metadata"]["name"] == "haldane")
    assert rights(operator) == OPERATOR


def test_without_gates_nobody_needs_to_reach_into_pods(render: Render) -> None:
    for values in ({}, {"watchNamespaces": ["payments"]}):
        made = render(values | {"gates": {"enabled": False}})
        role = next(r for r in of_kind(made, "Role", "ClusterRole") if r["metadata"]["name"] == "haldane")
        assert rights(role) == {right: verbs for right, verbs in OPERATOR.items() if right != ("", "pods/proxy")}


def test_the_operator_never_writes_spec_or_metadata_of_a_model(defaults: list[Manifest]) -> None:
    operator = next(role for role in of_kind(defaults, "ClusterRole") if role["metadata"]["name"] == "haldane")
    assert rights(operator)["haldane.dev", "modeldeployments"] == READ


def test_with_a_list_of_namespaces_it_has_a_role_in_each_and_nothing_on_the_cluster(render: Render) -> None:
    made = render({"watchNamespaces": ["payments", "search"]})
    roles, bindings = of_kind(made, "Role"), of_kind(made, "RoleBinding")
    assert [role["metadata"]["namespace"] for role in roles] == ["payments", "search"]
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["payments", "search"]
    assert all(rights(role) == OPERATOR for role in roles)
    for binding in bindings:
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "haldane"}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "haldane", "namespace": "haldane-system"}]
    assert not of_kind(made, "ClusterRoleBinding")
    assert {role["metadata"]["name"] for role in of_kind(made, "ClusterRole")} == {"haldane-view", "haldane-edit"}


def test_with_a_list_of_namespaces_only_the_crd_and_the_roles_of_people_stand_outside_them(render: Render) -> None:
    alone = render(
        {"watchNamespaces": ["payments"], "crds": {"install": False}, "rbac": {"aggregate": False}},
    )
    assert all("namespace" in manifest["metadata"] for manifest in alone)


def test_the_binding_names_the_account_that_the_pod_runs_as(defaults: list[Manifest]) -> None:
    (binding,) = of_kind(defaults, "ClusterRoleBinding")
    (deployment,) = of_kind(defaults, "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "haldane-system"}]


def test_people_get_models_by_the_clusters_own_roles(defaults: list[Manifest]) -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(defaults, "ClusterRole")}
    prefix = "rbac.authorization.k8s.io/aggregate-to-"

    def aggregated(role: Manifest) -> set[str]:
        return {key.removeprefix(prefix) for key in role["metadata"]["labels"] if key.startswith(prefix)}

    assert aggregated(roles["haldane-view"]) == {"view", "edit", "admin"}
    assert aggregated(roles["haldane-edit"]) == {"edit", "admin"}
    assert not aggregated(roles["haldane"])
    assert all(verbs == READ for verbs in rights(roles["haldane-view"]).values())
    assert ("haldane.dev", "modeldeployments/status") not in rights(roles["haldane-edit"])


@pytest.mark.parametrize(
    ("rbac", "kinds"),
    [
        ({"create": False}, {"ClusterRole"}),
        ({"aggregate": False}, {"ClusterRole", "ClusterRoleBinding"}),
        ({"create": False, "aggregate": False}, set()),
    ],
)
def test_rights_can_be_left_to_others(render: Render, rbac: Manifest, kinds: set[str]) -> None:
    made = {manifest["kind"] for manifest in render({"rbac": rbac})}
    assert made & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} == kinds


def test_every_kind_that_the_program_names_can_be_used(defaults: list[Manifest]) -> None:
    operator = rights(next(role for role in of_kind(defaults, "ClusterRole") if role["metadata"]["name"] == "haldane"))
    for kind in ports.OWNED:
        assert operator[kind.group, kind.plural] == MANAGE, kind
    for kind in (ports.MODEL_DEPLOYMENTS, *ports.DEPENDENTS):
        assert operator[kind.group, kind.plural] == READ, kind
