import json
from typing import Any

import numpy as np
import pytest

from e2e.harness.prediction import Answer, read_answer, request_body

GOOD = {"model_version": "v1", "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}]}


def test_a_request_is_one_row_of_the_open_inference_protocol() -> None:
    body = json.loads(request_body(np.arange(64, dtype=np.float32)))
    (tensor,) = body["inputs"]
    assert tensor == {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": list(range(64))}
    assert body["outputs"] == [{"name": "label"}]


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {"x-haldane-version": "v2"}, json.dumps(GOOD), Answer("v2", label=7)),
        (200, {}, json.dumps(GOOD), Answer("v1", label=7)),
        (500, {"x-haldane-version": "v4"}, '{"error": "it broke"}', Answer("v4", failure='500: {"error": "it broke"}')),
        (503, {}, "no available server\n", Answer(None, failure="503: no available server")),
        (404, {}, "x" * 999, Answer(None, failure="404: " + "x" * 160)),
    ],
)
def test_an_answer_names_its_version_or_why_it_is_none(status: int, headers: Any, body: str, expected: Answer) -> None:
    assert read_answer(status, headers, body.encode()) == expected


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"outputs": []}', '{"outputs": [{"name": "label", "data": [1, 2]}]}']
)
def test_a_200_without_a_label_is_a_failure_of_who_sent_it(body: str) -> None:
    answer = read_answer(200, {"x-haldane-version": "v3"}, body.encode())
    assert answer.version == "v3"
    assert answer.label is None
    assert (answer.failure or "").startswith("200 without a label")
