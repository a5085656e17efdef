"""What a user who extends the application gets: the same errors as ours."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import HTTPException

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.http import create_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(DataPlane(Metrics("payments", "abc"), expected="fraud"), 1000, 1.0)

    @app.post("/mine/{number}")
    async def mine(number: int, factor: float) -> float:
        if number == 7:
            raise HTTPException(409, "seven is taken")
        if number == 8:
            raise ValueError("a secret")
        return number * factor

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/mine/x?factor=y", 400, "the request does not fit this route: path.number: Input should be a valid integer"),
        ("/mine/1", 400, "query.factor: Field required"),
        ("/mine/7?factor=2", 409, "seven is taken"),
        ("/mine/8?factor=2", 500, "internal error: ValueError"),
        ("/v2/models/fraud/infer/", 404, "there is no /v2/models/fraud/infer/ here; see /docs"),
        ("/yours", 404, "there is no /yours here; see /docs"),
    ],
)
async def test_errors_of_added_routes_have_the_same_form(
    client: httpx.AsyncClient, path: str, status: int, message: str
) -> None:
    answer = await client.post(path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "secret" not in answer.text


async def test_a_model_that_loads_is_unavailable_and_not_unknown(client: httpx.AsyncClient) -> None:
    for path in ("/v2/models/fraud", "/v2/models/fraud/ready", "/v2/models/fraud/config", "/v1/models/fraud"):
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "still loading" in answer.json()["error"]
    assert (await client.get("/v2/models/other/stats")).status_code == 404
