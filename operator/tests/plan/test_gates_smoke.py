"""What a few requests before any traffic prove, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.api.model import Golden
from haldane.api.spec import ModelDeploymentSpec
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates_signature import Signature, Tensor
from haldane.plan.gates_smoke import Answer, Pace

X = Tensor("x", "FP32", (-1, 2))
Y = Tensor("y", "FP32", (-1, 3))
MADE_UP = smoke.made_up(Signature((X,), (Y,)))
GOLDEN = smoke.golden_requests(
    Golden.model_validate(
        {
            "requests": [
                {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "outputs": [expected]}
                for expected in (
                    {"name": "y", "shape": [1, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.7]},
                    {"name": "y", "shape": [1, 3], "datatype": "FP32", "data": [None, 0.2, 0.7]},
                )
            ]
        }
    )
)


def answers(*codes: int, nonfinite: str = "", took: float = 0.004) -> list[Answer]:
    """One answer to each request in turn, each with these outputs that are no numbers."""
    return [Answer(number, code, took, "bad", nonfinite=frozenset(nonfinite)) for number, code in enumerate(codes)]


def test_requests_are_made_up_by_the_signature() -> None:
    assert [request.name.rpartition(" ")[2] for request in MADE_UP] == ["zeros", "ones", "halves"]
    assert MADE_UP[2].body == {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5]}]}
    texts = smoke.made_up(Signature((Tensor("t", "BYTES", (-1,)), Tensor("b", "BOOL", ())), (Y,)))
    assert [one["data"] for one in texts[2].body["inputs"]] == [["a"], [True]]


@pytest.mark.parametrize("tensor", [Tensor("x", "FP16", (1,)), Tensor("x", "FP32", (1, 3, 1000, 1000))], ids=str)
def test_what_json_cannot_carry_or_is_huge_is_not_made_up(tensor: Tensor) -> None:
    assert smoke.made_up(Signature((X, tensor), (Y,))) == ()


def test_golden_requests_are_sent_as_they_are_written() -> None:
    assert [request.name for request in GOLDEN] == ["golden request 0", "golden request 1"]
    assert GOLDEN[0].body["inputs"][0]["data"] == [1, 2]
    assert smoke.golden_requests(None) == ()


READ: list[tuple[int, Any, dict[str, Any]]] = [
    (200, {"outputs": [{"name": "y", "shape": [1, 2], "data": [0.1, 2]}]}, {"shapes": (("y", (1, 2)),)}),
    (200, {"outputs": [{"name": "y", "shape": [1], "data": [None]}]}, {"nonfinite": {"y"}}),
    (200, {"outputs": [{"name": "y", "shape": [1, 1], "data": [[float("nan")]]}]}, {"nonfinite": {"y"}}),
    (200, {"outputs": [{"name": "y", "shape": [1], "data": [float("inf")]}]}, {"nonfinite": {"y"}}),
    (200, {"outputs": [{"name": "y", "shape": [1], "data": ["NaN"]}]}, {"nonfinite": set()}),
    (200, {"outputs": [{"name": "y", "shape": [1], "parameters": {"binary_data_size": 4}}]}, {"nonfinite": set()}),
    (200, None, {"unreadable": True}),
    (200, {"predictions": [1]}, {"unreadable": True}),
    (200, {"outputs": [{"name": "y", "shape": "1"}, 7]}, {"unreadable": True}),
    (500, {"error": "it\nbroke"}, {"problem": "it broke"}),
    (500, "<html>", {"problem": "HTTP 500"}),
    (0, {"error": "no answer within 10 s"}, {"problem": "no answer within 10 s"}),
]


@pytest.mark.parametrize(("code", "document", "said"), READ)
def test_answers_are_read_with_care(code: int, document: Any, said: dict[str, Any]) -> None:
    answer = smoke.read_answer(1, code, document, 0.5)
    assert (answer.request, answer.code, answer.seconds, answer.is_good) == (1, code, 0.5, code == 200)
    assert {key: getattr(answer, key) for key in said} == said


def test_a_golden_request_that_breaks_the_candidate_refuses_it_and_a_made_up_one_does_not() -> None:
    assert smoke.failed(GOLDEN, answers(200, 500), []) == "golden request 1 is answered with 500: bad"
    assert smoke.failed(GOLDEN, answers(200, 400), answers(200, 200)) == "golden request 1 is answered with 400: bad"
    assert smoke.failed(GOLDEN, answers(200, 400), answers(200, 400)) is None, "JSON cannot carry it"
    assert smoke.failed(GOLDEN, answers(200, 503), answers(200, 200)) is None
    assert smoke.failed(MADE_UP, answers(500, 500, 400), answers(200, 200, 200)) is None


def test_as_many_requests_are_sent_as_are_to_be_timed() -> None:
    assert [smoke.turns(GOLDEN[:1]), smoke.turns(GOLDEN), smoke.turns(MADE_UP), smoke.turns(())] == [4, 3, 2, 0]


def test_nan_in_a_golden_answer_is_refused_unless_it_is_expected_or_stables_as_well() -> None:
    said = smoke.nonfinite(GOLDEN, answers(200, nonfinite="y"), [])
    assert said == 'output "y" holds NaN or Infinity in the answer to golden request 0'
    assert smoke.nonfinite(GOLDEN, [Answer(1, 200, 0.1, nonfinite=frozenset("y"))], []) is None
    assert smoke.nonfinite(GOLDEN, answers(200, nonfinite="y"), answers(200, nonfinite="y")) is None


def test_nan_in_answers_to_made_up_requests_is_refused_where_stable_gives_numbers_every_time() -> None:
    bad, good = answers(200, 200, 200, nonfinite="y"), answers(200, 200, 200)
    said = smoke.nonfinite(MADE_UP, bad, good)
    assert said == 'output "y" holds NaN or Infinity for every request, where stable gives numbers'
    assert smoke.nonfinite(MADE_UP, bad, []) is None, "nobody knows what is right"
    assert smoke.nonfinite(MADE_UP, [*bad[:2], good[2]], good) is None, "it may divide by a made-up zero"
    assert smoke.nonfinite(MADE_UP, bad, answers(400, 400, 400)) is None
    assert smoke.nonfinite(MADE_UP, bad, answers(200, 200, 200, nonfinite="y")) is None


def test_an_answer_must_have_the_shape_that_clients_of_stable_know() -> None:
    stable = Signature((X,), (Y,))
    got = [Answer(0, 200, 0.1, shapes=(("y", (1, 4)), ("new", (1,))))]
    said = smoke.misshapen(MADE_UP, got, stable, "1")
    assert (
        said
        == 'output "y" has shape [1,4] in the answer to a made-up request of zeros, where version 1 promises FP32 [-1,3]'
    )
    assert smoke.misshapen(MADE_UP, [Answer(0, 200, 0.1, shapes=(("y", (5, 3)),))], stable, "1") is None
    assert smoke.misshapen(MADE_UP, got, None, "1") is None


@pytest.mark.parametrize(("batch", "rows", "is_held"), [(8, 1, False), (1, 2, False), (2, 2, True), (-1, 2, True)])
def test_a_promise_holds_for_requests_that_stable_takes(batch: int, rows: int, is_held: bool) -> None:
    stable = Signature((Tensor("x", "FP32", (batch, 2)),), (Tensor("y", "FP32", (batch, 3)),))
    request = smoke.Request("golden request 1", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2]}]})
    assert smoke.misshapen([request], [Answer(0, 200, 0.1, shapes=(("y", (rows, 3)),))], stable, "1") is None
    wrong = smoke.misshapen([request], [Answer(0, 200, 0.1, shapes=(("y", (rows, 9)),))], stable, "1")
    assert (wrong is not None) is is_held


def test_what_a_pod_says_is_told_at_a_length_that_people_read() -> None:
    huge = Tensor("x" * 10**6, "F" * 10**6, tuple(range(10**5)))
    assert len(str(huge)) < 200
    got = [Answer(0, 200, 0.1, nonfinite=frozenset({huge.name}))]
    golden = [smoke.Request("golden request 1", {"inputs": []}, [{}])]
    assert len(smoke.nonfinite(golden, got, []) or "") < 200


def test_the_first_answer_to_each_request_is_not_timed() -> None:
    slow, fast = answers(200, 200, 200, took=3.0), answers(200, 200, 200, took=0.02)
    assert smoke.pace([*slow, *fast], [*slow, *fast, *fast]) == Pace(0.02, 0.02, 3)
    assert smoke.pace([*slow, *fast], [*slow, *fast[:2]]) == Pace(0.02, None, 3), "too few of stable's to compare with"
    assert smoke.pace(slow, fast) is None
    assert smoke.pace([*slow, *answers(500, 500, 500)], fast) is None


def spec_with(runtime: dict[str, Any] | None = None, **rollout: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate(
        {"model": {"uri": "s3://a/b"}, "runtime": runtime or {}, "rollout": rollout}
    )


def latency(limit: str) -> list[dict[str, Any]]:
    return [{"name": "p99", "latency": {"max": limit}}]


PACES = [
    ("as fast", spec_with(), Pace(0.004, 0.004, 3), None),
    ("nine times as slow", spec_with(), Pace(0.9, 0.1, 3), None),
    (
        "grossly slower",
        spec_with(),
        Pace(0.28, 0.002, 6),
        "the fastest of 6 requests to an idle pod took 280ms, 140 times the 2ms of version 1",
    ),
    ("many times nothing", spec_with(), Pace(0.05, 0.001, 3), None),
    ("nothing to compare with", spec_with(), Pace(9.0, None, 3), None),
    ("told to wait for more rows", spec_with({"batching": {"maxDelay": "300ms"}}), Pace(0.31, 0.002, 3), None),
    ("slower than ever, and allowed", spec_with(checks=latency("500ms")), Pace(0.28, 0.002, 3), None),
    (
        "slower than a check allows",
        spec_with(checks=latency("100ms")),
        Pace(0.28, 0.002, 3),
        "the fastest of 3 requests to an idle pod took 280ms, 140 times the 2ms of version 1",
    ),
    ("slower than a check allows, but not grossly", spec_with(checks=latency("100ms")), Pace(0.28, 0.1, 3), None),
    ("within a limit of its own", spec_with(smokeLatency="1s"), Pace(0.28, 0.002, 3), None),
    (
        "beyond a limit of its own",
        spec_with(smokeLatency="250ms"),
        Pace(0.28, 0.2, 3),
        "the fastest of 3 requests to an idle pod took 280ms, and rollout.smokeLatency allows 250ms",
    ),
    (
        "beyond it, with nothing to compare with",
        spec_with(smokeLatency="250ms"),
        Pace(0.28, None, 3),
        "the fastest of 3 requests to an idle pod took 280ms, and rollout.smokeLatency allows 250ms",
    ),
]


@pytest.mark.parametrize(("spec", "measured", "said"), [row[1:] for row in PACES], ids=[row[0] for row in PACES])
def test_how_slow_is_too_slow(spec: ModelDeploymentSpec, measured: Pace, said: str | None) -> None:
    assert smoke.too_slow(spec, measured, "1") == said
