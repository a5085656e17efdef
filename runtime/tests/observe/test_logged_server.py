"""The request log of the real server: who is told of, on the hot path and on the general one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

DEADLINE = 20.0
URL = "/v2/models/model/infer"
QUESTION = {"id": "q1", "inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}]}


class Logged:
    """A server whose standard output is a file."""

    def __init__(self, folder: Path, model: Path, share: str) -> None:
        self.output = folder / "stdout"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("HALDANE_", "OTEL_"))}
        given = {
            "HALDANE_MODEL_URI": f"file://{model}",
            "HALDANE_REQUEST_LOG": share,
            "HALDANE_REVISION": "r1",
            "HALDANE_GRPC_PORT": "0",
            "HALDANE_DRAIN_SECONDS": "0",
            "HALDANE_CACHE_DIR": str(folder / "cache"),
            "HALDANE_TERMINATION_LOG": str(folder / "termination"),
        }
        with self.output.open("w") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haldane_runtime.server", "serve", "--host", "127.0.0.1", "--port", "0"],
                env=own | given,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert self.process.stderr is not None
        port = next(line.split("port ")[1].split(",")[0] for line in self.process.stderr if "listening on port" in line)
        next(line for line in self.process.stderr if " ready " in line)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Accept-Encoding": "identity"})

    def lines(self, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + DEADLINE
        while True:
            lines = [json.loads(line) for line in self.output.read_text().splitlines()]
            if len(lines) >= count or time.monotonic() > end:
                return lines
            time.sleep(0.05)

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(DEADLINE)


@pytest.fixture
def logged(tmp_path: Path, models: Any) -> Iterator[Logged]:
    server = Logged(tmp_path, models.double(), "1")
    yield server
    server.stop()


def test_every_prediction_has_a_line_with_its_times(logged: Logged) -> None:
    assert logged.client.post(URL, json=QUESTION).status_code == 200
    chunked = logged.client.post(URL, content=iter([json.dumps(QUESTION).encode()]))
    assert chunked.status_code == 200
    refused = logged.client.post(URL, content=b"{")
    assert refused.status_code == 400
    assert logged.client.get("/v2").status_code == 200
    first, second, broken = logged.lines(3)
    for line in (first, second):
        assert (line["id"], line["code"], line["outcome"], line["rows"]) == ("q1", 200, "ok", 2)
        assert (line["model"], line["revision"]) == ("model", "r1")
        assert all(milliseconds >= 0 for milliseconds in line["milliseconds"].values())
        assert line["milliseconds"]["infer"] > 0
    assert first["input"] == second["input"]
    assert (broken["code"], broken["rows"]) == (400, 0)
    assert broken["id"] == refused.headers["x-request-id"] != ""
    assert "not valid JSON" in broken["outcome"]
    logged.stop()
    assert len(logged.lines(0)) == 3


def test_a_share_is_a_share_and_the_others_stay_on_the_hot_path(tmp_path: Path, models: Any) -> None:
    server = Logged(tmp_path, models.double(), "0.2")
    for _ in range(400):
        assert server.client.post(URL, json=QUESTION).status_code == 200
    server.stop()
    # Binomial with 400 and 0.2: outside of this once in a million.
    assert 40 < len(server.lines(0)) < 125
