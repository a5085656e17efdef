"""Argo Rollouts, as the bench sees it: a Rollout in place of a Deployment, two Services, an Ingress and an AnalysisTemplate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bench.rivals.app import (
    DEADLINE_SECONDS,
    ERRORS,
    HOLD_SECONDS,
    NAME,
    REPLICAS,
    SLOW_MS,
    WEIGHTS,
    Manifest,
    Version,
    template,
)
from bench.rivals.cases import Case
from bench.rivals.controller import Home, Kind
from bench.rivals.flagger import PROMETHEUS, ingress
from bench.rivals.observed import State
from bench.rivals.queries import CHECK_SECONDS, FAILURES, error_rate, p99
from e2e.harness.install import RUNTIME_IMAGE

_HASH: Final = "{{args.hash}}"


class ArgoRollouts:
    """The Rollout both gets the change and tells how it goes."""

    name = "argo"
    title = "Argo Rollouts 1.10.1"
    home = Home("argo-rollouts", "app.kubernetes.io/name=argo-rollouts")
    changed = watched = Kind("argoproj.io", "v1alpha1", "rollouts")

    def objects(self, namespace: str, case: Case) -> Sequence[Manifest]:
        rollout = {
            "replicas": REPLICAS,
            "progressDeadlineSeconds": DEADLINE_SECONDS,
            "progressDeadlineAbort": True,
            "selector": {"matchLabels": {"app": NAME}},
            "template": template(namespace, case.old, RUNTIME_IMAGE),
            "strategy": {"canary": _canary()},
        }
        return [
            _service(namespace, NAME),
            _service(namespace, f"{NAME}-canary"),
            ingress(namespace),
            _object("AnalysisTemplate", namespace, "checks", _checks(namespace)),
            _object("Rollout", namespace, NAME, rollout),
        ]

    def change(self, namespace: str, case: Case, version: Version) -> Manifest:
        return {"spec": {"template": template(namespace, version, RUNTIME_IMAGE)}}

    def serves(self, body: Manifest) -> bool:
        status = body.get("status", {})
        return bool(status.get("phase") == "Healthy" and status.get("stableRS"))

    def state(self, body: Manifest, before: Manifest) -> State:
        status = body.get("status", {})
        weight = int(status.get("canary", {}).get("weights", {}).get("canary", {}).get("weight") or 0)
        message = str(status.get("message") or "")
        generation = body["metadata"]["generation"]
        if generation == before["metadata"]["generation"] or str(status.get("observedGeneration")) != str(generation):
            return State(True, "", weight, message)
        if status.get("abort"):
            return State(False, "rolled back", weight, message)
        if status.get("phase") == "Healthy" and status.get("stableRS") == status.get("currentPodHash"):
            moved = status.get("stableRS") != before.get("status", {}).get("stableRS")
            return State(False, "promoted" if moved else "set back", weight, message)
        return State(True, "", weight, message)


def _canary() -> Manifest:
    steps: list[Manifest] = []
    for weight in WEIGHTS:
        steps += [{"setWeight": weight}, {"pause": {"duration": f"{HOLD_SECONDS}s"}}]
    return {
        "stableService": NAME,
        "canaryService": f"{NAME}-canary",
        "trafficRouting": {"nginx": {"stableIngress": NAME}},
        "analysis": {
            "templates": [{"templateName": "checks"}],
            # After the first setWeight.
            "startingStep": 1,
            "args": [{"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}}],
        },
        "steps": steps,
    }


def _checks(namespace: str) -> Manifest:
    pods = f"{NAME}-{_HASH}-[a-z0-9]+"
    checks = (("errors", error_rate(namespace, pods), ERRORS), ("p99", p99(namespace, pods), SLOW_MS))
    metrics = [
        {
            "name": name,
            "initialDelay": f"{CHECK_SECONDS}s",
            "interval": f"{CHECK_SECONDS}s",
            "successCondition": f"result[0] <= {limit}",
            "failureLimit": FAILURES - 1,
            "provider": {"prometheus": {"address": PROMETHEUS, "query": query}},
        }
        for name, query, limit in checks
    ]
    return {"args": [{"name": "hash"}], "metrics": metrics}


def _service(namespace: str, name: str) -> Manifest:
    spec: dict[str, Any] = {
        "selector": {"app": NAME},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _object(kind: str, namespace: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
