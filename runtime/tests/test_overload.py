"""The short form of `bench.runtime_overload`: what holds on any machine, however busy it is."""

import asyncio
from pathlib import Path

import pytest

from bench.openloop import Answer, Load, percentile, post
from bench.runtime_overload import write_model
from bench.runtime_process import RuntimeProcess

WIDTH = 256
QUEUE_DELAY = 0.1
CLIENTS = 40
SECONDS = 2.0


async def flood(port: int, clients: int) -> list[Answer]:
    load = Load(port, post("/v1/models/model:predict", b'{"instances": [[%b]]}' % b",".join([b"0.5"] * WIDTH)))
    answers = await load.closed_loop(clients, SECONDS)
    load.close()
    return answers


@pytest.mark.parametrize("bound", [str(QUEUE_DELAY), "auto"])
def test_more_than_can_be_served_is_refused_at_once_and_the_rest_served(bound: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, 4000, batchable=False, width=WIDTH)
    with RuntimeProcess(path, {"HALDANE_QUEUE_DELAY": bound}) as runtime:
        alone = percentile([one.seconds for one in asyncio.run(flood(runtime.port, 1))], 0.5)
        answers = asyncio.run(flood(runtime.port, CLIENTS))
        metrics = runtime.get("/metrics")[1]
    served = [one.seconds for one in answers if one.status == 200]
    refused = [one.seconds for one in answers if one.status == 503]
    assert {one.status for one in answers} == {200, 503}
    # A queue without the bound would make every client wait for all the others.
    assert percentile(served, 0.5) < CLIENTS * alone
    assert percentile(refused, 0.5) < QUEUE_DELAY
    assert f'haldane_refused_requests_total{{model="model",model_namespace="",revision=""}} {len(refused)}.0' in metrics
