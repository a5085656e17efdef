import json

import numpy as np
import pytest

from bench.runtime import protobuf
from bench.runtime.models import Model
from bench.runtime.payloads import Form, differs, grpc_request, http_answer, http_request

ROW = np.array([[0.5, -1.25, 3.0]], np.float32)
RIGHT = {"label": np.array([1]), "probabilities": np.array([[0.25, 0.75]], np.float32)}


def test_json_request_holds_the_row(model: Model) -> None:
    body = json.loads(http_request(Form.OIP_JSON, "/v2", model, ROW).body)
    assert body == {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3.0]}]}


def test_binary_request_says_where_its_json_ends(model: Model) -> None:
    request = http_request(Form.OIP_BINARY, "/v2", model, ROW)
    size = int(request.headers["Inference-Header-Content-Length"])
    head, data = json.loads(request.body[:size]), request.body[size:]
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 12}
    assert np.frombuffer(data, "<f4").tolist() == ROW.ravel().tolist()


def test_encoded_request_is_whole(model: Model) -> None:
    request = http_request(Form.INSTANCES, "/predict", model, ROW)
    head, _, body = request.encode("127.0.0.1:1").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_binary_answer_is_cut_into_its_outputs(model: Model) -> None:
    tensors = [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
    ]
    head = json.dumps({"outputs": tensors}).encode()
    body = head + np.array([0.25, 0.75], "<f4").tobytes()
    answer = http_answer(Form.OIP_BINARY, model, {"inference-header-content-length": str(len(head))}, body)
    assert differs(RIGHT, answer) == ""


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: [row]])
def test_instances_answer_is_one_object_or_one_a_row(model: Model, wrap: object) -> None:
    assert callable(wrap)
    body = json.dumps(wrap({"label": [1], "probabilities": [[0.25, 0.75]]})).encode()
    assert differs(RIGHT, http_answer(Form.INSTANCES, model, {}, body)) == ""


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"label": np.array([1])}, "the output probabilities is missing"),
        ({"label": np.array([0]), "probabilities": RIGHT["probabilities"]}, "the output label differs"),
        ({"label": np.array([1, 1]), "probabilities": RIGHT["probabilities"]}, "2 values instead of 1"),
    ],
)
def test_wrong_answers_are_named(answer: dict[str, np.ndarray], wrong: str) -> None:
    assert wrong in differs(RIGHT, answer)


def test_raw_answers_hold_the_first_output_alone() -> None:
    assert differs(RIGHT, {"label": np.array([1])}, outputs=1) == ""


def test_grpc_request_has_the_tensor_in_its_last_field(model: Model) -> None:
    message = grpc_request("tiny", model, ROW)
    assert message.startswith(b"\x0a\x04tiny")
    assert message.endswith(b"\x3a\x0c" + ROW.tobytes())


def test_grpc_answer_from_raw_contents() -> None:
    tensor = b"\x0a\x01y\x12\x04FP32\x1a\x02\x01\x02"
    message = b"\x2a" + bytes([len(tensor)]) + tensor + b"\x32\x08" + np.array([1, 2], "<f4").tobytes()
    assert protobuf.infer_response(message)["y"].tolist() == [[1, 2]]


def test_grpc_answer_from_typed_contents() -> None:
    contents = b"\x1a\x02\x05\x07"
    tensor = b"\x0a\x01y\x12\x05INT64\x1a\x01\x02\x2a" + bytes([len(contents)]) + contents
    assert protobuf.infer_response(b"\x2a" + bytes([len(tensor)]) + tensor)["y"].tolist() == [5, 7]


def test_frames_come_apart_again() -> None:
    messages = [b"one", b"", b"three" * 100]
    assert protobuf.unframe(protobuf.frames(messages)) == messages
