"""Processes that are killed while they download, and several that fill one cache at once."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MEBIBYTE = 1 << 20
WAIT_SECONDS = 30.0

FETCH = """
import sys
from pathlib import Path
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse
print(fetch(parse(sys.argv[1]), None, Path(sys.argv[2]), S3Options(sys.argv[3], None)).digest)
"""


def blocks(cache: Path) -> int:
    """Whole blocks that the journal of the one download under way names."""
    return sum(journal.read_bytes().count(b" ") // 2 for journal in cache.glob("partial/*/journal"))


def length(header: str) -> int:
    start, end = header.removeprefix("bytes=").split("-")
    return int(end) - int(start) + 1


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_kill_during_a_download_loses_only_the_blocks_under_way(
    storage: Any,
    heavy: Callable[[int], Path],
    start: Callable[..., Any],
    faulty: Any,
    fault: Any,
    tmp_path: Path,
    damaged: bool,
) -> None:
    content = heavy(30 * MEBIBYTE).read_bytes()
    uri = storage.put(f"killed{damaged}/model.onnx", content)
    stalled = [True]
    # Each of the four ranges brings three blocks and a part of the next.
    proxy = faulty(
        storage.port,
        lambda number, head: (
            fault(stall_after=3 * MEBIBYTE + 1000) if stalled[0] and "range:" in head.lower() else None
        ),
    )
    cache = tmp_path / "cache"
    environment = storage.environment() | {
        "HALDANE_S3_ENDPOINT": proxy.url,
        "HALDANE_CACHE_DIR": str(cache),
        "HALDANE_MODEL_SHA256": hashlib.sha256(content).hexdigest(),
    }
    killed = start(uri, **environment).listening()
    until(lambda: blocks(cache) >= 4 * 3)
    killed.process.kill()
    killed.process.wait(WAIT_SECONDS)
    stalled[0] = False
    proxy.released.set()
    if damaged:
        (data,) = cache.glob("partial/*/model/model.onnx")
        with data.open("r+b") as file:
            file.seek(MEBIBYTE + 5)
            file.write(b"damage")
    asked = len(proxy.ranges)
    server = start(uri, **environment).ready()
    assert server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]}).json()["predictions"] == [[2, 4, 6]]
    fetched = sum(length(header) for header in proxy.ranges[asked:])
    assert fetched == len(content) - (11 if damaged else 12) * MEBIBYTE
    assert list((cache / "partial").iterdir()) == []
    # The third start finds it in the cache and asks nobody.
    asked = len(proxy.heads)
    start(uri, **environment).ready()
    assert len(proxy.heads) == asked


def test_kills_at_any_moment_end_in_a_whole_model(storage: Any, faulty: Any, fault: Any, tmp_path: Path) -> None:
    files = {"model.onnx": os.urandom(9 * MEBIBYTE), "weights/a": os.urandom(5 * MEBIBYTE + 7), "weights/b": b"b"}
    for name, content in files.items():
        storage.put(f"often/{name}", content)
    proxy = faulty(storage.port, lambda number, head: fault(rate=4_000_000))
    cache = tmp_path / "cache"

    def gone_on(process: subprocess.Popen[str], number: int) -> bool:
        return blocks(cache) >= number or process.poll() is not None

    for _ in range(4):
        process = _fetch("s3://models/often/", cache, proxy.url, storage)
        until(functools.partial(gone_on, process, blocks(cache) + 2))
        process.kill()
        process.wait(WAIT_SECONDS)
    last = _fetch("s3://models/often/", cache, storage.url, storage)
    digest = last.communicate(timeout=WAIT_SECONDS)[0].strip()
    folder = cache / "folder" / digest
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == files
    assert list((cache / "partial").iterdir()) == []


def test_processes_that_fill_one_cache_at_once_all_get_the_model(storage: Any, tmp_path: Path) -> None:
    content = os.urandom(20 * MEBIBYTE)
    uri = storage.put("shared/model.onnx", content)
    cache = tmp_path / "cache"
    processes = [_fetch(uri, cache, storage.url, storage) for _ in range(4)]
    digest = hashlib.sha256(content).hexdigest()
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [digest] * 4
    assert [path.name for path in (cache / "file").iterdir()] == [digest]
    assert (cache / "file" / digest / "model.onnx").read_bytes() == content
    assert list((cache / "partial").iterdir()) == []
    (note,) = (cache / "source").iterdir()
    assert json.loads(note.read_text())["digest"] == digest


def _fetch(uri: str, cache: Path, endpoint: str, storage: Any) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HALDANE_", "AWS_"))}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, uri, str(cache), endpoint],
        env=own | storage.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
