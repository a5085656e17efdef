from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import httpx
import numpy as np
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.frame import RequestFrame, mark_inference
from haldane_runtime.protocol.http import create_app

SIGNATURE = ModelSignature(
    (TensorSpec("x", Datatype.FP32, ("rows", 1)),), (TensorSpec("y", Datatype.FP32, ("rows", 1)),)
)


ALONE = BatchProfile(False, "a test runs its requests one by one", 1, {})


class FailsBelowZero:
    """Doubles its input, and fails on a negative one."""

    signature = SIGNATURE
    device = "cpu"

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        if np.any(inputs["x"] < 0):
            raise RequestError(Code.MODEL_FAILED, "the model failed")
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        pass


@pytest.fixture
async def plane() -> AsyncIterator[DataPlane]:
    plane = DataPlane(Metrics("ns", "abc123"), expected="m")
    yield plane
    plane.close(1)


async def ask(plane: DataPlane, path: str, body: str) -> httpx.Response:
    app = create_app(plane, 1 << 20, 5)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        return await http.post(path, content=body)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/predict", '{"instances": [[1]]}', 200),
        ("/v1/predict", '{"instances": [[-1]]}', 500),
        ("/v1/predict", "{", 400),
        ("/v2/models/other/infer", "{}", 404),
    ],
)
async def test_every_inference_answer_says_who_gave_it(plane: DataPlane, path: str, body: str, status: int) -> None:
    plane.add(ServedModel("m", "v7", "0" * 64, "cpu", SIGNATURE), FailsBelowZero(), ALONE)
    plane.serve()
    answer = await ask(plane, path, body)
    assert answer.status_code == status
    assert answer.headers["x-haldane-revision"] == "abc123"
    assert answer.headers["x-haldane-version"] == "v7"


async def test_what_follows_the_answer_is_not_the_clients_time(plane: DataPlane) -> None:
    now = 0.0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now
        mark_inference(scope, plane.metrics.model("m"))
        now += 0.5
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": True})
        now += 5.0
        await send({"type": "http.response.body"})

    async def ignore(_: object) -> None: ...

    await RequestFrame(app, plane, lambda: now)({"type": "http", "headers": []}, cast(Any, None), ignore)
    assert plane.metrics.model("m").duration.sum == 0.5


async def test_while_it_loads_only_the_revision_is_known(plane: DataPlane) -> None:
    answer = await ask(plane, "/v1/predict", '{"instances": [[1]]}')
    assert answer.status_code == 503
    assert answer.headers["x-haldane-revision"] == "abc123"
    assert "x-haldane-version" not in answer.headers


async def test_a_fault_of_the_server_counts_as_a_500_of_this_revision(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    plane.add(ServedModel("m", "v7", "0" * 64, "cpu", SIGNATURE), FailsBelowZero(), ALONE)
    plane.serve()
    monkeypatch.setattr(plane.find(), "infer", broken)
    answer = await ask(plane, "/v1/predict", '{"instances": [[1]]}')
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error: ZeroDivisionError"}
    assert answer.headers["x-haldane-revision"] == "abc123"
    assert 'code="500",model="m",model_namespace="ns",revision="abc123"} 1.0' in plane.metrics.exposition().decode()
