"""What an inquiry found, as verdicts that people read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.status import GateStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates import Findings, Subject, Told, is_closed, next_try, read_told
from haldane.plan.gates_signature import Signature, Tensor
from haldane.plan.gates_smoke import Answer
from haldane.plan.gates_verdicts import recorded

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAKEN = Signature((Tensor("x", "FP32", (-1, 2)),), (Tensor("y", "FP32", (-1, 3)),))
REQUESTS = smoke.made_up(TAKEN)


def preparing(**spec: Any) -> ModelDeployment:
    stable, candidate = ({"revision": name, "version": name, "replicas": 1} for name in ("old", "new"))
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {"model": {"uri": "s3://models/2"}, "rollout": spec},
            "status": {
                "stable": stable,
                "candidate": candidate,
                "rollout": {"phase": "Preparing", "startedAt": NOW, "phaseStartedAt": NOW},
            },
        }
    )


def answers(*codes: int, **more: Any) -> tuple[Answer, ...]:
    return tuple(Answer(number % 3, code, 0.004, "it does not", **more) for number, code in enumerate(codes))


GOOD = Findings(
    Subject("new", "old", None), Told(TAKEN), Told(TAKEN), REQUESTS, answers(*[200] * 6), answers(*[200] * 6)
)


def gates(found: Findings, md: ModelDeployment | None = None) -> dict[str, tuple[str, str]]:
    """Verdict and message by gate."""
    rollout = recorded(md or preparing(), found, NOW).status.rollout
    return {gate.name: (gate.verdict, gate.message) for gate in rollout.gates}


def test_a_version_that_fits() -> None:
    assert gates(GOOD) == {
        "signature": ("Pass", "takes and gives what version old does"),
        "answers": ("Pass", "6 requests were answered with numbers"),
        "latency": ("Pass", "4ms for the fastest of 3 requests, 4ms in version old"),
    }
    status = recorded(preparing(), GOOD, NOW).status
    assert status.stable
    assert status.candidate
    assert status.stable.signature == status.candidate.signature == '[[["x","FP32",[-1,2]]],[["y","FP32",[-1,3]]]]'
    assert is_closed(status)


CASES: list[tuple[str, Findings, dict[str, tuple[str, str]]]] = [
    (
        "nothing tells a signature",
        replace(GOOD, own=Told(lacks="HTTP 404"), requests=(), answers=(), stable_answers=()),
        {
            "signature": ("Skipped", "not compared: version new does not tell it: HTTP 404"),
            "answers": ("Skipped", "nothing was asked of version new: HTTP 404"),
            "latency": ("Skipped", "nothing was asked of version new: HTTP 404"),
        },
    ),
    (
        "nobody answers",
        replace(GOOD, own=Told(silence="refused"), requests=(), answers=(), stable_answers=()),
        dict.fromkeys(("signature", "answers", "latency"), ("Inconclusive", "version new could not be asked: refused")),
    ),
    (
        "stable does not answer",
        replace(GOOD, theirs=Told(silence="refused")),
        {"signature": ("Inconclusive", "version old could not be asked: refused")},
    ),
    (
        "no request can be made up",
        replace(GOOD, requests=(), answers=(), stable_answers=()),
        dict.fromkeys(
            ("answers", "latency"),
            ("Skipped", "no request can be made up by its signature: give golden requests"),
        ),
    ),
    (
        "it takes no made-up request",
        replace(GOOD, answers=answers(*[400] * 6)),
        {
            "answers": ("Skipped", "it takes none of the requests: it does not"),
            "latency": ("Skipped", "nothing was answered that could be timed"),
        },
    ),
    (
        "it sheds requests",
        replace(GOOD, answers=answers(200, 503)),
        dict.fromkeys(("answers", "latency"), ("Inconclusive", "version new did not answer: it does not")),
    ),
    (
        "its answers are too long",
        replace(GOOD, answers=answers(*[200] * 6, unreadable=True)),
        {"answers": ("Skipped", "its answers are too long to be looked at, or no JSON of the protocol")},
    ),
    (
        "its answers have another shape",
        replace(GOOD, answers=answers(*[200] * 6, shapes=(("y", (1, 4)),))),
        {
            "answers": (
                "Fail",
                'output "y" has shape [1,4] in the answer to a made-up request of zeros, where version old promises FP32 [-1,3]',
            )
        },
    ),
]


@pytest.mark.parametrize(("found", "said"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_is_said(found: Findings, said: dict[str, tuple[str, str]]) -> None:
    assert {name: verdict for name, verdict in gates(found).items() if name in said} == said


def test_a_change_of_shape_that_is_allowed_is_no_bad_answer() -> None:
    wide = Signature(TAKEN.inputs, (Tensor("y", "FP32", (-1, 4)),))
    found = replace(GOOD, own=Told(wide), answers=answers(*[200] * 6, shapes=(("y", (1, 4)),)))
    assert gates(found)["signature"][0] == "Fail"
    said = gates(found, preparing(allowSignatureChange=True))
    assert said["signature"][0] == said["answers"][0] == "Pass"


def test_what_was_decided_stays_and_what_was_not_is_asked_at_a_growing_distance() -> None:
    mute = replace(GOOD, answers=answers(0), stable_answers=())
    md, at, waits = preparing(), NOW, []
    for _ in range(8):
        md = recorded(md, mute, at)
        due = next_try(md.status)
        assert due
        waits.append((due - at).total_seconds())
        at = due
    assert waits == [2, 2, 4, 8, 16, 30, 30, 30]
    gate = md.status.rollout.gates[0]
    assert (gate.name, gate.verdict, gate.since, gate.at) == ("signature", "Pass", NOW, NOW)
    wide = Signature(TAKEN.inputs, (Tensor("y", "FP32", (-1, 4)),))
    md = recorded(md, replace(GOOD, own=Told(wide)), at)
    assert [gate.verdict for gate in md.status.rollout.gates] == ["Pass", "Pass", "Pass"]
    assert is_closed(md.status)


def test_findings_about_others_count_for_nothing() -> None:
    md = preparing()
    assert recorded(md, replace(GOOD, subject=Subject("newer", "old", None)), NOW) is md
    assert recorded(md, replace(GOOD, subject=Subject("new", "older", None)), NOW) is md
    assert recorded(md, None, NOW) is md


def test_what_an_earlier_rollout_could_not_ask_is_none_of_this_ones_tries() -> None:
    old = GateStatus(
        name="answers", verdict="Inconclusive", message="?", since=NOW - timedelta(hours=1), at=NOW - timedelta(hours=1)
    )
    md = preparing()
    rollout = md.status.rollout.model_copy(update={"gates": [old]})
    md = md.model_copy(update={"status": md.status.model_copy(update={"rollout": rollout})})
    assert next_try(md.status) is None
    found = recorded(md, replace(GOOD, own=Told(silence="refused")), NOW).status.rollout.gates
    assert [gate.since for gate in found] == [NOW] * 3


@pytest.mark.parametrize(
    ("code", "document", "told"),
    [
        (404, {"error": "?"}, "lacks"),
        (401, None, "lacks"),
        (200, {"name": "fraud"}, "lacks"),
        (200, None, "lacks"),
        (429, None, "silence"),
        (503, {"error": "loading"}, "silence"),
        (302, None, "silence"),
        (0, None, "silence"),
    ],
)
def test_who_has_nothing_to_tell_and_who_is_silent(code: int, document: Any, told: str) -> None:
    found = read_told(code, document, "" if code else "refused")
    assert [name for name in ("signature", "lacks", "silence") if getattr(found, name)] == [told]


@pytest.mark.parametrize(
    ("codes", "errors"), [([200] * 6, None), ([200, 400, 500] * 2, 2), ([500] * 6, 6), ([200, 0], 1)]
)
def test_answers_with_an_error_are_told_for_metrics_count_them_as_well(codes: list[int], errors: int | None) -> None:
    found = replace(GOOD, answers=answers(*codes), stable_answers=answers(*codes))
    assert {gate.errors for gate in recorded(preparing(), found, NOW).status.rollout.gates} == {errors}
