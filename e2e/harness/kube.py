"""What is done on the cluster: apply, read, clear away, and look when something went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio import client, config

from e2e.harness.addresses import Addresses
from e2e.harness.command import output
from e2e.harness.errors import HarnessError
from haldane.api.v1alpha1 import GROUP, PLURAL, VERSION, ModelDeployment

OPERATOR_NAMESPACE: Final = "haldane-system"
_READ_SECONDS: Final = 5.0
_LINES: Final = 40


class Kube(AbstractAsyncContextManager["Kube"]):
    """kubectl for what a user would type, one open connection for what is read twice a second."""

    def __init__(self, addresses: Addresses, namespace: str) -> None:
        self.namespace = namespace
        self._addresses = addresses
        self._api: Any = None
        self._objects: Any = None

    async def __aenter__(self) -> Kube:
        self._api = await config.new_client_from_config(
            config_file=self._addresses.kubeconfig, context=self._addresses.context, persist_config=False
        )
        self._objects = client.CustomObjectsApi(self._api)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    async def kubectl(self, *words: str | Path, seconds: float = 30) -> str:
        """What kubectl prints. Raises HarnessError when it fails."""
        where = ["--kubeconfig", self._addresses.kubeconfig, "--context", self._addresses.context]
        return await output([self._addresses.kubectl, *where, *words], seconds=seconds)

    async def apply(self, manifest: Path) -> int:
        """Apply one object; its generation then."""
        return int(await self.kubectl("apply", "-f", manifest, "-o", "jsonpath={.metadata.generation}") or 0)

    async def apply_objects(self, file: Path, objects: Iterable[dict[str, Any]]) -> None:
        """Apply objects, as a user would who had written them to this file. Raises HarnessError."""
        _write(file, objects)
        await self.kubectl("apply", "-f", file)

    async def server_side_apply(self, body: dict[str, Any], manager: str) -> int:
        """Apply a ModelDeployment as a GitOps tool does, whoever else owns its fields; its number then. Raises HarnessError."""
        try:
            live = await self._objects.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                body["metadata"]["name"],
                body,
                field_manager=manager,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=_READ_SECONDS,
            )
        except (client.ApiException, OSError, TimeoutError) as error:
            raise HarnessError(f"{manager} could not apply: {error!r}.") from error
        return int(live["metadata"]["resourceVersion"])

    async def read(self, name: str) -> ModelDeployment | None:
        """The ModelDeployment now; None when there is none. Raises HarnessError when the API server gives no answer."""
        try:
            body = await self._objects.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=_READ_SECONDS
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise HarnessError(f"The API server answered {error.status} {error.reason}.") from error
        except (OSError, TimeoutError) as error:
            raise HarnessError(f"The API server gave no answer: {error!r}.") from error
        return ModelDeployment.from_wire(body)

    async def start_afresh(self) -> None:
        """A namespace without models: what an earlier demo left is deleted and waited for.

        The namespace stays: to delete it, too, would wait out the whole grace period of its pods (half a minute).
        """
        if not await self.kubectl("get", "namespace", self.namespace, "--ignore-not-found"):
            await self.kubectl("create", "namespace", self.namespace)
        await self.kubectl("delete", PLURAL, "--all", "-n", self.namespace, "--timeout=60s", seconds=70)
        children = ("deployments,pods,services", "-l", "app.kubernetes.io/managed-by=haldane")
        await self.kubectl("wait", "--for=delete", *children, "-n", self.namespace, "--timeout=90s", seconds=100)

    async def diagnosis(self, name: str) -> str:
        """Status, Events, pods and the ends of the logs, as far as they can be had: for a person to see what went wrong."""
        looks = {
            "status": ("get", PLURAL, name, "-n", self.namespace, "-o", "jsonpath={.status}"),
            "events": ("get", "events", "-n", self.namespace, "--sort-by=.lastTimestamp"),
            "children": ("get", "pods,deployments,services,ingresses", "-n", self.namespace, "-o", "wide"),
            "operator": ("logs", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=haldane", f"--tail={_LINES}"),
            "runtimes": ("logs", "-n", self.namespace, "-l", f"haldane.dev/model={name}", "--tail=10", "--prefix"),
        }
        seen = []
        for title, words in looks.items():
            try:
                said = await self.kubectl(*words)
            except HarnessError as error:
                said = str(error)
            seen += [f"--- {title}", *said.splitlines()[-_LINES:]]
        return "\n".join(seen)


def _write(file: Path, objects: Iterable[dict[str, Any]]) -> None:
    file.write_text(yaml.safe_dump_all(objects, sort_keys=False))
