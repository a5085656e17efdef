"""The unmodified `tritonclient.http` and `tritonclient.http.aio` against the real server, by the same tests."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from runtime.tests.blocking import blocking

Sample = Callable[[str, tuple[int, ...]], Any]


@pytest.fixture
def address(server: Any) -> str:
    url: str = server.url
    return url.removeprefix("http://")


@pytest.fixture
def sync_client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        yield client


@pytest.fixture
def asyncio_client(address: str) -> Iterator[Any]:
    with blocking(lambda: triton_aio.InferenceServerClient(address)) as client:
        yield client


@pytest.fixture(params=["sync_client", "asyncio_client"])
def client(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def tensor(name: str, array: Any, datatype: str, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def several(rows: int = 2, binary: bool = True) -> list[triton.InferInput]:
    return [
        tensor("a", np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), "FP32", binary),
        tensor("b", np.arange(rows, dtype=np.int64).reshape(rows, 1), "INT64", binary),
        tensor("s", np.array([[f"é{i}".encode()] for i in range(rows)], np.object_).reshape(rows, 1), "BYTES", binary),
    ]


def same(got: Any, sent: Any) -> bool:
    return bool(got.dtype == sent.dtype and got.shape == sent.shape and (got == sent).all())


def test_every_datatype_and_shape_as_binary_data(
    client: Any, samples: Sample, datatype: str, shape: tuple[int, ...]
) -> None:
    sent = samples(datatype, shape)
    for outputs in (None, [triton.InferRequestedOutput("y", binary_data=True)]):
        answer = client.infer(f"identity_{datatype}", [tensor("x", sent, datatype)], outputs=outputs)
        assert answer.get_output("y")["datatype"] == datatype
        assert same(answer.as_numpy("y"), sent)


def test_every_datatype_and_shape_as_json(client: Any, samples: Sample, datatype: str, shape: tuple[int, ...]) -> None:
    sent = samples(datatype, shape)
    outputs = [triton.InferRequestedOutput("y", binary_data=False)]
    if datatype == "BF16":
        # The client itself refuses to send it as JSON.
        with pytest.raises(InferenceServerException, match="BF16 inputs must be sent as binary data"):
            tensor("x", sent, datatype, binary=False)
        with pytest.raises(InferenceServerException, match="JSON has no numbers for") as caught:
            client.infer("identity_BF16", [tensor("x", sent, datatype)], outputs=outputs)
        assert caught.value.status() == "400"
        return
    answer = client.infer(f"identity_{datatype}", [tensor("x", sent, datatype, binary=False)], outputs=outputs)
    got = answer.as_numpy("y")
    if datatype == "BYTES":
        # JSON's strings come as str, binary ones as bytes.
        got = np.array([text.encode() for text in got.reshape(-1)], np.object_).reshape(got.shape)
    assert same(got, sent)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_every_datatype_compressed_both_ways(client: Any, samples: Sample, datatype: str, compression: str) -> None:
    sent = samples(datatype, (50, 4))
    for binary in (True, False)[: 1 if datatype == "BF16" else 2]:
        answer = client.infer(
            f"identity_{datatype}",
            [tensor("x", sent, datatype, binary)],
            outputs=[triton.InferRequestedOutput("y", binary_data=True)],
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        assert same(answer.as_numpy("y"), sent)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("rows", [1, 2000])
def test_several_inputs_and_outputs_compressed_both_ways(
    client: Any, compression: str | None, binary: bool, rows: int
) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("echo", "sum", "twice")]
    answer = client.infer(
        "several",
        several(rows, binary),
        outputs=outputs,
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    b = np.arange(rows)[:, None]
    assert (answer.as_numpy("sum") == np.arange(rows * 2).reshape(rows, 2) + b).all()
    assert (answer.as_numpy("twice") == 2 * b).all()
    assert answer.as_numpy("echo").shape == (rows, 1)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["echo", "sum", "twice"]


def test_answers_are_really_compressed(server: Any) -> None:
    zeros = {"name": "x", "shape": [1, 1000], "datatype": "FP32", "data": [0] * 1000}
    for coding in ("gzip", "deflate"):
        answer = server.client.post(
            "/v2/models/identity_FP32/infer", json={"inputs": [zeros]}, headers={"accept-encoding": coding}
        )
        assert answer.headers["content-encoding"] == coding
        assert int(answer.headers["content-length"]) < 500
        assert answer.json()["outputs"][0]["data"] == [0] * 1000


def test_json_and_binary_data_mix_in_one_request(client: Any) -> None:
    a, b, s = several()
    b.set_data_from_numpy(np.array([[7], [8]], np.int64), binary_data=False)
    outputs = [triton.InferRequestedOutput("sum"), triton.InferRequestedOutput("twice", binary_data=False)]
    answer = client.infer("several", [s, b, a], outputs=outputs)
    assert answer.as_numpy("sum").tolist() == [[7, 8], [10, 11]]
    assert answer.get_output("twice")["data"] == [14, 16]
    assert answer.as_numpy("echo") is None


def test_a_large_tensor(client: Any) -> None:
    sent = np.random.default_rng(1).random((1500, 1000), np.float32)
    answer = client.infer("identity_FP32", [tensor("x", sent, "FP32")])
    assert same(answer.as_numpy("y"), sent)
    with pytest.raises(InferenceServerException, match="may have at most 8388608 bytes") as caught:
        client.infer("identity_FP32", [tensor("x", np.zeros((3000, 1000), np.float32), "FP32")])
    assert caught.value.status() == "413"
    assert client.is_server_ready()


def test_the_request_id_and_version_come_back(client: Any) -> None:
    x = [tensor("x", np.full((1, 3), 3, np.float32), "FP32")]
    answer = client.infer("double", x, request_id="r-7")
    assert answer.get_response()["id"] == "r-7"
    assert answer.get_response()["model_version"] == "2"
    assert answer.as_numpy("y").tolist() == [[9, 9, 9]]
    old = client.infer("double", x, model_version="1")
    assert old.get_response()["model_version"] == "1"
    assert old.as_numpy("y").tolist() == [[6, 6, 6]]


def test_parameters_and_priority_are_accepted(client: Any) -> None:
    answer = client.infer(
        "several", several(), priority=2, timeout=5_000_000, parameters={"mine": "7", "n": 1, "b": True}
    )
    assert answer.as_numpy("sum").shape == (2, 2)


def test_the_timeout_is_a_deadline(client: Any, server: Any) -> None:
    slow = [tensor("rounds", np.array([server.rounds_for(0.5, "work")]), "INT64")]
    # From a first run the server learns what such a request costs.
    client.infer("work", slow)
    with pytest.raises(
        InferenceServerException, match=r"within the 0\.05 s that the parameter 'timeout' allows"
    ) as caught:
        client.infer("work", slow, timeout=50_000)
    assert caught.value.status() == "408"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_id": 5, "sequence_start": True}, "sequences are not served"),
        ({"outputs": [triton.InferRequestedOutput("sum", class_count=2)]}, "asked for as a classification"),
        ({"outputs": [triton.InferRequestedOutput("nothing")]}, "unknown output 'nothing'; the model has 'sum'"),
        ({"model_version": "9"}, "has no version '9'"),
        ({"model_name": "nobody"}, "unknown model 'nobody'"),
    ],
)
def test_what_is_not_served_is_refused_with_a_reason(client: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(**{"model_name": "several", "inputs": several()} | arguments)
    assert caught.value.status() in ("400", "404")


def test_shared_memory_is_refused_with_a_reason(client: Any) -> None:
    x = triton.InferInput("x", [1, 3], "FP32")
    x.set_shared_memory("region", 12)
    with pytest.raises(InferenceServerException, match="lies in shared memory, which is not served"):
        client.infer("double", [x])


def test_wrong_inputs_are_told(client: Any) -> None:
    wrong = [
        ([tensor("z", np.zeros((1, 3), np.float32), "FP32")], "unknown input 'z'"),
        ([tensor("x", np.zeros((1, 3)), "FP64")], 'got datatype "FP64"'),
        ([tensor("x", np.zeros((1, 4), np.float32), "FP32")], "got shape \\[1, 4\\]"),
        ([tensor("x", np.zeros((1, 3), np.float32), "FP32")] * 2, "input 'x' is given twice"),
        ([triton.InferInput("x", [1, 3], "FP32")], "its 'data' must be a list"),
    ]
    for inputs, message in wrong:
        with pytest.raises(InferenceServerException, match=message) as caught:
            client.infer("double", inputs)
        assert caught.value.status() == "400"


def test_async_infer(sync_client: triton.InferenceServerClient) -> None:
    rows = [np.full((1, 3), number, np.float32) for number in range(20)]
    waiting = [sync_client.async_infer("double", [tensor("x", row, "FP32")], model_version="1") for row in rows]
    for row, request in zip(rows, waiting, strict=True):
        assert (request.get_result(timeout=30).as_numpy("y") == row * 2).all()


async def test_many_at_once_are_told_apart(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:

        async def one(number: int) -> None:
            row = np.full((1 + number % 3, 3), number, np.float32)
            answer = await client.infer("double", [tensor("x", row, "FP32")], model_version="1", request_id=str(number))
            assert answer.get_response()["id"] == str(number)
            assert (answer.as_numpy("y") == 2 * row).all()

        await asyncio.gather(*(one(number) for number in range(200)))


def test_bodies_made_apart_from_the_client(server: Any) -> None:
    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    body, json_size = triton.InferenceServerClient.generate_request_body([tensor("x", x, "FP32")])
    headers = {"Inference-Header-Content-Length": str(json_size)}
    answer = server.client.post("/v2/models/double/versions/1/infer", content=body, headers=headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    parsed = triton.InferenceServerClient.parse_response_body(answer.content, header_length=length)
    assert (parsed.as_numpy("y") == 2 * x).all()


def test_what_the_client_asks_about_server_and_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "haldane"
    metadata = client.get_model_metadata("several")
    assert [item["name"] for item in metadata["inputs"]] == ["a", "b", "s"]
    assert metadata["inputs"][2] == {"name": "s", "datatype": "BYTES", "shape": [-1, 1]}
    configuration = client.get_model_config("several")
    assert [item["data_type"] for item in configuration["input"]] == ["TYPE_FP32", "TYPE_INT64", "TYPE_STRING"]
    client.infer("several", several())
    (stats,) = client.get_inference_statistics("several")["model_stats"]
    assert stats["inference_stats"]["success"]["count"] >= 1
    assert {item["name"] for item in client.get_inference_statistics()["model_stats"]} >= {"several", "double", "work"}
    index = client.get_model_repository_index()
    assert {item["name"] for item in index} >= {"several", "double"}
