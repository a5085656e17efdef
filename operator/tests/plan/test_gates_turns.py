"""Who is asked next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from haldane.plan.gates import in_turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("every", [1, 2, 4, 60])
def test_a_pod_that_cannot_be_asked_is_not_asked_for_ever(every: int) -> None:
    pods = ["fraud-a", "fraud-b", "fraud-c"]
    asked = [in_turn(pods, NOW + timedelta(seconds=every * number)) for number in range(20)]
    assert set(asked) == set(pods)
    assert in_turn(pods, None) == "fraud-a"
