"""Does by hand what an API server without controllers and kubelets leaves undone: pods, endpoints, garbage collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .prometheus import Traffic
from .runtime import RuntimeStandIn

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

Body = dict[str, Any]

OWNED = (
    "Deployment",
    "ControllerRevision",
    "ServiceAccount",
    "Service",
    "Ingress",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
)
OURS = "app.kubernetes.io/managed-by=haldane"
RATE = 200.0
"""Requests a second that clients send to the model."""


@dataclass
class Behaviour:
    """How the pods of one version behave."""

    waiting: tuple[str, str] | None = None
    """Reason and message of a container that does not come up."""
    terminated: str | None = None
    """Its termination message, when it ended by itself."""
    error_rate: float = 0.0
    runtime: RuntimeStandIn | None = None
    """Who answers in their place; without it they have no address."""


@dataclass
class Hands:
    """The rest of the control plane, for one namespace; `work()` brings it up to date once."""

    rest: Rest
    namespace: str
    prometheus: Traffic
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By version; a version that is not named here is fine."""
    weights: list[int] = field(default_factory=list)
    """Each weight that the canary route carried, in order."""

    def work(self) -> None:
        """Deployments get their pods, Services their endpoints, orphans go, and clients send requests by the weight."""
        self._collect()
        for deployment in self.rest.items("Deployment", self.namespace):
            self._deploy(deployment)
        for service in self.rest.items("Service", self.namespace, OURS):
            self._endpoints(service)
        self._send_requests()

    def pods(self, selector: str = "") -> list[Body]:
        """The pods that match."""
        return self.rest.items("Pod", self.namespace, selector)

    def _collect(self) -> None:
        alive = {body["metadata"]["uid"] for body in self.rest.items("ModelDeployment", self.namespace)}
        for kind in OWNED:
            for body in self.rest.items(kind, self.namespace):
                if any(owner["uid"] not in alive for owner in body["metadata"].get("ownerReferences", [])):
                    self.rest.delete(kind, self.namespace, body["metadata"]["name"])
        deployments = {body["metadata"]["name"] for body in self.rest.items("Deployment", self.namespace)}
        for pod in self.pods():
            if pod["metadata"]["name"].rpartition("-")[0] not in deployments:
                self.rest.delete("Pod", self.namespace, pod["metadata"]["name"])

    def _deploy(self, deployment: Body) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        template = spec["template"]
        environment = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
        behaviour = self.behaviours.get(environment["HALDANE_MODEL_VERSION"] or "", Behaviour())
        pods = {pod["metadata"]["name"]: pod for pod in self.pods() if pod["metadata"]["name"].startswith(f"{name}-")}
        wanted = [f"{name}-{number}" for number in range(spec["replicas"])]
        for gone in pods.keys() - set(wanted):
            self.rest.delete("Pod", self.namespace, gone)
        for pod in wanted:
            if pod not in pods:
                body = {"apiVersion": "v1", "kind": "Pod", **template}
                body["metadata"] = {**template["metadata"], "name": pod}
                if behaviour.runtime:
                    body["spec"] = _with_port(template["spec"], behaviour.runtime.port)
                made = self.rest.create(self.namespace, body)
                assert made.status == 201, made
                pods[pod] = made.body
            status = _pod_status(behaviour)
            if any(pods[pod].get("status", {}).get(key) != value for key, value in status.items()):
                self.rest.merge("Pod", self.namespace, pod, {"status": status}, "status")
        ready = 0 if behaviour.waiting else len(wanted)
        status = {
            "replicas": len(wanted),
            "updatedReplicas": len(wanted),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": deployment["metadata"]["generation"],
        }
        if {key: deployment["status"].get(key, 0) for key in status} != status:
            self.rest.merge("Deployment", self.namespace, name, {"status": status}, "status")

    def _endpoints(self, service: Body) -> None:
        name, selector = service["metadata"]["name"], service["spec"]["selector"]
        pods = self.pods(",".join(f"{key}={value}" for key, value in selector.items()))
        endpoints = [
            {
                "addresses": [f"10.0.0.{number + 1}"],
                "conditions": {"ready": _is_ready(pod)},
                "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": pod["metadata"]["name"]},
            }
            for number, pod in enumerate(pods)
        ]
        known = self.rest.get("EndpointSlice", self.namespace, f"{name}-slice")
        if known.status == 404:
            labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": name}
            body = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"{name}-slice", "labels": labels},
                "addressType": "IPv4",
                "endpoints": endpoints,
            }
            assert self.rest.create(self.namespace, body).status == 201
        elif (known.body.get("endpoints") or []) != endpoints:
            self.rest.merge("EndpointSlice", self.namespace, f"{name}-slice", {"endpoints": endpoints})

    def _send_requests(self) -> None:
        routes = [r for r in self.rest.items("Ingress", self.namespace) if r["metadata"]["name"].endswith("-candidate")]
        for route in routes:
            weight = int(route["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"])
            if not self.weights or self.weights[-1] != weight:
                self.weights.append(weight)
            name = route["metadata"]["name"]
            shares = {name: weight / 100, name.removesuffix("-candidate"): 1 - weight / 100}
            self.prometheus.rates = {}
            for service, share in shares.items():
                selector = self.rest.get("Service", self.namespace, service).body.get("spec", {}).get("selector", {})
                if revision := selector.get("haldane.dev/revision"):
                    self._count(revision, share * RATE)

    def _count(self, revision: str, rate: float) -> None:
        versions = {
            body["metadata"]["labels"]["haldane.dev/revision"]: body["data"]["version"]
            for body in self.rest.items("ControllerRevision", self.namespace)
        }
        wrong = self.behaviours.get(versions.get(revision, ""), Behaviour()).error_rate
        codes = self.prometheus.rates.setdefault(revision, {"200": 0.0, "500": 0.0})
        codes["200"] += rate * (1 - wrong)
        codes["500"] += rate * wrong


def _is_ready(pod: Body) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _with_port(spec: Body, port: int) -> Body:
    """A pod's spec with another port for its runtime's HTTP."""
    runtime, *others = spec["containers"]
    ports = [{**one, "containerPort": port} if one["name"] == "http" else one for one in runtime["ports"]]
    return {**spec, "containers": [{**runtime, "ports": ports}, *others]}


def _pod_status(behaviour: Behaviour) -> Body:
    if behaviour.waiting is None:
        ready: Body = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        if behaviour.runtime:
            ready |= {"podIP": behaviour.runtime.address, "podIPs": [{"ip": behaviour.runtime.address}]}
        return ready
    reason, message = behaviour.waiting
    container: Body = {
        "name": "runtime",
        "image": "",
        "imageID": "",
        "ready": False,
        "restartCount": 1,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": {},
    }
    if behaviour.terminated:
        ended = {"exitCode": 1, "reason": "Error", "message": behaviour.terminated}
        container["lastState"] = {"terminated": {**ended, "startedAt": None, "finishedAt": None}}
    return {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [container],
    }
