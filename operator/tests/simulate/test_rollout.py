"""Whole simulated rollouts: the same decisions as the operator's, and how good they are, coarsely."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import shares
from haldane.plan.looks import MARGINS, SUSPICION_WITH_EARLIER
from haldane.simulate.faults import BY_NAME
from haldane.simulate.forecast import forecast, horizon
from haldane.simulate.rollout import BEGIN, Course, Play, play_many, simulated
from haldane.simulate.traffic import Fault, Service, Surroundings, without_trouble


def model(rollout: dict[str, Any] | None = None) -> ModelDeployment:
    spec = {
        "model": {"uri": "s3://models/a/"},
        "scaling": {"minReplicas": 3},
        "traffic": {"host": "a.example.com", "ingress": {"className": "nginx"}},
        "rollout": rollout or {},
    }
    metadata = {"name": "a", "namespace": "b", "uid": "u", "generation": 1}
    return ModelDeployment.from_wire(
        {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
    )


def test_a_good_version_goes_through_every_step_and_is_promoted() -> None:
    (course,) = play_many(model(), Service(), Fault(), 1, seed=1, seconds=5000, keep=1)
    assert course.outcome == "promoted"
    weights = [moment.weight for moment in course.moments]
    assert [w for i, w in enumerate(weights) if i == 0 or w != weights[i - 1]] == [0, 1, 5, 25, 50, 100, 0]
    assert list(course.step_ended) == [0, 1, 2, 3]
    assert course.duration is not None
    assert course.duration >= (2 + 10 + 10 + 10) * 60
    assert {event.reason for _, event in course.events} >= {"RolloutStarted", "WeightChanged", "Promoted"}
    assert course.spoilt == 0.0


def test_a_broken_version_is_rolled_back_soon_and_its_harm_is_counted() -> None:
    (course,) = play_many(model(), Service(), Fault(more_errors=0.5), 1, seed=1, seconds=5000)
    assert (course.outcome, course.step, course.check) == ("rolled back", 0, "errors")
    assert course.duration is not None
    assert course.duration < 120
    assert 0 < course.spoilt < 100


def test_the_same_seed_gives_the_same_course() -> None:
    courses = [next(play_many(model(), Service(), Fault(more_errors=0.02), 1, seed=7, seconds=3000)) for _ in range(2)]
    assert courses[0] == courses[1]


def test_an_outage_of_prometheus_holds_and_rolls_nothing_back() -> None:
    random = np.random.default_rng(1)
    around = Surroundings.draw(Service(), BEGIN + 2000, random)
    around.answers[:] = False
    course = Play(model(), around, Fault(more_errors=0.5), random, keep=True).run()
    assert course.outcome == "undecided"
    assert "Prometheus gave no answer" in course.moments[-1].status.message


@pytest.mark.parametrize(("name", "least", "most"), [("good", 0, 2), ("errors", 10, 12), ("slow", 10, 12)])
def test_verdicts_are_right_about_as_often_as_promised(name: str, least: int, most: int) -> None:
    """Coarse: the exact figures are measured by bench.rollout, over thousands."""
    found, first = forecast(model(), Service(), BY_NAME[name], rollouts=12, seed=2)
    assert least <= found.rolled_back <= most
    assert first.moments
    assert found.rolled_back + found.promoted <= found.rollouts == 12


AT_MOST_2_PERCENT = {
    "steps": [{"weight": weight, "hold": "30s"} for weight in (5, 25, 50)],
    "analysis": {"interval": "2s", "window": "30s", "warmup": "0s", "minRequests": 20},
    "checks": [{"name": "errors", "errorRate": {"max": "2%"}}],
    "progressDeadline": "60s",
    "keepStableFor": "10s",
    "watchAfterPromotion": "10s",
}


def at_most_2_percent(number: int, rate: float, errors: float) -> Course:
    """A rollout of so many requests a second beside a stable with 1 % errors, scraped every 2 s."""
    random = np.random.default_rng((1, number))
    around = Surroundings.draw(without_trouble(Service(rate=rate, errors=0.01)), BEGIN + 600, random, scrape=2)
    return Play(model(AT_MOST_2_PERCENT), around, Fault(more_errors=errors - 0.01), random, keep=True).run()


def says(course: Course, what: str) -> bool:
    return any(what in moment.status.message for moment in course.moments)


@pytest.mark.parametrize(("chance", "outcome"), [(0.0, "promoted"), (SUSPICION_WITH_EARLIER, "rolled back")])
def test_a_mild_draw_of_the_last_step_does_not_hide_what_the_steps_before_saw(
    monkeypatch: pytest.MonkeyPatch, chance: float, outcome: str
) -> None:
    """3 % errors at a limit of 2 %: a rollout in which no step alone looks suspicious at its end."""
    monkeypatch.setattr(shares, "MARGINS", ())
    monkeypatch.setattr(shares, "SUSPICION_WITH_EARLIER", chance)
    course = at_most_2_percent(118, 100.0, 0.03)
    assert course.outcome == outcome
    assert says(course, "with the steps before") is (outcome == "rolled back")


@pytest.mark.parametrize(("margins", "outcome"), [((), "promoted"), (MARGINS, "rolled back")])
def test_a_mild_draw_of_all_steps_together_does_not_pass_the_last_one(
    monkeypatch: pytest.MonkeyPatch, margins: tuple[float, ...], outcome: str
) -> None:
    """3 % errors at a limit of 2 %: a rollout that looks innocent until more requests have come than the holds gather."""
    monkeypatch.setattr(shares, "MARGINS", margins)
    course = at_most_2_percent(334, 100.0, 0.03)
    assert course.outcome == outcome
    assert says(course, "is not shown to be clear of the limit 2%") is (outcome == "rolled back")


@pytest.mark.parametrize(("rate", "errors"), [(100.0, 0.01), (10.0, 0.01), (2.0, 0.005)])
def test_a_good_version_waits_for_no_proof_that_its_steps_cannot_give(
    monkeypatch: pytest.MonkeyPatch, rate: float, errors: float
) -> None:
    courses = []
    for margins in (MARGINS, ()):
        monkeypatch.setattr(shares, "MARGINS", margins)
        courses.append(at_most_2_percent(3, rate, errors))
    assert courses[0].outcome == "promoted"
    assert courses[0].ended == courses[1].ended


def test_own_queries_are_left_out_and_the_horizon_covers_every_deadline() -> None:
    checks = [
        {"name": "errors", "errorRate": {"max": "1%"}},
        {"name": "mine", "query": {"promql": "x", "max": "1"}},
        {"name": "part", "proportion": {"hits": "x{{revision}}{{window}}", "max": "1%"}},
    ]
    md = simulated(model({"checks": checks, "steps": [{"weight": 5, "hold": "1h"}]}))
    assert [check.name for check in md.spec.rollout.checks] == ["errors"]
    assert horizon(md) == 3600 + 600 + 600 + 600
    assert horizon(model({"steps": [{"weight": 5, "hold": "100h"}]})) == 24 * 3600


@pytest.mark.parametrize("strategy", ["BlueGreen", "Recreate"])
def test_a_switch_in_one_go_is_watched(strategy: str) -> None:
    checks = [{"name": "errors", "errorRate": {"max": "3%", "abort": "20%"}}]
    md = model({"strategy": strategy, "checks": checks})
    good, broken = (
        next(play_many(md, Service(), fault, 1, seed=1, seconds=3000)) for fault in (Fault(), Fault(more_errors=0.5))
    )
    assert good.outcome == "promoted"
    assert broken.outcome == "rolled back"
    assert broken.spoilt > 500, "all requests go there at once"


def test_without_a_route_pod_counts_make_the_share() -> None:
    md = model()
    spec = md.spec.model_copy(update={"traffic": md.spec.traffic.model_copy(update={"ingress": None})})
    (course,) = play_many(md.model_copy(update={"spec": spec}), Service(), Fault(), 1, seed=1, seconds=5000)
    assert course.outcome == "promoted"
