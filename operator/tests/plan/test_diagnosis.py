from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from haldane.plan.diagnosis import LOAD_ADVICE, diagnose
from haldane.plan.observed import Problem

Manifest = dict[str, Any]
MakePod = Callable[..., Manifest]

MISSING_SECRET = 'secret "s3-models" not found'
UNSCHEDULABLE = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
    "2 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful."
)
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available."
PULL = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/haldane/runtime:x": '
    'failed to resolve reference "docker.io/haldane/runtime:x": docker.io/haldane/runtime:x: not found'
)


def container(name: str = "runtime", ready: bool = False, **state: Any) -> Manifest:
    return {"name": name, "image": "haldane/runtime:x", "ready": ready, **state}


def waiting(reason: str, message: str = "", **more: Any) -> Manifest:
    return container(state={"waiting": {"reason": reason, "message": message}}, **more)


def ended(message: str = "", reason: str = "Error", code: int = 1) -> Manifest:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def failed_load(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


def unscheduled(message: str) -> list[Manifest]:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


CHECKSUM = failed_load("ChecksumMismatch", "s3://models/fraud/1/ has the SHA-256 aa, and bb was asked for.")
DOWN = failed_load(
    "StorageUnreachable", "http://s3.storage.svc:8333 cannot be reached for listing: Connection refused."
)

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}

CASES: list[tuple[str, Manifest, Problem]] = [
    (
        "image cannot be pulled, first try",
        {"containerStatuses": [waiting("ErrImagePull", PULL)]},
        Problem(
            "ImagePullBackOff",
            "image haldane/runtime:x cannot be pulled: failed to pull and unpack image "
            '"docker.io/haldane/runtime:x": failed to resolve reference "docker.io/haldane/runtime:x": '
            "docker.io/haldane/runtime:x: not found: correct spec.runtime.image, or let the pods into its registry "
            "by podTemplate.spec.imagePullSecrets",
        ),
    ),
    (
        "an image that is not there and never pulled",
        {"containerStatuses": [waiting("ErrImageNeverPull", 'Container image "x" is not present.')]},
        Problem(
            "ErrImageNeverPull",
            'image haldane/runtime:x cannot be pulled: Container image "x" is not present: correct spec.runtime.image, '
            "or let the pods into its registry by podTemplate.spec.imagePullSecrets",
        ),
    ),
    (
        "missing secret",
        {"containerStatuses": [waiting("CreateContainerConfigError", MISSING_SECRET)]},
        Problem(
            "CreateContainerConfigError",
            "Secret s3-models does not exist in namespace payments: create it, or correct spec.model.credentialsSecret; "
            "the pods start by themselves then",
        ),
    ),
    (
        "missing config map",
        {"containerStatuses": [waiting("CreateContainerConfigError", 'configmap "extra" not found')]},
        Problem(
            "CreateContainerConfigError",
            "ConfigMap extra does not exist in namespace payments: create it, or correct spec.runtime; "
            "the pods start by themselves then",
        ),
    ),
    (
        "no such program",
        {"containerStatuses": [waiting("RunContainerError", 'exec: "serve": not found.')]},
        Problem("RunContainerError", 'the container cannot be created: exec: "serve": not found: correct spec.runtime'),
    ),
    (
        "no room",
        {"phase": "Pending", "conditions": unscheduled(UNSCHEDULABLE)},
        Problem(
            "Unschedulable",
            "no node takes the pod: 0/3 nodes are available: 1 node(s) had untolerated taint "
            "{node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu: add nodes, lower spec.runtime.resources, "
            "or correct nodeSelector and tolerations",
        ),
    ),
    (
        "no GPU",
        {"phase": "Pending", "conditions": unscheduled(NO_GPU)},
        Problem(
            "Unschedulable",
            "no node takes the pod: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu: "
            "free a GPU or add a node with one",
        ),
    ),
    (
        "no such claim",
        {"phase": "Pending", "conditions": unscheduled('persistentvolumeclaim "models" not found.')},
        Problem(
            "Unschedulable",
            'no node takes the pod: persistentvolumeclaim "models" not found: check the claim of spec.model.uri: it must '
            "be there and bound, to a volume that can be mounted on every node that may run a pod",
        ),
    ),
    (
        "a volume of another zone",
        {
            "phase": "Pending",
            "conditions": unscheduled("0/2 nodes are available: 2 node(s) had volume node affinity conflict."),
        },
        Problem(
            "Unschedulable",
            "no node takes the pod: 0/2 nodes are available: 2 node(s) had volume node affinity conflict: check the claim "
            "of spec.model.uri: it must be there and bound, to a volume that can be mounted on every node that may run a pod",
        ),
    ),
    (
        "wrong checksum, just ended",
        {"containerStatuses": [container(state=ended(CHECKSUM))]},
        Problem(
            "ChecksumMismatch",
            "s3://models/fraud/1/ has the SHA-256 aa, and bb was asked for: "
            "correct spec.model.sha256, or upload the model that it belongs to",
            crashed=True,
        ),
    ),
    (
        "store down, waiting for another try",
        {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 10s", lastState=ended(DOWN))]},
        Problem(
            "StorageUnreachable",
            "http://s3.storage.svc:8333 cannot be reached for listing: Connection refused: check that the store is up "
            "and that spec.model.uri and spec.model.s3.endpoint lead to it; the pods try again by themselves",
            crashed=True,
        ),
    ),
    (
        "store down, trying again",
        {"containerStatuses": [container(state=RUNNING, lastState=ended("noise\n" + DOWN + "\n"))]},
        Problem(
            "StorageUnreachable",
            "http://s3.storage.svc:8333 cannot be reached for listing: Connection refused: check that the store is up "
            "and that spec.model.uri and spec.model.s3.endpoint lead to it; the pods try again by themselves",
            crashed=True,
        ),
    ),
    (
        "a reason of tomorrow's runtime",
        {"containerStatuses": [container(state=ended(failed_load("QuotaExceeded", "Too big.")))]},
        Problem("QuotaExceeded", "Too big: read the log of the pod", crashed=True),
    ),
    (
        "a reason that is no word",
        {"containerStatuses": [container(state=ended(failed_load("no word!", "Too big.")))]},
        Problem("LoadFailed", "Too big: read the log of the pod", crashed=True),
    ),
    (
        "out of memory",
        {"containerStatuses": [waiting("CrashLoopBackOff", lastState=ended(reason="OOMKilled", code=137))]},
        Problem(
            "OOMKilled",
            "container runtime needs more memory than its limit of 2Gi: raise spec.runtime.resources.limits.memory",
            crashed=True,
        ),
    ),
    (
        "a side car out of memory, without a limit",
        {"containerStatuses": [container("tap", state=ended(reason="OOMKilled", code=137))]},
        Problem(
            "OOMKilled",
            "container tap needs more memory than its limit: raise spec.runtime.resources.limits.memory",
            crashed=True,
        ),
    ),
    (
        "crash",
        {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 20s", lastState=ended("", code=139))]},
        Problem(
            "CrashLoopBackOff",
            "container runtime ended with exit code 139: "
            "see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa --previous`",
            crashed=True,
        ),
    ),
    (
        "crash with last words",
        {"containerStatuses": [container(state=ended("Traceback:\n  boom"))]},
        Problem(
            "CrashLoopBackOff",
            "container runtime ended with exit code 1 (Traceback: boom): "
            "see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa --previous`",
            crashed=True,
        ),
    ),
    (
        "a side car's JSON is no load failure",
        {"initContainerStatuses": [container("fetch", state=ended('{"reason": "X", "message": "y"}'))]},
        Problem(
            "CrashLoopBackOff",
            'container fetch ended with exit code 1 ({"reason": "X", "message": "y"}): '
            "see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa --previous`",
            crashed=True,
        ),
    ),
    (
        "not ready any more; what an earlier run died of is not why",
        {
            "containerStatuses": [container(state=RUNNING, lastState=ended(DOWN))],
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:05:00Z"}],
        },
        Problem(
            "NotReady",
            "container runtime runs but is not ready any more: "
            "see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa`",
        ),
    ),
    (
        "loading",
        {
            "containerStatuses": [container(state=RUNNING)],
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
        Problem(
            "Loading",
            "the model is being loaded: see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa`",
        ),
    ),
    (
        "a side car starts",
        {"containerStatuses": [container(ready=True), container("tap", state=RUNNING)]},
        Problem("Loading", "container tap starts: see `kubectl logs -n payments -l haldane.dev/revision=aaaaaaaaaa`"),
    ),
    (
        "evicted",
        {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
        Problem("Evicted", "a pod was lost: The node was low on resource: memory."),
    ),
    ("failed without a word", {"phase": "Failed"}, Problem("PodFailed", "a pod was lost: it ended for good")),
]


@pytest.mark.parametrize(("status", "problem"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_names_the_cause_and_what_to_do(pod: MakePod, status: Manifest, problem: Problem) -> None:
    assert diagnose([pod(**status)]) == problem


def test_both_faces_of_a_failing_pull_read_the_same(pod: MakePod) -> None:
    """The kubelet alternates between them: two texts would be an Event at every turn."""
    again = f'Back-off pulling image "docker.io/haldane/runtime:x": ErrImagePull: {PULL}'
    one = diagnose([pod(containerStatuses=[waiting("ErrImagePull", PULL)])])
    assert one == diagnose([pod(containerStatuses=[waiting("ImagePullBackOff", again)])])


def test_a_failing_pull_without_a_cause(pod: MakePod) -> None:
    problem = diagnose([pod(containerStatuses=[waiting("ImagePullBackOff", 'Back-off pulling image "x"')])])
    assert problem is not None
    assert problem.message.startswith("image haldane/runtime:x cannot be pulled: correct spec.runtime.image")


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Pending"},
        {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
        {"containerStatuses": [waiting("ContainerCreating")]},
        {"containerStatuses": [waiting("PodInitializing")]},
        {"containerStatuses": [container(ready=True, state=RUNNING, lastState=ended(DOWN))]},
        {"phase": "Succeeded", "containerStatuses": [container(state=ended(reason="Completed", code=0))]},
        {"initContainerStatuses": [container("fetch", ready=True, state=ended(reason="Completed", code=0))]},
    ],
)
def test_time_is_no_problem(pod: MakePod, status: Manifest) -> None:
    assert diagnose([pod(**status)]) is None


def test_a_pod_that_is_being_deleted_does_not_count(pod: MakePod) -> None:
    leaving = pod(containerStatuses=[container(state=ended(CHECKSUM))])
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose([leaving]) is None


def test_refused_pods_are_named_by_the_deployment(deployment: Callable[..., Manifest]) -> None:
    message = 'pods "fraud-aaaaaaaaaa-5d4f8-x2x9z" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=4.'
    failing = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    fine = {"type": "Available", "status": "True"}
    assert diagnose([], deployment(conditions=[fine, failing])) == Problem(
        "FailedCreate",
        "the cluster refuses to create its pods: forbidden: exceeded quota: q, requested: cpu=1, used: cpu=4: "
        "raise the quota or correct what the message names",
    )
    assert diagnose([], deployment(conditions=[fine])) is None


def test_the_worst_of_several_pods_is_told(pod: MakePod) -> None:
    loading = pod(name="pod-1", containerStatuses=[container(state=RUNNING)])
    homeless = pod(name="pod-2", conditions=unscheduled(NO_GPU))
    crashing = pod(name="pod-3", containerStatuses=[container(state=ended())])
    broken = pod(name="pod-4", containerStatuses=[container(state=ended(CHECKSUM))])
    told = []
    for pods in ([loading], [loading, crashing], [loading, crashing, homeless], [loading, crashing, homeless, broken]):
        found = diagnose(pods)
        told.append(found.reason if found else None)
    assert told == ["Loading", "CrashLoopBackOff", "Unschedulable", "ChecksumMismatch"]


def test_pages_of_text_are_cut(pod: MakePod) -> None:
    problem = diagnose([pod(containerStatuses=[waiting("CreateContainerError", "x \n" * 5000)])])
    assert problem is not None
    assert len(problem.message) == 700
    assert "\n" not in problem.message


def test_a_missing_secret_is_named_with_the_field_that_names_it(pod: Callable[..., dict[str, Any]]) -> None:
    waits = pod(containerStatuses=[waiting("CreateContainerConfigError", 'secret "redis" not found')])
    source = {"secretKeyRef": {"name": "redis", "key": "url"}}
    waits["spec"]["containers"][0]["env"] = [{"name": "A"}, {"name": "HALDANE_RESPONSE_CACHE", "valueFrom": source}]
    problem = diagnose([waits])
    assert problem is not None
    assert "create it, or correct spec.runtime.responseCache.secretRef" in problem.message


def test_there_is_advice_for_every_reason_of_the_runtime() -> None:
    assert LOAD_ADVICE.keys() == {
        "InvalidConfiguration", "ModelNotFound", "AccessDenied", "StorageUnreachable", "ChecksumMismatch",
        "InvalidModel", "DeviceUnavailable", "GoldenMismatch", "PrecisionLoss", "LoadFailed",
    }  # fmt: skip
