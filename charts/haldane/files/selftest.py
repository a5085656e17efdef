"""`helm test`: asks the cluster, as the operator's own ServiceAccount, whether the operator has what it needs.

Standard library only, and run by `python3 -c` in the operator's image. Every line is a sentence; the exit status is 1 when one of them is a failure.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

ACCOUNT = Path(os.environ.get("ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
DEADLINE = 10.0
CLOSED = (401, 403, 407)


class Kubernetes:
    """The Kubernetes API over one connection, as the pod's ServiceAccount."""

    def __init__(self) -> None:
        trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
        self._connection = HTTPSConnection(host, port, timeout=DEADLINE, context=trust)
        token = (ACCOUNT / "token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def send(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """POST with a body, otherwise GET: status and what was answered. Raises OSError when the server cannot be reached."""
        sent = json.dumps(body) if body else None
        self._connection.request("POST" if body else "GET", path, sent, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if answer.status < 400 else text


def reviews(rules: list[dict[str, list[str]]], namespace: str) -> Iterator[dict[str, str]]:
    """Each single right that the rules give in a namespace ("": in all of them), as resourceAttributes."""
    for rule in rules:
        for group in rule["apiGroups"]:
            for name in rule["resources"]:
                resource, _, subresource = name.partition("/")
                for verb in rule["verbs"]:
                    yield {
                        "namespace": namespace,
                        "group": group,
                        "resource": resource,
                        "subresource": subresource,
                        "verb": verb,
                    }


def definition_fault(api: Kubernetes, namespaces: list[str]) -> str | None:
    """Why ModelDeployments cannot be listed, or None."""
    where = f"/namespaces/{namespaces[0]}" if namespaces[0] else ""
    try:
        status, _ = api.send(f"/apis/haldane.dev/v1alpha1{where}/modeldeployments?limit=1")
    except OSError as error:
        return f"The API server cannot be reached: {error}. Look at NetworkPolicies around the release's namespace."
    if status == 404:
        return "The CRD of ModelDeployment is missing: set crds.install=true and upgrade the release."
    if status == 403:
        return (
            "The operator may not list ModelDeployments: set rbac.create=true, or grant what the chart's README lists."
        )
    return None if status == 200 else f"The API server answered {status} to a list of ModelDeployments."


def missing_rights(api: Kubernetes, rules: list[dict[str, list[str]]], namespaces: list[str]) -> list[str]:
    """The rights that the operator needs and does not have, as `verb resource in namespace`."""
    lacking = []
    for namespace in namespaces:
        for attributes in reviews(rules, namespace):
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            status, found = api.send("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            if status != 201 or not found["status"].get("allowed"):
                resource = "/".join(filter(None, (attributes["resource"], attributes["subresource"])))
                lacking.append(f"{attributes['verb']} {resource} in {namespace or 'all namespaces'}")
    return lacking


def prometheus_headers(settings: Mapping[str, str]) -> dict[str, str]:
    """What the operator shows Prometheus, by its settings. Raises OSError when credentials cannot be read."""
    headers: dict[str, str] = json.loads(settings.get("HALDANE_PROMETHEUS_HEADERS", "{}"))
    if token_file := settings.get("HALDANE_PROMETHEUS_TOKEN_FILE"):
        headers["Authorization"] = f"Bearer {Path(token_file).read_text().strip()}"
    elif username_file := settings.get("HALDANE_PROMETHEUS_USERNAME_FILE"):
        files = (username_file, settings["HALDANE_PROMETHEUS_PASSWORD_FILE"])
        both = ":".join(Path(file).read_text().strip() for file in files)
        headers["Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
    return headers


def prometheus_fault(url: str, settings: Mapping[str, str]) -> str | None:
    """Why Prometheus does not answer a query, or None."""
    so = "rollouts with checks would hold. Correct prometheus.url."
    try:
        asked = Request(f"{url.rstrip('/')}/api/v1/query?query=1", headers=prometheus_headers(settings))
        trust = ssl.create_default_context(cafile=settings.get("HALDANE_PROMETHEUS_CA_FILE"))
        with urlopen(asked, timeout=DEADLINE, context=trust) as answer:
            said = json.load(answer)
    except HTTPError as error:
        if error.code in CLOSED:
            return (
                f"Prometheus at {url} answered {error.code}: rollouts with checks would hold. "
                "Set prometheus.bearerToken or prometheus.basicAuth, or correct what the Secret holds."
            )
        return f"Prometheus at {url} answered {error.code}: {so}"
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return (
                f"Prometheus at {url} cannot be trusted ({error.reason}): rollouts with checks would hold. "
                "Set prometheus.ca to the authority of its certificate."
            )
        return f"Prometheus at {url} does not answer ({error}): {so}"
    except OSError as error:
        return f"Prometheus at {url} does not answer ({error}): {so}"
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("status") == "success":
        return None
    return f"What answers at {url} is not Prometheus: {so}"


def main() -> int:
    """Run the three checks, print what was found, and say by exit status whether all is well."""
    namespaces = os.environ["WATCH_NAMESPACES"].split(",")
    api = Kubernetes()
    failure = definition_fault(api, namespaces)
    if failure:
        print(failure)
        return 1
    print("ModelDeployments are served by the API server.")
    failures = 0
    if lacking := missing_rights(api, json.loads(os.environ["RULES"]), namespaces):
        print("The operator lacks rights: " + "; ".join(lacking) + ". Set rbac.create=true, or grant them.")
        failures += 1
    else:
        print("The operator has the rights that it needs.")
    url = os.environ["HALDANE_PROMETHEUS_URL"]
    if not url:
        print("No prometheus.url is set: rollouts with checks hold until there is one.")
    elif fault := prometheus_fault(url, os.environ):
        print(fault)
        failures += 1
    else:
        print(f"Prometheus answers at {url}.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
