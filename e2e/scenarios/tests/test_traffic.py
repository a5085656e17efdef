"""What is lost is what stable would have answered; times are those when a request was sent."""

import pytest

from e2e.scenarios.errors import Unmet
from e2e.scenarios.traffic import Answers


@pytest.fixture
def answers() -> Answers:
    """v1 answered twice, v4-broken failed once."""
    counted = Answers()
    counted.answered("v1", right=True, seconds=3.0, at=13.0)
    counted.answered("v1", right=False, seconds=0.1, at=12.0)
    counted.failed("v4-broken", "500: it broke", seconds=0.5, at=11.0)
    return counted


def test_times_are_those_of_sending(answers: Answers) -> None:
    assert (answers.first_sent_at["v1"], answers.last_sent_at["v1"]) == (10.0, 11.9)
    assert answers.last_sent_at["v4-broken"] == 10.5


def test_failures_of_a_candidate_are_its_own(answers: Answers) -> None:
    answers.must_have_lost_nothing(own=["v4-broken"])
    with pytest.raises(Unmet, match=r"1 of 3 requests failed .*\n  v4-broken: 500: it broke"):
        answers.must_have_lost_nothing()


def test_a_failure_on_the_way_is_nobodys_own(answers: Answers) -> None:
    answers.failed(None, "503: no available server", seconds=0.0, at=14.0)
    with pytest.raises(Unmet, match="nobody: 503: no available server"):
        answers.must_have_lost_nothing(own=["v1", "v4-broken"])
    assert str(answers) == "v1 2, v4-broken 1 (1 failed), nobody 1 (1 failed)"
    assert (answers.count("v1"), answers.count("v9")) == (2, 0)
