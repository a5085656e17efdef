"""A clock that is set back delays nothing for as long as it was set back, and one that is set ahead ends nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from haldane.api.status import CheckStatus, GateStatus, ModelDeploymentStatus, Phase, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.clock import LAST_CHANCE, LAST_CHANCES, SET, UNWATCHED, Instant, caught_up, in_time

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_has_not_come_yet_is_now_and_the_past_stays(model_deployment: Callable[..., ModelDeployment]) -> None:
    before, after = NOW - timedelta(minutes=1), NOW + timedelta(hours=1)
    rollout = RolloutStatus(
        started_at=before,
        phase_started_at=after,
        weight_changed_at=after,
        step_started_at=before,
        checks=[
            CheckStatus(name="a", verdict="Pass", at=after, message="m"),
            CheckStatus(name="b", verdict="Pass", at=before, message="m"),
        ],
        gates=[GateStatus(name="answers", verdict="Pass", message="m", since=before, at=after)],
    )
    md = model_deployment().model_copy(update={"status": ModelDeploymentStatus(rollout=rollout)})
    found = caught_up(md, NOW).status.rollout
    assert (found.started_at, found.phase_started_at, found.weight_changed_at) == (before, NOW, NOW)
    assert (found.step_started_at, found.checked_at) == (before, None)
    assert [check.at for check in found.checks] == [NOW, before]
    assert (found.gates[0].since, found.gates[0].at) == (before, NOW)


def test_an_object_of_the_past_is_left_alone(model_deployment: Callable[..., ModelDeployment]) -> None:
    md = model_deployment()
    assert caught_up(md, NOW) is md


HOUR = timedelta(hours=1)
DEADLINE = timedelta(minutes=10)
"""The default of `progressDeadline`."""


MOMENTS = [name for name, field in RolloutStatus.model_fields.items() if "datetime" in str(field.annotation)]


@pytest.mark.parametrize("name", MOMENTS)
def test_every_moment_follows_a_clock_that_is_set(model_deployment: Callable[..., ModelDeployment], name: str) -> None:
    md = waiting(model_deployment, "Watching", **{name: NOW})
    ahead = in_time(md, Instant(NOW + HOUR, 10.0), Instant(NOW, 10.0)).status.rollout
    assert getattr(ahead, name) == NOW + HOUR
    assert getattr(caught_up(md, NOW - HOUR).status.rollout, name) == NOW - HOUR


def waiting(make: Callable[..., ModelDeployment], phase: Phase, **moments: datetime) -> ModelDeployment:
    rollout = RolloutStatus(phase=phase, **moments)
    return make().model_copy(update={"status": ModelDeploymentStatus(rollout=rollout)})


def test_what_it_was_set_ahead_did_not_pass(model_deployment: Callable[..., ModelDeployment]) -> None:
    md = waiting(model_deployment, "Watching", phase_started_at=NOW, weight_changed_at=NOW, lost_at=NOW)
    found = in_time(md, Instant(NOW + HOUR + timedelta(seconds=7), 17.0), Instant(NOW, 10.0)).status.rollout
    assert (found.phase_started_at, found.weight_changed_at, found.lost_at) == (NOW + HOUR,) * 3


@pytest.mark.parametrize("passed", [timedelta(seconds=10), timedelta(seconds=10) + SET])
def test_time_that_passed_by_both_clocks_counts(
    model_deployment: Callable[..., ModelDeployment], passed: timedelta
) -> None:
    md = waiting(model_deployment, "Preparing", phase_started_at=NOW - HOUR)
    assert in_time(md, Instant(NOW + passed, 20.0), Instant(NOW, 10.0)) is md


UNSEEN = timedelta(seconds=UNWATCHED + 1)


@pytest.mark.parametrize("last", [None, Instant(NOW - UNSEEN, 100.0 - UNSEEN.total_seconds())])
def test_a_deadline_that_nobody_saw_pass_gives_a_last_chance(
    model_deployment: Callable[..., ModelDeployment], last: Instant | None
) -> None:
    late = NOW - HOUR
    seen = dict.fromkeys(("phase_started_at", "share_left_at", "asked_anew_at", "stable_lost_at"), late)
    found = in_time(waiting(model_deployment, "Preparing", **seen), Instant(NOW, 100.0), last).status.rollout
    assert found.phase_started_at == NOW + LAST_CHANCE - DEADLINE
    assert (found.share_left_at, found.asked_anew_at, found.stable_lost_at) == (NOW, late, NOW)


def test_a_wait_is_given_so_many_last_chances_and_no_more(model_deployment: Callable[..., ModelDeployment]) -> None:
    md = waiting(model_deployment, "Preparing", phase_started_at=NOW - HOUR)
    for given in range(1, LAST_CHANCES + 1):
        md = in_time(md, Instant(NOW + given * LAST_CHANCE / 2, 100.0), None)
        assert md.status.rollout.last_chances == given
    assert in_time(md, Instant(NOW + HOUR, 100.0), None) is md


@pytest.mark.parametrize(("looked", "is_moved"), [(None, True), (29, True), (30, False)])
def test_that_stable_is_lost_is_not_forgotten_once_it_was_acted_upon(
    model_deployment: Callable[..., ModelDeployment], looked: int | None, is_moved: bool
) -> None:
    lost = NOW - HOUR
    md = waiting(model_deployment, "Progressing", stable_lost_at=lost)
    if looked is not None:
        rollout = md.status.rollout.model_copy(update={"checked_at": lost + timedelta(seconds=looked)})
        md = md.model_copy(update={"status": md.status.model_copy(update={"rollout": rollout})})
    assert (in_time(md, Instant(NOW, 100.0), None).status.rollout.stable_lost_at != lost) == is_moved


@pytest.mark.parametrize(
    ("waited", "is_watched"),
    [
        ([], False),
        ([60.0], True),
        ([60.0, 100.0], True),
        ([45.0, 106.0], False),
        ([70.0], False),
    ],
)
def test_passes_that_wait_for_answers_watch_as_well_but_end_no_gap(
    model_deployment: Callable[..., ModelDeployment], waited: list[float], is_watched: bool
) -> None:
    last = Instant(NOW - timedelta(seconds=115), 0.0)
    for steady in waited:
        last = last.watched(Instant(NOW - timedelta(seconds=115 - steady), steady))
    md = waiting(model_deployment, "Preparing", phase_started_at=NOW - HOUR)
    assert (in_time(md, Instant(NOW, 115.0), last) is md) == is_watched


def test_one_that_is_far_gives_none(model_deployment: Callable[..., ModelDeployment]) -> None:
    md = waiting(model_deployment, "Preparing", phase_started_at=NOW - DEADLINE + LAST_CHANCE)
    assert in_time(md, Instant(NOW, 100.0), None) is md


@pytest.mark.parametrize("phase", ["Stable", "Initializing"])
def test_at_rest_nothing_is_written_for_a_clock(model_deployment: Callable[..., ModelDeployment], phase: Phase) -> None:
    md = waiting(model_deployment, phase, phase_started_at=NOW - HOUR)
    assert in_time(md, Instant(NOW, 100.0), None) is md
    assert in_time(md, Instant(NOW + HOUR, 101.0), Instant(NOW, 100.0)) is md
