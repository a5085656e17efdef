"""ModelDeployments as a user meets them: kubectl's columns, explain, scale and apply, and the operator's status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.apiserver.rest import Answer, Body, Rest
    from e2e.apiserver.server import ApiServer

pytestmark = pytest.mark.api

RESOURCES = "/apis/haldane.dev/v1alpha1/namespaces/{}/modeldeployments"

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Progressing",
            "message": "Version 2.1.0 gets 25 % of the requests.",
            "lastTransitionTime": "2026-01-02T03:04:05.000Z",
            "observedGeneration": 1,
        },
        {
            "type": "Available",
            "status": "True",
            "reason": "StableReady",
            "message": "Version 2.0.3 serves with 3 of 3 pods.",
            "lastTransitionTime": "2026-01-01T00:00:00.000Z",
        },
        {
            "type": "Reconciling",
            "status": "True",
            "reason": "Progressing",
            "message": "Version 2.1.0 gets 25 % of the requests.",
            "lastTransitionTime": "2026-01-02T03:04:05.000Z",
        },
    ],
    "url": "https://fraud.example.com/",
    "replicas": 3,
    "selector": "haldane.dev/model=fraud,haldane.dev/revision=7c9d0a1b2c",
    "stable": {
        "revision": "7c9d0a1b2c",
        "version": "2.0.3",
        "digest": "sha256:" + "a" * 64,
        "replicas": 3,
        "readyReplicas": 3,
    },
    "candidate": {"revision": "1b42d3e4f5", "version": "2.1.0", "replicas": 1, "readyReplicas": 1},
    "previous": {"revision": "0099aabbcc", "version": "1.9.0", "replicas": 0, "readyReplicas": 0},
    "rollout": {
        "phase": "Progressing",
        "step": 1,
        "weight": 25,
        "observedWeight": "24.7",
        "startedAt": "2026-01-02T03:00:00.000Z",
        "phaseStartedAt": "2026-01-02T03:01:00.250Z",
        "weightChangedAt": "2026-01-02T03:04:00.000Z",
        "stepStartedAt": "2026-01-02T03:04:05.000Z",
        "checkedAt": "2026-01-02T03:05:05.000Z",
        "checks": [
            {
                "name": "errors",
                "verdict": "Pass",
                "value": "0.2%",
                "baseline": "0.1%",
                "limit": "1.1%",
                "requests": 2451,
                "failures": 0,
                "at": "2026-01-02T03:05:05.000Z",
                "message": "0.2 % of 2451 requests failed; the limit is 1.1 %.",
            },
            {
                "name": "p99",
                "verdict": "Inconclusive",
                "failures": 0,
                "at": "2026-01-02T03:05:05.000Z",
                "message": "Prometheus did not answer.",
            },
        ],
        "gates": [
            {
                "name": "signature",
                "verdict": "Pass",
                "message": "takes and gives what version 2.0.3 does",
                "since": "2026-01-02T03:00:30.000Z",
                "at": "2026-01-02T03:00:30.000Z",
            }
        ],
        "message": "Step 2 of 3 holds until 03:34.",
    },
    "rejected": [
        {
            "revision": "55aa66bb77",
            "version": "2.0.9",
            "reason": "CheckFailed",
            "message": "p99 was 900 ms; the limit is 250 ms.",
            "at": "2026-01-01T12:00:00.000Z",
            "retry": "1",
        }
    ],
    "history": [
        {
            "revision": "7c9d0a1b2c",
            "version": "2.0.3",
            "outcome": "Promoted",
            "startedAt": "2025-12-31T23:00:00.000Z",
            "finishedAt": "2026-01-01T00:00:00.000Z",
            "message": "Every check passed at 5, 25 and 50 %.",
        }
    ],
}


@pytest.fixture
def fraud(rest: Rest, namespace: str, model_deployment: Callable[..., Body]) -> Body:
    """A ModelDeployment in the namespace, as the API server answered."""
    return rest.create(namespace, model_deployment({"scaling.minReplicas": 3, "scaling.maxReplicas": 5})).body


@pytest.fixture
def rolling_out(rest: Rest, fraud: Body) -> Answer:
    """The same with the status of a rollout half-way."""
    return rest.replace(fraud["metadata"]["namespace"], {**fraud, "status": STATUS}, "status", fieldValidation="Strict")


def test_a_full_status_survives_the_round_trip(rolling_out: Answer) -> None:
    assert rolling_out.status == 200, rolling_out
    assert rolling_out.warnings == ()
    assert rolling_out.body["status"] == STATUS
    assert ModelDeployment.from_wire(rolling_out.body).status.to_wire() == STATUS


def test_status_and_spec_are_written_apart(rest: Rest, namespace: str, fraud: Body, rolling_out: Answer) -> None:
    through_spec = {**rolling_out.body, "status": {}}
    through_spec["spec"] = {**fraud["spec"], "scaling": {**fraud["spec"]["scaling"], "minReplicas": 4}}
    changed = rest.replace(namespace, through_spec).body
    assert changed["spec"]["scaling"]["minReplicas"] == 4
    assert changed["status"] == STATUS
    assert changed["metadata"]["generation"] == 2

    through_status = {**changed, "spec": fraud["spec"], "status": {**STATUS, "observedGeneration": 2}}
    noted = rest.replace(namespace, through_status, "status").body
    assert noted["spec"]["scaling"]["minReplicas"] == 4
    assert noted["status"]["observedGeneration"] == 2
    assert noted["metadata"]["generation"] == 2


def test_a_status_written_on_an_older_reading_is_a_conflict(rest: Rest, namespace: str, fraud: Body) -> None:
    assert rest.replace(namespace, {**fraud, "status": STATUS}, "status").status == 200
    assert rest.replace(namespace, {**fraud, "status": {}}, "status").status == 409


def test_the_api_server_holds_the_operator_to_its_own_types(rest: Rest, namespace: str, fraud: Body) -> None:
    wrong = {**STATUS, "rollout": {**STATUS["rollout"], "phase": "Dreaming"}}
    answer = rest.replace(namespace, {**fraud, "status": wrong}, "status")
    assert answer.status == 422
    assert "status.rollout.phase" in {field for field, _ in answer.refusals}


def test_the_table_shows_where_a_rollout_stands(rest: Rest, namespace: str, rolling_out: Answer) -> None:
    table = rest.send("GET", RESOURCES.format(namespace), accept="application/json;as=Table;v=v1;g=meta.k8s.io").body

    names = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert names == ["Name", "Version", "Phase", "Weight", "Ready", "Candidate", "Age"]
    ((*cells, _age, _url, _message),) = [row["cells"] for row in table["rows"]]
    assert cells == ["fraud", "2.0.3", "Progressing", 25, "False", "2.1.0"]


def test_kubectl_get_by_short_name_and_category(apiserver: ApiServer, namespace: str, rolling_out: Answer) -> None:
    for kind in ("mdep", "modeldeployment", "modeldeployments", "all"):
        got = apiserver.kubectl("get", kind, f"--namespace={namespace}")
        head, row = got.stdout.splitlines()
        assert head.split() == ["NAME", "VERSION", "PHASE", "WEIGHT", "READY", "CANDIDATE", "AGE"]
        name, *cells, _age = row.split()
        assert name.rpartition("/")[2] == "fraud"
        assert cells == ["2.0.3", "Progressing", "25", "False", "2.1.0"]

    wide = apiserver.kubectl("get", "mdep", "--output=wide", f"--namespace={namespace}").stdout
    assert "https://fraud.example.com/   Step 2 of 3 holds until 03:34." in wide


def test_kubectl_wait_reads_the_conditions(apiserver: ApiServer, namespace: str, rolling_out: Answer) -> None:
    def wait(condition: str) -> int:
        return apiserver.kubectl(
            "wait", "mdep/fraud", f"--for=condition={condition}", "--timeout=1s", f"--namespace={namespace}"
        ).returncode

    assert wait("Available") == 0
    assert wait("Ready") == 1


def test_kubectl_scale_changes_the_least_replicas(
    rest: Rest, apiserver: ApiServer, namespace: str, rolling_out: Answer
) -> None:
    scaled = apiserver.kubectl("scale", "mdep/fraud", "--replicas=5", f"--namespace={namespace}")
    assert scaled.returncode == 0, scaled.stderr
    assert rest.get("ModelDeployment", namespace, "fraud").body["spec"]["scaling"]["minReplicas"] == 5

    scale = rest.send("GET", f"{RESOURCES.format(namespace)}/fraud/scale").body
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == {"replicas": 3, "selector": STATUS["selector"]}

    above = apiserver.kubectl("scale", "mdep/fraud", "--replicas=6", f"--namespace={namespace}")
    assert above.returncode == 1
    assert "maxReplicas must be at least minReplicas: raise maxReplicas or lower minReplicas" in above.stderr


EXPLAINED = {
    "modeldeployment": ["What to serve, how to run it, how far to scale it, and how to replace it."],
    "modeldeployment.spec.rollout": [
        "How a new revision takes over.",
        "steps <[]Object>",
        "Default: 1 % for 2m, then 5, 25 and 50 % for 10m each.",
        "keepStableFor <string>",
        "How long the old pods stay, warm, after a promotion. Default: 5m.",
    ],
    "modeldeployment.spec.rollout.analysis.onInconclusive": ["ENUM: Hold Promote Rollback", "Default: Hold."],
    "mdep.spec.rollout.checks.query.promql": ["{{model}}, {{namespace}}, {{revision}} and {{window}}"],
    "mdep.spec.model.uri": ["pvc://claim/path", "ReadWriteOnce keeps all pods on one node", "ReadWriteOncePod"],
    "mdep.spec.model.golden": ["golden.json beside the model", "requests <[]Object> -required-", "tolerance <Object>"],
    "mdep.spec.runtime": [
        "batching <Object>",
        "grpc <Object>",
        "requestLog <Object>",
        "responseCache <Object>",
        "session <Object>",
    ],
    "mdep.spec.runtime.batching": ["1: no batching. 64 when left out.", "not at all when left out"],
    "mdep.spec.runtime.limits": ["queueBytes <string>", "256Mi when left out.", "queueDelay <string>"],
    "mdep.spec.runtime.session": ["enum: fp32, fp16, int8", "providers <[]string>", "1% when left out."],
    "mdep.spec.runtime.grpc.enabled": ["port 8081 for gRPC", "Default: true."],
    "mdep.spec.runtime.responseCache": ["rediss:// for TLS", "5m when left out.", "With a password use secretRef."],
    "mdep.spec.runtime.requestLog.sample": ["for example 1%"],
    "mdep.spec.runtime.podTemplate.spec": ["A PodSpec; the runtime's container is named runtime."],
    "mdep.status.rejected.retry": ["haldane.dev/retry"],
}


@pytest.mark.parametrize(("path", "sentences"), EXPLAINED.items(), ids=EXPLAINED.keys())
def test_kubectl_explains(apiserver: ApiServer, crd_installed: None, path: str, sentences: list[str]) -> None:
    explained = apiserver.kubectl("explain", path)
    assert explained.returncode == 0, explained.stderr
    words = " ".join(explained.stdout.split())
    for sentence in sentences:
        assert sentence in words


def test_kubectl_explains_every_field_there_is(apiserver: ApiServer, crd_installed: None) -> None:
    explained = apiserver.kubectl("explain", "modeldeployment", "--recursive").stdout
    for field in ("promql", "keepStableFor", "tlsSecret", "lastTransitionTime", "observedWeight"):
        assert field in explained


@pytest.mark.parametrize("server_side", [False, True])
def test_a_list_written_in_place_of_the_default_replaces_it(
    apiserver: ApiServer, rest: Rest, namespace: str, model_deployment: Callable[..., Body], server_side: bool
) -> None:
    flags = [f"--namespace={namespace}", "--filename=-", *(["--server-side"] if server_side else [])]
    checks = [{"name": "p99", "latency": {"quantile": "0.99", "max": "1s"}}]
    metrics = [{"type": "Memory", "target": "1Gi"}]
    steps = [{"weight": 50, "hold": "1m"}]
    mine = {"rollout.checks": checks, "scaling.metrics": metrics, "rollout.steps": steps}

    for fields in ({}, mine, {}):
        applied = apiserver.kubectl("apply", *flags, stdin=json.dumps(model_deployment(fields)))
        assert applied.returncode == 0, applied.stderr
        spec = rest.get("ModelDeployment", namespace, "fraud").body["spec"]
        assert (spec["rollout"]["checks"] == checks) == bool(fields)
        assert (spec["scaling"]["metrics"] == metrics) == bool(fields)
        assert (spec["rollout"]["steps"] == steps) == bool(fields)


def test_two_appliers_share_the_variables(rest: Rest, namespace: str, model_deployment: Callable[..., Body]) -> None:
    where = f"{RESOURCES.format(namespace)}/fraud"
    for manager in ("team", "platform"):
        body = model_deployment({"runtime.env": [{"name": manager.upper(), "value": "1"}]})
        answer = rest.send("PATCH", where, body, media="application/apply-patch+yaml", fieldManager=manager)
        assert answer.status in {200, 201}, answer
    spec = rest.get("ModelDeployment", namespace, "fraud").body["spec"]
    assert [variable["name"] for variable in spec["runtime"]["env"]] == ["TEAM", "PLATFORM"]


def test_variables_of_one_name_are_refused(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body]
) -> None:
    twice = model_deployment({"runtime.env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})
    answer = rest.create("default", twice, dryRun="All")
    assert {field for field, _ in answer.refusals} == {"spec.runtime.env", "spec.runtime.env[1]"}
    assert any("names in runtime.env must differ: leave one of them out" in message for _, message in answer.refusals)


@pytest.mark.parametrize("server_side", [False, True])
def test_patch_directives_survive_kubectl_apply_but_null_only_the_server_side_one(
    apiserver: ApiServer, rest: Rest, namespace: str, model_deployment: Callable[..., Body], server_side: bool
) -> None:
    flags = [f"--namespace={namespace}", "--filename=-", *(["--server-side"] if server_side else [])]
    directive = [{"name": "cache", "$patch": "delete"}]
    template = {"runtime.podTemplate": {"spec": {"volumes": directive, "securityContext": None}}}
    for fields in ({}, template):
        applied = apiserver.kubectl("apply", *flags, stdin=json.dumps(model_deployment(fields)))
        assert applied.returncode == 0, applied.stderr

    spec = rest.get("ModelDeployment", namespace, "fraud").body["spec"]["runtime"]["podTemplate"]["spec"]
    assert spec["volumes"] == directive
    assert ("securityContext" in spec) == server_side
