"""Flagger, as the bench sees it: a Deployment, an Ingress and a Canary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bench.rivals.app import CLASS, DEADLINE_SECONDS, ERRORS, NAME, REPLICAS, SLOW_MS, Manifest, Version, host, template
from bench.rivals.cases import Case
from bench.rivals.controller import Home, Kind
from bench.rivals.observed import State
from bench.rivals.queries import CHECK_SECONDS, FAILURES, WINDOW, error_rate, p99
from e2e.harness.install import RUNTIME_IMAGE

# It has no hold: one weight is one interval. Three weights next to each other are 30 s at about one of them.
STEPS: Final = (5, 6, 7, 25, 26, 27, 48, 49, 50)
PROMETHEUS: Final = "http://prometheus.monitoring.svc:9090"
_CANARY_PODS: Final = f"{NAME}-[a-z0-9]+-[a-z0-9]+"
_ENDS: Final = {"Succeeded": "promoted", "Failed": "rolled back"}


class Flagger:
    """The Deployment gets the change, the Canary tells how it goes."""

    name = "flagger"
    title = "Flagger 1.36.1"
    home = Home("flagger-system", "app=flagger")
    changed = Kind("apps", "v1", "deployments")
    watched = Kind("flagger.app", "v1beta1", "canaries")

    def objects(self, namespace: str, case: Case) -> Sequence[Manifest]:
        selector = {"matchLabels": {"app": NAME}}
        deployment = {"replicas": REPLICAS, "selector": selector, "template": _template(namespace, case.old)}
        return [
            _object("apps/v1", "Deployment", namespace, NAME, deployment),
            ingress(namespace),
            _metric(namespace, "errors", error_rate(namespace, _CANARY_PODS)),
            _metric(namespace, "p99", p99(namespace, _CANARY_PODS)),
            _object("flagger.app/v1beta1", "Canary", namespace, NAME, _canary()),
        ]

    def change(self, namespace: str, case: Case, version: Version) -> Manifest:
        return {"spec": {"template": _template(namespace, version)}}

    def serves(self, body: Manifest) -> bool:
        return bool(body.get("status", {}).get("phase") in ("Initialized", "Succeeded"))

    def state(self, body: Manifest, before: Manifest) -> State:
        status, old = body.get("status", {}), before.get("status", {})
        weight, phase = int(status.get("canaryWeight") or 0), status.get("phase")
        if phase in _ENDS and status.get("lastAppliedSpec") != old.get("lastAppliedSpec"):
            return State(False, _ENDS[phase], weight, _message(status))
        return State(True, "", weight, _message(status))


def ingress(namespace: str) -> Manifest:
    """The route to the app, which both other controllers split by an Ingress of their own beside it."""
    backend = {"service": {"name": NAME, "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"ingressClassName": CLASS, "rules": [{"host": host(namespace), "http": {"paths": paths}}]}
    return _object("networking.k8s.io/v1", "Ingress", namespace, NAME, spec)


def _template(namespace: str, version: Version) -> Manifest:
    return template(namespace, version, RUNTIME_IMAGE)


def _canary() -> Manifest:
    limits = (("errors", ERRORS), ("p99", SLOW_MS))
    metrics = [
        {"name": name, "templateRef": {"name": name}, "thresholdRange": {"max": limit}, "interval": WINDOW}
        for name, limit in limits
    ]
    return {
        "provider": "nginx",
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "ingressRef": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": NAME},
        "progressDeadlineSeconds": DEADLINE_SECONDS,
        "service": {"port": 80, "targetPort": "http"},
        "analysis": {
            "interval": f"{CHECK_SECONDS}s",
            "threshold": FAILURES,
            "stepWeights": list(STEPS),
            "metrics": metrics,
        },
    }


def _metric(namespace: str, name: str, query: str) -> Manifest:
    provider = {"type": "prometheus", "address": PROMETHEUS}
    return _object("flagger.app/v1beta1", "MetricTemplate", namespace, name, {"provider": provider, "query": query})


def _message(status: dict[str, Any]) -> str:
    return str(
        next((each.get("message", "") for each in status.get("conditions") or [] if each["type"] == "Promoted"), "")
    )


def _object(api: str, kind: str, namespace: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
