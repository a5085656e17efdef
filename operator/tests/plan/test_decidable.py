"""What a spec's checks can decide, before anything is rolled out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.status import CheckStatus, ModelDeploymentStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.decidable import concerns, counted_requests, unknown_metrics, visible
from haldane.plan.queries import BOUNDS
from haldane.plan.undecided import undecided

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def model(rollout: dict[str, Any] | None = None, route: bool = True, **more: Any) -> ModelDeployment:
    spec: dict[str, Any] = {"model": {"uri": "s3://models/a/"}, "scaling": {"minReplicas": 3}, "rollout": rollout or {}}
    spec |= more
    if route:
        spec["traffic"] = {"host": "a.example.com", "ingress": {"className": "nginx"}}
    metadata = {"name": "a", "namespace": "b", "uid": "u", "generation": 1}
    return ModelDeployment.from_wire(
        {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
    )


def test_the_defaults_decide_at_100_requests_a_second() -> None:
    assert [text for text in concerns(model(), rate=100) if "will not come" in text or "no step" in text] == []
    assert concerns(model()) == []


@pytest.mark.parametrize(
    ("rollout", "rate", "words"),
    [
        ({"checks": []}, 100, "time alone promotes"),
        ({"steps": [{"weight": 5, "hold": "20s"}]}, 100, "is over before the warm-up of 30s"),
        (
            {"steps": [{"weight": 1, "hold": "2m"}]},
            50,
            "about 45 requests count by the end of its hold, 100 are needed",
        ),
        ({"steps": [{"weight": 1, "hold": "2m"}]}, 1, "will not come before its deadline"),
        ({"steps": [{"weight": 5, "hold": "10m"}]}, 5, "no step sees less than"),
        (
            {"checks": [{"name": "slow", "latency": {"quantile": "0.999", "max": "100ms"}}]},
            5,
            "check slow: at 5 requests/s no step sees less than 0.0055 of the requests taking longer than 100ms",
        ),
        ({}, 1, "check p99: at 1 requests/s no step sees less than"),
        (
            {
                "checks": [
                    {"name": "declined", "proportion": {"hits": "d{{revision}}[{{window}}]", "maxIncrease": "0.1%"}}
                ]
            },
            5,
            "check declined: at 5 requests/s no step sees less than",
        ),
        (
            {"analysis": {"detect": "2x"}},
            100,
            "step 1 (1% for 2m): check p99 sees analysis.detect 2x only after about 14 min, and its deadline comes after 12 min",
        ),
        ({"analysis": {"detect": "1.05x"}}, 1, "sees analysis.detect 1.05x only after 1000 times its hold"),
        (
            {"analysis": {"detect": "2x"}, "progressDeadline": "1h"},
            100,
            "step 1 (1% for 2m): check p99 sees analysis.detect 2x after about 14 min; it lasts as long",
        ),
        ({"strategy": "BlueGreen"}, 100, "check p99: BlueGreen has no share of the requests to compare"),
        (
            {"checks": [{"name": "e", "errorRate": {"max": "1%"}}]},
            100,
            "stable itself has 0.01 of its requests failing",
        ),
        (
            {"checks": [{"name": "p99", "latency": {"max": "240ms"}}]},
            100,
            "between the runtime's histogram bounds 200ms and 250ms",
        ),
        (
            {"checks": [{"name": "p99", "latency": {"max": "10s"}}]},
            100,
            "check p99: only requests that are answered 504 take as long as 10s, as spec.runtime.limits.requestTimeout is 10s",
        ),
        (
            {"checks": [{"name": "x", "query": {"promql": "haldane_latency{r='{{revision}}'}", "max": "1"}}]},
            100,
            "the runtime has no metric haldane_latency",
        ),
    ],
)
def test_what_cannot_be_decided_is_told(rollout: dict[str, Any], rate: float, words: str) -> None:
    assert any(words in text for text in concerns(model(rollout), rate)), concerns(model(rollout), rate)


def test_a_demand_that_every_hold_meets_is_worth_no_word_nor_what_nobody_can_know() -> None:
    assert concerns(model({"analysis": {"detect": "3x"}}), 1000) == []
    counted = {"hits": "d{{revision}}[{{window}}]", "total": "t{{revision}}[{{window}}]", "max": "1%"}
    assert concerns(model({"checks": [{"name": "part", "proportion": counted}], "analysis": {"detect": "2x"}}), 10) == [
        text for text in concerns(model(), 10) if "are needed" in text
    ]


def test_a_limit_beyond_the_last_bound_of_the_histogram_is_told() -> None:
    patient = {"limits": {"requestTimeout": "2m"}}
    texts = {}
    for limit in ("9s", "30s", "45s"):
        md = model({"checks": [{"name": "p99", "latency": {"max": limit}}]}, runtime=patient)
        texts[limit] = [text for text in concerns(md) if "last bound" in text]
    assert (texts["9s"], texts["30s"]) == ([], [])
    assert "45s lies beyond the last bound of the runtime's histogram" in texts["45s"][0]


def test_limits_at_a_bound_and_known_metrics_are_fine() -> None:
    checks = [
        {"name": "p99", "latency": {"max": "250ms"}},
        {"name": "nan", "query": {"promql": "rate(haldane_nonfinite_outputs_total[{{window}}])", "max": "0"}},
    ]
    assert concerns(model({"checks": checks})) == []
    assert 0.25 in BOUNDS
    assert unknown_metrics(model(), "no such check") == []


def test_more_requests_see_smaller_rises() -> None:
    md = model()
    first, last = md.spec.rollout.steps[1], md.spec.rollout.steps[-1]
    assert counted_requests(md, first, 100) == pytest.approx(570 * 5)
    assert visible(md, last, 100, "0.1%", 0.01, True) < visible(md, first, 100, "0.1%", 0.01, True) < 0.03
    assert visible(md, first, 0.0, "0.1%", 0.01, True) == 1.0
    assert visible(md, first, 100, "1%", 0.0, False) < 0.02


def test_without_a_route_the_pods_make_the_share() -> None:
    md = model({"steps": [{"weight": 5, "hold": "10m"}]}, route=False)
    assert counted_requests(md, md.spec.rollout.steps[0], 100) == pytest.approx(570 * 25)


@pytest.mark.parametrize(
    ("requests", "expected"), [(10, "will not have come before the step's deadline, but in 41 min"), (60, "")]
)
def test_a_step_that_gets_too_few_requests_says_so_in_the_condition(requests: int, expected: str) -> None:
    md = model({"steps": [{"weight": 5, "hold": "5m"}]})
    begun = NOW - timedelta(minutes=5)
    check = CheckStatus(name="errors", verdict="Inconclusive", requests=requests, at=NOW, message=f"{requests} so far")
    rollout = RolloutStatus(
        phase="Progressing",
        step=0,
        weight=5,
        phase_started_at=begun,
        step_started_at=begun,
        weight_changed_at=begun,
        checked_at=NOW,
        checks=[check],
    )
    text = undecided(md, ModelDeploymentStatus(rollout=rollout))
    assert (expected or "end more requests, or lower") in text
