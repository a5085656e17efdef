"""Runs the tests of the load generator, which is written in Go, and holds it against a server that stalls."""

import http.server
import json
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.runtime import tools
from bench.runtime.payloads import Request

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go on this machine")


def test_the_go_program() -> None:
    done = subprocess.run(["go", "test", "./..."], cwd=tools.HERE / "load", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Stalling(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet an answer: two would meet the delayed acknowledgement of TCP, 40 ms.
    wbufsize = -1
    stall = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.stall.is_set():
            self.stall.set()
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Not on the terminal of the tests."""


@pytest.fixture
def address() -> Iterator[str]:
    Stalling.stall.clear()
    server = http.server.HTTPServer(("127.0.0.1", 0), Stalling)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stall_counts_for_every_request_that_was_due_in_it(address: str, tmp_path: Path) -> None:
    request = Request("/", {}, b"{}").encode(address)
    (tmp_path / "requests").write_bytes(struct.pack("<I", len(request)) + request)
    command = [str(tools.load_generator()), "http", "-address", address, "-requests", str(tmp_path / "requests")]
    command += ["-connections", "1", "-rate", "100", "-seconds", "1"]
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert seen["requests"] == 100
    assert seen["errors"] == {}
    # The first request takes half a second; of the 49 that became due meanwhile each waited for the rest of it.
    assert seen["latency"]["p90"] > 0.3
