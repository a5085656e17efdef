"""What people type."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SECONDS = 60
BODY = '{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}'

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="there is no curl on this machine: install the package curl to run these tests"
)


def curl(*arguments: str) -> bytes:
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(SECONDS), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout


def test_a_first_prediction(server: Any) -> None:
    answer = json.loads(curl(f"{server.url}/v1/models/double:predict", "-d", '{"instances": [[1, 2, 3]]}'))
    assert answer["predictions"] == [[1, 4, 9]]
    answer = json.loads(curl(f"{server.url}/v2/models/double/versions/1/infer", "-d", BODY))
    assert answer["outputs"][0]["data"] == [2, 4, 6]


@pytest.mark.parametrize(
    "options",
    [
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Content-Type: application/json"],
        ["-H", "Content-Type:"],
        ["-H", "Expect: 100-continue"],
        ["--http1.0"],
        ["--http2"],
        ["--compressed"],
        ["-H", "Connection: close"],
    ],
    ids=" ".join,
)
def test_however_the_body_is_carried(server: Any, options: list[str]) -> None:
    answer = json.loads(curl(f"{server.url}/v2/models/double/infer", "--data-binary", BODY, *options))
    assert answer["outputs"][0]["data"] == [1, 4, 9]


def test_a_file_that_gzip_made(server: Any, tmp_path: Path) -> None:
    body = tmp_path / "body.json.gz"
    body.write_bytes(gzip.compress(BODY.encode()))
    url = f"{server.url}/v2/models/double/infer"
    answer = json.loads(curl(url, "--data-binary", f"@{body}", "-H", "Content-Encoding: gzip"))
    assert answer["outputs"][0]["data"] == [1, 4, 9]


def test_a_file_of_numbers_and_nothing_else(server: Any, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.bin"
    np.arange(6, dtype="<f4").tofile(numbers)
    answer, head = tmp_path / "answer", tmp_path / "head"
    curl(
        f"{server.url}/v2/models/double/infer",
        *("--data-binary", f"@{numbers}", "-H", "Content-Type: application/octet-stream"),
        *("-H", "Inference-Header-Content-Length: 0", "-o", str(answer), "-D", str(head)),
    )
    headers = dict(line.split(": ") for line in head.read_text().lower().splitlines() if ": " in line)
    length = int(headers["inference-header-content-length"])
    assert headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.read_bytes()[:length])["outputs"][0]["shape"] == [2, 3]
    assert np.frombuffer(answer.read_bytes()[length:], "<f4").tolist() == [0, 1, 4, 9, 16, 25]


def test_a_large_body_waits_for_continue(server: Any, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    rows = np.zeros((100_000, 3)).tolist()
    body.write_text(json.dumps({"inputs": [{"name": "x", "shape": [100_000, 3], "datatype": "FP32", "data": rows}]}))
    assert body.stat().st_size > 1 << 20
    answer = json.loads(curl(f"{server.url}/v2/models/double/infer", "--data-binary", f"@{body}"))
    assert answer["outputs"][0]["shape"] == [100_000, 3]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-d", "{"], "400", "not valid JSON"),
        (["-d", "@/dev/null"], "400", "the request body is empty"),
        (["-X", "DELETE"], "405", "DELETE is not allowed here"),
        (["-d", BODY, "-H", "Content-Encoding: br"], "415", "'br' is not served here"),
    ],
)
def test_errors_read_like_sentences(server: Any, arguments: list[str], status: str, words: str) -> None:
    answer = curl(f"{server.url}/v2/models/double/infer", *arguments, "-w", "\n%{http_code}").decode()
    document, code = answer.rsplit("\n", 1)
    assert code == status
    assert words in json.loads(document)["error"]
