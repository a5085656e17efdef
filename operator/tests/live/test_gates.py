"""The real operator asks runtimes through a real API server, with no right but the chart's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import Behaviour
from e2e.apiserver.runtime import RuntimeStandIn

if TYPE_CHECKING:
    from e2e.apiserver.operator_process import OperatorProcess

    from .model import Model

pytestmark = pytest.mark.api
ROLLOUT: dict[str, Any] = {
    "steps": [{"weight": 10, "hold": "0s"}],
    "checks": [],
    "progressDeadline": "60s",
    "keepStableFor": "1s",
    "watchAfterPromotion": "1h",
}


@pytest.fixture
def runtimes(own_model: Model) -> Iterator[dict[str, RuntimeStandIn]]:
    """What answers in the pods of versions 1 to 3, of which 2 has other outputs."""
    made = {version: RuntimeStandIn(classes) for version, classes in (("1", 10), ("2", 12), ("3", 10))}
    own_model.hands.behaviours |= {version: Behaviour(runtime=runtime) for version, runtime in made.items()}
    yield made
    for runtime in made.values():
        runtime.end()


def verdicts(model: Model) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in model.status["rollout"].get("gates", [])}


def test_a_version_that_breaks_its_clients_gets_no_request_and_one_that_does_not_is_asked_once(
    own_model: Model, runtimes: dict[str, RuntimeStandIn], start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator(gates="on")
    own_model.create("1", rollout=ROLLOUT)
    own_model.until_stable("1")
    own_model.deploy("2")
    own_model.until(lambda: bool(own_model.status.get("rejected")), "2 is refused")
    rejected = own_model.status["rejected"][0]
    assert (rejected["version"], rejected["reason"]) == ("2", "SignatureChanged")
    said = 'output "y" is FP32 [-1,10] in version 1 and FP32 [-1,12] here'
    assert said in rejected["message"]
    ready = own_model.condition("Ready")
    assert ready
    assert said in ready["message"]
    assert "allowSignatureChange" in ready["message"]
    assert said in own_model.notes()
    own_model.until_stable("1")

    own_model.deploy("3")
    own_model.until_phase("Watching")
    assert verdicts(own_model) == {"signature": "Pass", "answers": "Pass", "latency": "Pass"}
    assert own_model.hands.weights == [0, 10, 100, 0] or own_model.hands.weights == [0, 10, 100]
    asked = runtimes["3"].asked
    assert asked.count("GET /v2/models/fraud") == 1
    # Three requests twice, and once or twice more if this machine was too busy to tell a fast answer.
    assert asked.count("POST /v2/models/fraud/infer") in (6, 12, 18)


def test_what_cannot_be_asked_holds_over_the_end_of_the_operator_and_passes_when_it_answers(
    own_model: Model, runtimes: dict[str, RuntimeStandIn], start_operator: Callable[..., OperatorProcess]
) -> None:
    runtimes["1"].code = 404
    own_model.hands.behaviours["3"] = Behaviour()  # its pods have no address
    operator = start_operator(gates="on")
    own_model.create("1", rollout=ROLLOUT)
    own_model.until_stable("1")
    own_model.deploy("3")
    own_model.until(lambda: "Inconclusive" in verdicts(own_model).values(), "it was asked in vain")
    why = "version 3 could not be asked: the API server cannot reach its pod"
    own_model.until(lambda: why in own_model.status["rollout"]["message"], "status says why it waits")
    own_model.until(
        lambda: "could not be asked" in (own_model.condition("Reconciling") or {}).get("message", ""),
        "the condition says why it waits",
    )
    since = own_model.status["rollout"]["gates"][0]["since"]
    operator.kill()

    start_operator(gates="on")
    own_model.hands.behaviours["3"].runtime = runtimes["3"]
    for pod in own_model.hands.pods():
        if pod["metadata"]["labels"]["haldane.dev/revision"] == own_model.status["candidate"]["revision"]:
            own_model.rest.delete("Pod", own_model.namespace, pod["metadata"]["name"])
    own_model.until_phase("Watching")
    assert own_model.status["rollout"]["gates"][0]["since"] == since, "the deadline is counted from the first try"
    assert verdicts(own_model) == {"signature": "Skipped", "answers": "Pass", "latency": "Pass"}
    assert "version 1 does not tell it" in own_model.notes()
    assert "GateUndecided" in own_model.events()
