"""Pods that are not ready -> the one Problem to tell a person about, as a clause that names the cause and what to do.

The texts hold no pod names, counters or back-off times: the same cause must give the same text on every look, because a
text that changes is a new Event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any

from haldane.plan.environment import CACHE_VARIABLE
from haldane.plan.names import REVISION_LABEL
from haldane.plan.observed import Problem
from haldane.plan.pod_template import CONTAINER

Manifest = dict[str, Any]


class Severity(IntEnum):
    """What to tell first when pods have several problems: the one that nothing but a person ends."""

    LOAD = 0
    IMAGE = 1
    CONFIGURATION = 2
    CREATION = 3
    SCHEDULING = 4
    CRASH = 5
    READINESS = 6
    LOST = 7
    LOADING = 8


LOAD_ADVICE = {
    "InvalidConfiguration": "correct spec.model and spec.runtime",
    "ModelNotFound": "correct spec.model.uri, or upload the model there",
    "AccessDenied": "check the keys in the Secret of spec.model.credentialsSecret, and that they may read spec.model.uri",
    "StorageUnreachable": "check that the store is up and that spec.model.uri and spec.model.s3.endpoint lead to it; "
    "the pods try again by themselves",
    "ChecksumMismatch": "correct spec.model.sha256, or upload the model that it belongs to",
    "InvalidModel": "export the model to ONNX again and upload it",
    "DeviceUnavailable": "check the GPU, its driver and its device plugin on the node, or set spec.runtime.device: cpu",
    "GoldenMismatch": "export the model again, or correct its golden requests (spec.model.golden, golden.json)",
    "PrecisionLoss": "leave out spec.runtime.session.precision, or raise its precisionTolerance",
    "LoadFailed": "read the log of the pod",
}
"""What to do about each reason that the runtime writes to its termination log."""

_IMAGE_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIGURATION_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found')
_VOLUME = re.compile(r"PersistentVolumeClaim|volume node affinity|volume limit", re.IGNORECASE)
PASSING = frozenset({"Loading", "NotReady"})
"""Reasons that every pod has for a moment: good to know while waiting, no reason to call anybody."""

_REASON = re.compile(r"^[A-Za-z][A-Za-z0-9]{0,62}$")
_LENGTH = 700

_Finding = tuple[Severity, Problem]


def diagnose(pods: Iterable[Manifest], deployment: Manifest | None = None) -> Problem | None:
    """The worst problem of a revision's pods and of its Deployment; None when nothing is to be seen yet.

    Call it for a revision that lacks ready pods: what pods that went away long ago died of is no problem then.
    """
    findings = [finding for pod in pods for finding in _pod(pod)]
    if deployment is not None:
        findings.extend(_creation(deployment))
    return min(findings, key=lambda finding: finding[0])[1] if findings else None


def _pod(pod: Manifest) -> Iterator[_Finding]:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return
    if status.get("phase") == "Failed":
        yield _lost(status)
        return
    yield from _scheduling(status)
    for state in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if not state.get("ready"):
            yield from _container(pod, state)


def _lost(status: Manifest) -> _Finding:
    """A pod that the node gave up: evicted, refused by a device plugin. Its Deployment makes another."""
    reason = status.get("reason") or "PodFailed"
    told = status.get("message") or "it ended for good"
    return Severity.LOST, Problem(reason, _clause(f"a pod was lost: {told}"), crashed=False)


def _scheduling(status: Manifest) -> Iterator[_Finding]:
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            told = condition.get("message", "").partition(" preemption:")[0].partition(" no new claims")[0].rstrip(". ")
            reason = condition.get("reason") or "Unschedulable"
            yield Severity.SCHEDULING, Problem(reason, _clause(f"no node takes the pod: {told}: {_placing(told)}"))


def _placing(told: str) -> str:
    if "nvidia.com/" in told:
        return "free a GPU or add a node with one"
    if _VOLUME.search(told):
        return (
            "check the claim of spec.model.uri: it must be there and bound, to a volume that can be mounted on every node "
            "that may run a pod"
        )
    return "add nodes, lower spec.runtime.resources, or correct nodeSelector and tolerations"


def _container(pod: Manifest, state: Manifest) -> Iterator[_Finding]:
    now = state.get("state", {})
    ended = now.get("terminated") or state.get("lastState", {}).get("terminated")
    running = now.get("running")
    if running is not None and _was_ready(pod, running):
        # It got through its start: what an earlier run of it died of is not why it is not ready.
        told = f"container {state['name']} runs but is not ready any more: {_log_command(pod)}"
        yield Severity.READINESS, Problem("NotReady", told)
    elif ended:
        yield cause_of_end(pod, state, ended)
    elif running is not None:
        told = "the model is being loaded" if state["name"] == CONTAINER else f"container {state['name']} starts"
        yield Severity.LOADING, Problem("Loading", f"{told}: {_log_command(pod)}")
    waiting = now.get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in _IMAGE_REASONS:
        yield Severity.IMAGE, _image(state, reason, waiting.get("message", ""))
    elif reason in _CONFIGURATION_REASONS:
        yield Severity.CONFIGURATION, _configuration(pod, reason, waiting.get("message", ""))


def _was_ready(pod: Manifest, running: Manifest) -> bool:
    """Whether the pod was ready since its container runs: then it has lost its readiness after the container's start.

    RFC 3339 times of one form and zone compare as text.
    """
    since = running.get("startedAt") or ""
    conditions = pod.get("status", {}).get("conditions", [])
    lost = next((c.get("lastTransitionTime") or "" for c in conditions if c.get("type") == "Ready"), "")
    return bool(lost > since)


def cause_of_end(pod: Manifest, state: Manifest, ended: Manifest) -> _Finding:
    """Why a container of a pod ended by itself; `state` is its status, `ended` the end, as the kubelet tells them."""
    load = _load_failure(ended.get("message", "")) if state["name"] == CONTAINER else None
    if load:
        reason, told = load
        advice = LOAD_ADVICE.get(reason, LOAD_ADVICE["LoadFailed"])
        return Severity.LOAD, Problem(reason, _clause(f"{told.rstrip('. ')}: {advice}"), crashed=True)
    name = state["name"]
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        told = f"container {name} needs more memory than its limit{limit}: raise spec.runtime.resources.limits.memory"
        return Severity.CRASH, Problem("OOMKilled", told, crashed=True)
    last_words = " ".join(ended.get("message", "").split())[:300]
    told = f"container {name} ended with exit code {ended.get('exitCode')}"
    told += f" ({last_words}): " if last_words else ": "
    return Severity.CRASH, Problem("CrashLoopBackOff", told + _log_command(pod, previous=True), crashed=True)


def _load_failure(text: str) -> tuple[str, str] | None:
    """Reason and message of the runtime's JSON object, which is the last line of its termination log."""
    try:
        told = json.loads(text.strip().rpartition("\n")[2])
        reason, message = told["reason"], told["message"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(reason, str) or not isinstance(message, str):
        return None
    # It becomes the reason of an Event, which takes one short word.
    return (reason if _REASON.match(reason) else "LoadFailed"), message


def _image(state: Manifest, reason: str, told: str) -> Problem:
    # The kubelet alternates between the two reasons; the second one's message wraps the first one's.
    cause = told.rpartition("desc = ")[2] if "desc = " in told else re.sub(r'^Back-off pulling image "[^"]*"', "", told)
    cause = re.sub(r"^[:\s]*(ErrImagePull:)?\s*", "", cause).rstrip(". ")
    advice = "correct spec.runtime.image, or let the pods into its registry by podTemplate.spec.imagePullSecrets"
    shown = f"image {state.get('image', '')} cannot be pulled: "
    reason = "ImagePullBackOff" if reason == "ErrImagePull" else reason
    return Problem(reason, _clause(shown + (f"{cause}: " if cause else "") + advice))


def _configuration(pod: Manifest, reason: str, told: str) -> Problem:
    missing = _MISSING.search(told)
    if missing:
        kind = {"secret": "Secret", "configmap": "ConfigMap"}[missing[1]]
        where = f"{kind} {missing[2]} does not exist in namespace {pod['metadata'].get('namespace', '')}"
        named = _names_secret(pod, missing[2]) if kind == "Secret" else "spec.runtime"
        return Problem(reason, f"{where}: create it, or correct {named}; the pods start by themselves then")
    return Problem(reason, _clause(f"the container cannot be created: {told.rstrip('. ')}: correct spec.runtime"))


def _names_secret(pod: Manifest, secret: str) -> str:
    """The field of spec that names a Secret of the pod."""
    for container in pod.get("spec", {}).get("containers", []):
        for variable in container.get("env", []):
            named = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
            if variable["name"] == CACHE_VARIABLE and named == secret:
                return "spec.runtime.responseCache.secretRef"
    return "spec.model.credentialsSecret"


def _creation(deployment: Manifest) -> Iterator[_Finding]:
    """Pods that the API server refuses to create: a quota, an admission policy, a missing ServiceAccount."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            told = re.sub(r'^pods "[^"]*" is ', "", condition.get("message", "")).rstrip(". ")
            advice = "raise the quota or correct what the message names"
            reason = condition.get("reason") or "FailedCreate"
            yield (
                Severity.CREATION,
                Problem(reason, _clause(f"the cluster refuses to create its pods: {told}: {advice}")),
            )


def _memory_limit(pod: Manifest, container: str) -> str:
    for spec in pod.get("spec", {}).get("containers", []):
        limit = spec.get("resources", {}).get("limits", {}).get("memory")
        if spec.get("name") == container and limit:
            return f" of {limit}"
    return ""


def _log_command(pod: Manifest, previous: bool = False) -> str:
    metadata = pod["metadata"]
    revision = metadata.get("labels", {}).get(REVISION_LABEL, "")
    flag = " --previous" if previous else ""
    return f"see `kubectl logs -n {metadata.get('namespace', '')} -l {REVISION_LABEL}={revision}{flag}`"


def _clause(text: str) -> str:
    """One line, bounded: messages from nodes can be pages long."""
    line = " ".join(text.split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"
