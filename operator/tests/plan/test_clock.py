"""A clock that is set back delays nothing for as long as it was set back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from haldane.api.status import CheckStatus, GateStatus, ModelDeploymentStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.clock import caught_up

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
