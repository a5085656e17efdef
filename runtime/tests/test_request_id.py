"""An error says whose it is as an answer does: by the request's id, the same as in the log."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.types import ServedModel
from haldane_runtime.core.watch import Watch
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.headers import id_value
from haldane_runtime.protocol.http import create_app
from haldane_runtime.scheduling.policy import Limits
from runtime.tests.inprocess import LATER, SIGNATURE, Doubling, infer, read, serving

URL = "/v2/models/m/infer"
WRONG = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": ["one"]}


class Told:
    """As a Watch that is told of everything."""

    def __init__(self) -> None:
        self.predictions: list[Any] = []

    def wants(self) -> bool:
        return True

    def tell(self, prediction: Any) -> None:
        self.predictions.append(prediction)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def client(told: Told) -> AsyncIterator[httpx.AsyncClient]:
    plane = DataPlane(Metrics("ns", "abc"), Limits(), "m", watch=cast(Watch, told))
    plane.add(ServedModel("m", "7", "0" * 64, "cpu", SIGNATURE), Doubling(), BatchProfile(True, "", 64, {}))
    plane.serve()
    app = create_app(plane, 1000, LATER)

    @app.get("/fault")
    async def fault() -> None:
        raise ValueError

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
    plane.close(LATER)


@pytest.mark.parametrize(
    ("document", "headers", "request_id"),
    [
        ({"id": "body", "inputs": [WRONG]}, {}, "body"),
        ({"id": "body", "inputs": [WRONG]}, {"x-request-id": "header"}, "body"),
        ({"id": "body", "inputs": []}, {"x-request-id": "header"}, "body"),
        ({"id": "body", "inputs": [WRONG | {"data": [float("nan")]}]}, {}, "body"),
        ({"inputs": [WRONG]}, {"x-request-id": "header"}, "header"),
        ({"id": 7, "inputs": [WRONG]}, {"x-request-id": "header"}, "header"),
        ({"id": "a\r\nb: c", "inputs": [WRONG]}, {}, "a%0D%0Ab: c"),
    ],
)
async def test_an_error_has_the_id_that_was_given(
    client: httpx.AsyncClient, told: Told, document: Any, headers: dict[str, str], request_id: str
) -> None:
    answer = await client.post(URL, content=json.dumps(document).encode(), headers=headers)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.headers.get_list("x-request-id") == [request_id]
    (prediction,) = told.predictions
    assert id_value(prediction.id) == request_id.encode()


@pytest.mark.parametrize("path", [URL, "/v2/models/other/infer", "/v1/predict", "/v1/models/other:predict"])
async def test_an_error_without_an_id_is_given_one_that_is_in_the_log(
    client: httpx.AsyncClient, told: Told, path: str
) -> None:
    ids = [(await client.post(path, content=b"{")).headers["x-request-id"] for _ in range(2)]
    assert [prediction.id for prediction in told.predictions] == ids
    assert len(set(ids)) == 2


async def test_errors_of_other_routes_repeat_the_id(client: httpx.AsyncClient) -> None:
    for path, status in (("/nowhere", 404), ("/fault", 500), ("/v2/models/other", 404)):
        answer = await client.get(path, headers={"X-Request-ID": "mine"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine")
        assert "x-request-id" not in (await client.get(path)).headers


async def test_an_error_of_the_hot_path_has_its_id() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        for line, request_id in (("X-Request-ID: a", "a"), ("X-Request-ID: b", "b")):
            writer.write(infer(-1, line))
            answer = await read(reader)
            assert (answer.status, answer.headers["x-request-id"]) == (500, request_id)
        given = infer(-1).replace(b'{"inputs"', b'{"id": "own", "inputs"')
        length = len(given.partition(b"\r\n\r\n")[2])
        writer.write(given.replace(b"Content-Length: %d" % (length - 13), b"Content-Length: %d" % length))
        assert (await read(reader)).headers["x-request-id"] == "own"
        writer.write(infer(-1) + infer(-1))
        first, second = await read(reader), await read(reader)
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        writer.write(infer(1, "X-Request-ID: c"))
        answer = await read(reader)
        assert (answer.status, answer.document["id"]) == (200, "c")
        # What every request has of its own is not kept for the next.
        assert len(server.route._openings) == 2
        writer.close()


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("order-7 (%2)", b"order-7 (%2)"),
        ("ä\n", b"%C3%A4%0A"),
        ("\ud800", b"?"),
        ("x" * 1000, b"x" * 256),
    ],
)
def test_an_id_as_a_header_can_carry_it(given: str, value: bytes) -> None:
    assert id_value(given) == value
