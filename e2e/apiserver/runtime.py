"""A stand-in for the runtime in a pod: it tells a signature and answers every request alike."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Body = dict[str, Any]


def own_address() -> str:
    """An address of this machine that is not the loopback's: the API server connects pods with no such one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses the interface
        except OSError:
            pytest.skip("this machine has no address but the loopback's, which the API server does not connect to")
        return str(one.getsockname()[0])


class RuntimeStandIn:
    """Serves a model with so many classes; `asked` are the requests that came. `end()` closes its port."""

    def __init__(self, classes: int = 10) -> None:
        self.classes = classes
        self.asked: list[str] = []
        self.code = 200
        """What it answers everything with."""
        self.value: float | None = 0.1
        """What stands in every answer; None is NaN in the protocol."""
        self.address = own_address()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(stand_in.metadata())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(stand_in.answer())

            def _answer(self, body: Body) -> None:
                stand_in.asked.append(f"{self.command} {self.path}")
                data = json.dumps(body if stand_in.code == 200 else {"error": "it does not"}).encode()
                self.send_response(stand_in.code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((self.address, 0), Handler)
        self.port = int(self._server.server_port)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def metadata(self) -> Body:
        tensors = [("x", [-1, 4]), ("y", [-1, self.classes])]
        inputs, outputs = ([{"name": name, "datatype": "FP32", "shape": shape}] for name, shape in tensors)
        return {"name": "fraud", "versions": [], "platform": "", "inputs": inputs, "outputs": outputs}

    def answer(self) -> Body:
        data = [self.value] * self.classes
        return {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, self.classes], "data": data}]}
