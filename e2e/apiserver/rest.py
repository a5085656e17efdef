"""What tests ask of the API server, as plain requests: the exact answers of the server, not a client's reading of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

Body = dict[str, Any]

KINDS = {
    "ConfigMap": "/api/v1/configmaps",
    "Secret": "/api/v1/secrets",
    "Service": "/api/v1/services",
    "ServiceAccount": "/api/v1/serviceaccounts",
    "Pod": "/api/v1/pods",
    "Event": "/api/v1/events",
    "Deployment": "/apis/apps/v1/deployments",
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "ControllerRevision": "/apis/apps/v1/controllerrevisions",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/poddisruptionbudgets",
    "Ingress": "/apis/networking.k8s.io/v1/ingresses",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Lease": "/apis/coordination.k8s.io/v1/leases",
    "ModelDeployment": "/apis/haldane.dev/v1alpha1/modeldeployments",
}
"""Where each kind that Haldane reads or writes is served."""

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

TRIES = 10
"""Times that a request is sent at most which the server has no time for."""


def path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """The path of a namespace's objects of a kind, of one of them, or of a subresource of it."""
    group, _, plural = KINDS[kind].rpartition("/")
    return "/".join(part for part in (f"{group}/namespaces/{namespace}/{plural}", name, subresource) if part)


@dataclass(frozen=True)
class Answer:
    """One answer of the API server."""

    status: int
    body: Body
    warnings: tuple[str, ...]
    """What kubectl would print as `Warning: ...`."""

    @property
    def refusals(self) -> set[tuple[str, str]]:
        """Why the object was refused: each field with its sentence; one without a field when all of it was."""
        causes = self.body.get("details", {}).get("causes")
        if causes is None:
            return {("", self.body["message"])} if self.status >= httpx.codes.BAD_REQUEST else set()
        return {(cause.get("field", ""), cause["message"]) for cause in causes}


class Rest:
    """Requests to the API server by kind, namespace and name."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(
        self, method: str, where: str, body: Body | None = None, /, media: str = "", accept: str = "", **query: str
    ) -> Answer:
        """Any request, for what the methods below do not do. `media` is what is sent, `accept` what is wanted."""
        headers = {"Content-Type": media} if media else {}
        headers |= {"Accept": accept} if accept else {}
        for _ in range(TRIES):
            answer = self._client.request(method, where, json=body, headers=headers, params=query)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            # While a CRD that was changed is taken up; any client of Kubernetes waits as it is told to, and asks again.
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        # A path that is not served (yet) is answered in plain text.
        is_json = answer.headers["Content-Type"].startswith("application/json")
        read = answer.json() if is_json else {"message": answer.text}
        # Each is `299 - "text"`, the text quoted as in JSON.
        warnings = tuple(json.loads(text.split(" ", 2)[2]) for text in answer.headers.get_list("warning"))
        return Answer(answer.status_code, read, warnings)

    def create(self, namespace: str, body: Body, **query: str) -> Answer:
        return self.send("POST", path(body["kind"], namespace), body, **query)

    def get(self, kind: str, namespace: str, name: str) -> Answer:
        return self.send("GET", path(kind, namespace, name))

    def items(self, kind: str, namespace: str, selector: str = "") -> list[Body]:
        """The objects of a kind, by label selector."""
        query = {"labelSelector": selector} if selector else {}
        items: list[Body] = self.send("GET", path(kind, namespace), **query).body["items"]
        return items

    def version(self, kind: str, namespace: str) -> str:
        """The resourceVersion of now: all kinds count by one clock."""
        return str(self.send("GET", path(kind, namespace)).body["metadata"]["resourceVersion"])

    def history(self, kind: str, namespace: str, since: str) -> list[tuple[str, Body]]:
        """Every version of every object of a kind that was written after `since`: what became of it, and the object.

        `resourceVersion` orders them, also between kinds. It takes a second, for the API server says only by ending that
        it has told all.
        """
        query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "1"}
        answer = self._client.get(path(kind, namespace), params=query)
        events = [json.loads(line) for line in answer.text.splitlines()]
        if lost := [event["object"] for event in events if event["type"] == "ERROR"]:
            # The watch cache keeps 75 s for sure, etcd five minutes: `recording` reads it in time.
            raise AssertionError(f"the history since {since} is not there any more: {lost[0].get('message')}")
        return [(event["type"], event["object"]) for event in events]

    def replace(self, namespace: str, body: Body, subresource: str = "", **query: str) -> Answer:
        where = path(body["kind"], namespace, body["metadata"]["name"], subresource)
        return self.send("PUT", where, body, **query)

    def merge(self, kind: str, namespace: str, name: str, change: Body, subresource: str = "", **query: str) -> Answer:
        """A JSON merge patch, of the object or of a subresource such as `status`."""
        return self.send("PATCH", path(kind, namespace, name, subresource), change, media=MERGE, **query)

    def apply(self, namespace: str, body: Body, manager: str) -> Answer:
        """Server-side apply as a field manager, as a GitOps tool does it: forced."""
        where = path(body["kind"], namespace, body["metadata"]["name"])
        return self.send("PATCH", where, body, media=APPLY, fieldManager=manager, force="true")

    def delete(self, kind: str, namespace: str, name: str) -> Answer:
        return self.send("DELETE", path(kind, namespace, name))

    def new_namespace(self) -> str:
        """Make a namespace with a name of its own."""
        name = f"test-{uuid4().hex[:10]}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        answer = self.send("POST", "/api/v1/namespaces", body)
        assert answer.status == httpx.codes.CREATED, answer
        return name

    def clear(self, namespace: str) -> None:
        """Delete what a test left: nothing else would, for a namespace's own end needs a controller."""
        for kind in reversed(KINDS):
            self.send("DELETE", path(kind, namespace), gracePeriodSeconds="0")
