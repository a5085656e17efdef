"""A stand-in for Prometheus: an HTTP server that answers instant queries from rates that a test sets."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BUCKETS = ("0.01", "0.05", "0.1", "0.25", "+Inf")

# One object's own query, each part of a query for several objects, or each of what a user's check asks.
_INCREASE = re.compile(r'increase\((\w+)\{([^}]*)\}\[(\d+)s\][^)]*\)\)(?:\)?,"(leg|haldane_part)","([^"]*)")?')
_LABEL = re.compile(r'(\w+)=~?"([^"]*)"')

Series = dict[str, Any]


@dataclass
class Traffic:
    """What Prometheus knows of one namespace."""

    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    """Requests a second by revision and status code."""
    refuses: tuple[int, str] | None = None
    """Status code and body to answer every query with."""


class PrometheusStandIn:
    """Answers `increase` of requests and durations by revision, over the window that the query names."""

    def __init__(self) -> None:
        self._traffic: dict[str, Traffic] = {}
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = stand_in.answer(self.path)
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def of(self, namespace: str) -> Traffic:
        """The traffic of a namespace, for a test to set."""
        return self._traffic.setdefault(namespace, Traffic())

    def end(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, target: str) -> tuple[int, str]:
        """Status code and body for a request's path and query."""
        promql = parse_qs(urlsplit(target).query)["query"][0]
        result: list[Series] = []
        for metric, chosen, window, told_by, part in _INCREASE.findall(promql):
            names = {label: value.split("|") for label, value in _LABEL.findall(chosen)}
            for namespace in names["model_namespace"]:
                traffic = self.of(namespace)
                if traffic.refuses:
                    return traffic.refuses
                for model in names["model"]:
                    shared = {"model_namespace": namespace, "model": model} if told_by == "leg" else {}
                    owner = {**shared, told_by: part} if told_by else {}
                    result += _series(traffic, names["revision"], metric, int(window), owner)
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def _series(traffic: Traffic, revisions: list[str], metric: str, window: int, owner: dict[str, str]) -> list[Series]:
    found: list[Series] = []
    if not metric.startswith(("haldane_requests", "haldane_request_duration")):
        return found  # all that is counted are requests
    for revision in revisions:
        for code, rate in traffic.rates.get(revision, {}).items():
            labels = [{"le": bound} for bound in BUCKETS] if metric.endswith("_bucket") else [{"code": code}]
            value = [0, str(rate * window)]
            found += [{"metric": {"revision": revision, **label, **owner}, "value": value} for label in labels]
    return found
