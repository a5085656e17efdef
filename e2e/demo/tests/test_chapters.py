from typing import Any

import pytest

from e2e.demo.chapters import CHAPTERS, Chapter, Outcome, Result, failing_checks, outcome

V1, V2, V3, V4 = CHAPTERS
REJECTED = {"revision": "r", "version": "v3-slow", "reason": "CheckFailed", "message": "p90 is 180 ms, over 100ms"}


@pytest.mark.parametrize(
    ("status", "version", "first", "expected"),
    [
        ({"stable": "v1", "ready": True}, "v1", True, Outcome("served", "v1", "")),
        ({"stable": "v1", "ready": False}, "v1", True, None),
        ({"stable": "v1", "ready": True, "observedGeneration": 0}, "v1", True, None),
        ({"rollout": {"phase": "Initializing"}}, "v1", True, None),
        ({"stable": "v1", "ready": True}, "v2", False, None),
        ({"stable": "v1", "candidate": "v2", "rollout": {"phase": "Progressing"}}, "v2", False, None),
        ({"stable": "v2", "ready": False, "rollout": {"phase": "Watching"}}, "v2", False, None),
        ({"stable": "v2", "ready": True}, "v2", False, Outcome("promoted", "v2", "")),
        (
            {"stable": "v2", "ready": False, "rejected": [REJECTED]},
            "v3-slow",
            False,
            Outcome("rolled back", "v2", "p90 is 180 ms, over 100ms"),
        ),
        ({"stable": "v2", "candidate": "v3-slow", "rejected": [REJECTED]}, "v3-slow", False, None),
        ({"stable": "v2", "ready": True, "rejected": [REJECTED]}, "v4-broken", False, None),
    ],
)
def test_an_outcome_is_told_from_status(
    deployment: Any, status: dict[str, Any], version: str, first: bool, expected: Outcome | None
) -> None:
    assert outcome(deployment(**status), version, 1, first=first) == expected


def result(chapter: Chapter, ended: Outcome | None, failed: frozenset[str] = frozenset()) -> Result:
    return Result(chapter, ended, "v2", failed, 1.0)


@pytest.mark.parametrize(
    ("played", "complaint"),
    [
        (result(V1, Outcome("served", "v1", "")), None),
        (result(V2, Outcome("promoted", "v2", "")), None),
        (result(V2, None), "v2 was not promoted within 240 s"),
        (result(V2, Outcome("rolled back", "v1", "")), "v2 was rolled back, not promoted"),
        (result(V3, Outcome("rolled back", "v2", "x"), frozenset({"p90"})), None),
        (result(V3, Outcome("rolled back", "v2", "the check p90 failed")), None),
        (result(V3, Outcome("rolled back", "v1", "p90")), "after v3-slow stable is v1, not v2"),
        (
            result(V4, Outcome("rolled back", "v2", "its pods crash"), frozenset({"p90"})),
            "v4-broken was rolled back, but not by the check errors: its pods crash",
        ),
    ],
)
def test_a_result_complains_of_what_is_not_as_it_must_be(played: Result, complaint: str | None) -> None:
    assert played.complaint == complaint


def test_failing_checks_are_those_with_the_verdict_fail(deployment: Any) -> None:
    checks = [{"name": name, "verdict": name, "message": ""} for name in ("Pass", "Fail", "Inconclusive")]
    assert failing_checks(deployment(rollout={"phase": "Progressing", "checks": checks})) == {"Fail"}
