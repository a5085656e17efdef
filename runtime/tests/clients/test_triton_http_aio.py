"""The unmodified `tritonclient.http.aio` against the real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import tritonclient.http.aio as triton
from tritonclient.utils import InferenceServerException

Sample = Callable[[str, tuple[int, ...]], Any]


@pytest.fixture
async def client(server: Any) -> AsyncIterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    await client.close()


def tensor(name: str, array: Any, datatype: str, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
async def test_every_datatype(
    client: triton.InferenceServerClient, samples: Sample, datatype: str, compression: str | None
) -> None:
    sent = samples(datatype, (50, 4))
    for binary in (True, False)[: 1 if datatype == "BF16" else 2]:
        answer = await client.infer(
            f"identity_{datatype}",
            [tensor("x", sent, datatype, binary)],
            outputs=[triton.InferRequestedOutput("y", binary_data=True)],
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        got = answer.as_numpy("y")
        assert got.dtype == sent.dtype
        assert (got == sent).all()


async def test_many_at_once_are_told_apart(client: triton.InferenceServerClient) -> None:
    async def one(number: int) -> None:
        row = np.full((1 + number % 3, 3), number, np.float32)
        answer = await client.infer("double", [tensor("x", row, "FP32")], model_version="1", request_id=str(number))
        assert answer.get_response()["id"] == str(number)
        assert (answer.as_numpy("y") == 2 * row).all()

    await asyncio.gather(*(one(number) for number in range(200)))


async def test_errors_and_the_timeout(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="unknown model 'nobody'") as caught:
        await client.infer("nobody", [tensor("x", np.zeros(3, np.float32), "FP32")])
    assert caught.value.status() == "404"
    # From a first run the server learns what such a request costs.
    await client.infer("work", [tensor("rounds", np.array([20_000]), "INT64")])
    with pytest.raises(InferenceServerException, match=r"0\.05 s that the parameter 'timeout' allows"):
        await client.infer("work", [tensor("rounds", np.array([20_000]), "INT64")], timeout=50_000)


async def test_what_the_client_asks_about_server_and_model(client: triton.InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("double", "2")
    assert (await client.get_server_metadata())["name"] == "haldane"
    assert (await client.get_model_metadata("double"))["versions"] == ["1", "2"]
    assert (await client.get_model_config("work"))["max_batch_size"] == 0
    assert (await client.get_inference_statistics("double"))["model_stats"]
    assert await client.get_model_repository_index()
