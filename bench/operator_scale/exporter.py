"""Stands for the runtimes of a thousand models: one page of their metrics, with counters that rise by the clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from haldane.plan.queries import BOUNDS, DURATION_BUCKET, REQUESTS

CODES = ("200", "400", "500", "503", "504")
MEDIAN, SPREAD = 0.020, 0.5
"""Of the log-normal latency, in seconds."""
ERRORS, BROKEN = 0.01, 0.5
"""Shares of the requests that fail: ever, and from when a model breaks on."""


class Exporter:
    """Serves `/metrics` on 127.0.0.1 until `end()`."""

    def __init__(self, series: Iterable[tuple[str, str, str, float]]) -> None:
        """`series` are (namespace, model, revision, requests a second)."""
        self._since = time.time()
        self._broken: dict[tuple[str, str], float] = {}
        self._series = [
            (namespace, model, revision, rate, f'model="{model}",model_namespace="{namespace}",revision="{revision}"')
            for namespace, model, revision, rate in series
        ]
        z = [math.log(bound / MEDIAN) / SPREAD for bound in BOUNDS]
        self._below = [*((f"{b:g}", 0.5 * math.erfc(-s / math.sqrt(2.0))) for b, s in zip(BOUNDS, z, strict=True))]
        self._below.append(("+Inf", 1.0))
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                page = exporter.page(time.time()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def break_model(self, model: str, revision: str) -> None:
        """From now on half of its answers are errors."""
        self._broken[model, revision] = time.time()

    def page(self, now: float) -> str:
        """Every counter as it is at a time, in seconds since the epoch."""
        lines = []
        for _, model, revision, rate, labels in self._series:
            total = rate * (now - self._since)
            errors = ERRORS * total
            if began := self._broken.get((model, revision)):
                errors += (BROKEN - ERRORS) * rate * (now - began)
            counts = {"200": total - errors, "500": errors}
            lines += [f'{REQUESTS}{{{labels},code="{code}"}} {counts.get(code, 0.0):.0f}' for code in CODES]
            lines += [f'{DURATION_BUCKET}{{{labels},le="{le}"}} {total * below:.0f}' for le, below in self._below]
        return "\n".join(lines) + "\n"

    def end(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
