"""Routes and middleware of a user's own in the real server, and what their function may do wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Request

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Datatype, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.extension import extension_of, infer
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.http import create_app

ROUTES = """
from fastapi import FastAPI, Request
from pydantic import BaseModel

from haldane_runtime.extension import infer


class Customer(BaseModel):
    age: float
    income: float


def extend(app: FastAPI) -> None:
    @app.post("/score")
    async def score(request: Request, customer: Customer) -> dict[str, float]:
        outputs = await infer(request, {"x": [[customer.age, customer.income, 1]]})
        return {"score": float(outputs["y"].sum())}
"""
GUARD = """
from fastapi import Request, Response


def extend(app):
    @app.middleware("http")
    async def guard(request: Request, go_on):
        if request.url.path.startswith("/v") and request.headers.get("x-key") != "open":
            return Response("no", 401)
        return await go_on(request)
"""


def test_an_added_route_asks_the_model_and_counts_as_a_prediction(
    start: Callable[..., Any], models: Any, tmp_path: Path
) -> None:
    (tmp_path / "scoring.py").write_text(ROUTES)
    uri = f"file://{models.double()}"
    environment = {"PYTHONPATH": str(tmp_path), "HALDANE_EXTENSION": "scoring:extend", "HALDANE_REVISION": "abc"}
    server = start(uri, **environment).ready()
    answer = server.client.post("/score", json={"age": 40, "income": 2})
    assert (answer.status_code, answer.json()) == (200, {"score": 86.0})
    assert answer.headers["x-haldane-revision"] == "abc"
    assert server.metric("haldane_requests_total", code="200") == 1
    assert server.metric("haldane_batch_rows_count") == 1
    wrong = server.client.post("/score", json={"age": "old"})
    assert wrong.status_code == 400
    assert "body.income: Field required" in wrong.json()["error"]
    assert "/score" in server.client.get("/openapi.json").json()["paths"]
    assert server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]}).json()["predictions"] == [[2, 4, 6]]


def test_middleware_sees_every_prediction(start: Callable[..., Any], models: Any, tmp_path: Path) -> None:
    (tmp_path / "guarding.py").write_text(GUARD)
    environment = {"PYTHONPATH": str(tmp_path), "HALDANE_EXTENSION": "guarding:extend"}
    server = start(f"file://{models.double()}", **environment).ready()

    def predict(**headers: str) -> httpx.Response:
        answer: httpx.Response = server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]}, headers=headers)
        return answer

    assert [predict().status_code for _ in range(2)] == [401, 401]
    assert predict(**{"x-key": "open"}).json()["predictions"] == [[2, 4, 6]]
    assert predict().status_code == 401
    assert server.client.get("/ready").status_code == 200


def test_a_start_ends_when_the_extension_cannot_be_had(start: Callable[..., Any], models: Any, tmp_path: Path) -> None:
    (tmp_path / "guarding.py").write_text(GUARD)
    uri, path = f"file://{models.double()}", {"PYTHONPATH": str(tmp_path)}
    absent = start(uri, HALDANE_EXTENSION="absent_routes:extend", **path)
    passed_by = start(uri, HALDANE_EXTENSION="guarding:extend", HALDANE_FRONTS="1", **path)
    assert (absent.ended(), passed_by.ended()) == (10, 10)
    assert "InvalidConfiguration" in absent.log[-1]
    assert "HALDANE_EXTENSION is absent_routes:extend, but there is no module 'absent_routes'" in absent.log[-1]
    assert "adds middleware, which HALDANE_FRONTS would pass by" in passed_by.log[-1]


def plane() -> DataPlane:
    return DataPlane(Metrics("payments", "abc"), expected="fraud")


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("without", "", "the module has no function 'extend'"),
        ("number", "extend = 3", "the module has no function 'extend'"),
        ("late", "async def extend(app): ...", "'extend' must be an ordinary function, not an async one"),
        ("broken", "def extend(", "it failed with SyntaxError: "),
        ("needy", "import nothing_of_the_kind", "it failed with ModuleNotFoundError: No module named 'nothing_of_"),
        ("failing", "def extend(app): raise ValueError('a wrong key.')", "it failed with ValueError: a wrong key."),
        ("greedy", "def extend(): ...", "it failed with TypeError: extend() takes 0 positional arguments"),
    ],
)
def test_what_is_wrong_with_an_extension_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, text: str, why: str
) -> None:
    (tmp_path / f"ext_{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError) as caught:
        create_app(plane(), 1000, 1.0, extend=extension_of(f"ext_{module}:extend"))
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert caught.value.message.startswith(f"HALDANE_EXTENSION is ext_{module}:extend, but {why}")
    assert caught.value.message.endswith(".")


def test_a_package_that_is_there_without_its_module_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ext_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=r"there is no module 'ext_package\.routes'; put its folder into PYTHONPATH"):
        extension_of("ext_package.routes:extend")


SPECS = {"f": Datatype.FP32, "i": Datatype.INT8, "b": Datatype.BOOL, "s": Datatype.BYTES}


class Echo:
    """Answers with its inputs."""

    signature = ModelSignature(*2 * (tuple(TensorSpec(name, kind, ("N", 1)) for name, kind in SPECS.items()),))
    device = "cpu"

    def run(self, inputs: Any, outputs: Any) -> Any:
        return {name: inputs[name] for name in outputs}

    def close(self) -> None: ...


GOOD = {"f": [[1]], "i": [[2]], "b": [[True]], "s": [["text"]]}


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({}, 200, ""),
        ({"f": np.array([[1]], np.float64), "i": np.array([[127]], np.uint8)}, 200, ""),
        ({"f": [["1"]]}, 400, "input 'f' expects FP32 of shape [-1, 1], got an array of <U1"),
        ({"f": [[1], [2, 3]]}, 400, "input 'f' is not an array"),
        ({"f": [1]}, 400, "input 'f' expects FP32 of shape [-1, 1], got shape [1]"),
        ({"i": [[1.5]]}, 400, "got an array of float64"),
        ({"i": [[128]]}, 400, "input 'i' holds a value outside the range of INT8"),
        ({"b": [[1]]}, 400, "input 'b' expects BOOL"),
        ({"s": [[b"bytes"]]}, 400, "input 's' expects BYTES"),
        ({"s": [["a"], ["b"]]}, 400, "must have the same size in dimension 'N'"),
        ({"x": [[1]]}, 400, "the model has no input 'x'"),
        ({"f": None}, 400, "'f'"),
    ],
)
async def test_inputs_of_a_route_are_held_against_the_model(change: dict[str, Any], status: int, message: str) -> None:
    inputs = {name: value for name, value in (GOOD | change).items() if value is not None}
    answer = await asked(lambda request: infer(request, inputs))
    assert answer.status_code == status, answer.text
    assert message in answer.text
    if status == 200:
        assert answer.json() == ["b", "f", "i", "s"]


async def test_a_route_may_ask_for_some_outputs_and_for_a_model_by_name() -> None:
    assert (await asked(lambda request: infer(request, GOOD, ["s", "s"], "m", "7"))).json() == ["s"]
    assert (await asked(lambda request: infer(request, GOOD, ["z"]))).status_code == 400
    assert (await asked(lambda request: infer(request, GOOD, model="other"))).status_code == 404
    assert (await asked(lambda request: infer(request, GOOD, version="8"))).status_code == 404


async def asked(ask: Callable[[Request], Any]) -> httpx.Response:
    """The names of the outputs that a route gets."""
    served = DataPlane(Metrics("payments", "abc"), expected="m")
    model = ServedModel("m", "7", "0" * 64, "cpu", Echo.signature)
    served.add(model, Echo(), BatchProfile(False, "", 1, {}))
    served.serve()

    def extend(app: FastAPI) -> None:
        @app.get("/mine")
        async def mine(request: Request) -> list[str]:
            return sorted(await ask(request))

    app = create_app(served, 1000, 10.0, extend=extend)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/mine")
    served.close(1.0)
    return answer
