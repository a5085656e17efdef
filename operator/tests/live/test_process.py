"""The process itself: started, killed, stopped, told nonsense."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.apiserver.hands import OWNED

from .proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.apiserver.server import ApiServer

    from .conftest import StartOperator
    from .model import Model

pytestmark = pytest.mark.api


def versions(model: Model) -> dict[str, str]:
    """resourceVersion of the object, its children and its Events."""
    found = {"ModelDeployment": model.body["metadata"]["resourceVersion"]}
    for kind in (*OWNED, "Event"):
        for body in model.rest.items(kind, model.namespace):
            found[f"{kind}/{body['metadata']['name']}"] = body["metadata"]["resourceVersion"]
    return found


def test_at_rest_nothing_is_written(start_operator: StartOperator, own_model: Model) -> None:
    process = start_operator()
    own_model.create(scaling={"minReplicas": 2, "maxReplicas": 4})
    own_model.until_stable("1.0.0")
    time.sleep(1.0)
    before = versions(own_model)
    time.sleep(4.0)
    assert versions(own_model) == before
    # Neither does a new process write, that knows nothing of what was applied before.
    process.kill()
    start_operator()
    time.sleep(3.0)
    assert versions(own_model) == before


def test_what_was_asked_for_while_it_was_down_is_done(start_operator: StartOperator, own_model: Model) -> None:
    process = start_operator()
    own_model.create()
    own_model.until_stable("1.0.0")
    process.kill()
    own_model.deploy("2.0.0")
    own_model.rest.delete("Service", own_model.namespace, "fraud")
    process = start_operator()
    own_model.until(lambda: own_model.version("candidate") == "2.0.0", "the candidate is prepared")
    own_model.until(lambda: "fraud" in own_model.names("Service"), "the Service is back")

    status, seconds = process.terminate()
    assert status == 0
    assert seconds < 8.0


def test_it_goes_on_after_the_api_server_was_away(
    start_operator: StartOperator, own_model: Model, apiserver: ApiServer, tmp_path: Path
) -> None:
    proxy = Proxy(int(apiserver.url.rpartition(":")[2]))
    kubeconfig = tmp_path / "kubeconfig"
    near = f"https://127.0.0.1:{proxy.port}"
    kubeconfig.write_text(apiserver.kubeconfig("operator").read_text().replace(apiserver.url, near))
    process = start_operator(kubeconfig=str(kubeconfig))
    own_model.create()
    own_model.until_stable("1.0.0")
    proxy.cut()
    own_model.deploy("2.0.0")
    time.sleep(8.0)
    assert process.health()[0] == 200  # another process would not bring the API server back
    assert own_model.version("candidate") is None
    proxy.restore()
    own_model.until(lambda: own_model.version("candidate") == "2.0.0", "the candidate is prepared")
    proxy.cut()


def test_wrong_settings_end_it_with_a_sentence(launch: StartOperator) -> None:
    process = launch(prometheus_url="prometheus:9090")
    assert process.wait(60.0) == 2
    assert "HALDANE_PROMETHEUS_URL='prometheus:9090': write the base URL of Prometheus" in process.log
