import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.runtime.processes import BenchError, adopt_orphans, descendants, free_ports, serve

SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_a_server_is_ended_with_what_it_left_in_other_sessions(tmp_path: Path) -> None:
    adopt_orphans()
    [port] = free_ports(1)
    before = set(descendants(os.getpid()))
    command = [sys.executable, "-c", SERVER, str(port)]
    with serve(command, dict(os.environ), tmp_path, tmp_path / "log", (port, "/")) as running:
        assert len(set(descendants(os.getpid())) - before) == 2
        assert running.processor_seconds() >= 0
    assert set(descendants(os.getpid())) <= before


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model')"]
    with (
        pytest.raises(BenchError, match=r"(?s)ended with code 1.*no model"),
        serve(command, dict(os.environ), tmp_path, tmp_path / "log", (free_ports(1)[0], "/")),
    ):
        pass


def test_descendants_are_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        deadline = time.monotonic() + 10
        while child.pid not in descendants(os.getpid()):
            assert time.monotonic() < deadline
    finally:
        child.kill()
        child.wait()
