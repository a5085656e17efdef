"""Prometheus as the control loop's `Metrics`: whatever goes wrong is an answer with a reason."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from requests import ConnectionError as Unreachable
from requests import RequestException, Timeout
from requests.exceptions import InvalidJSONError, SSLError
from urllib3 import Retry

from haldane.control.ports import Answer, Series, Unavailable
from haldane.effects.access import OPEN, Access, NoCredentials
from haldane.effects.bounded import AnswerTooLarge, BoundedAdapter

THREADS, FREE_THREADS = 4, 8
"""Queries at once, of the operator's own and of users' own: together fewer than Prometheus answers at once by default, 20."""
CONNECT_SECONDS = 2.0
LARGEST = 8 << 20
"""Bytes of an answer to a query of the operator's own; one that would be larger is asked in halves."""
LARGEST_FREE = 1 << 20
"""Bytes of an answer to a user's own query, which is to give one number."""
LONGEST_REASON = 300
_DISTRUST = re.compile(r"certificate verify failed: ([^(]+)")
_TEXT = re.compile(r"""[\s(]*["'`]""")
"""How a query begins whose value is a text: no other one begins so."""
_CLOSED = re.compile(r"HTTP Status Code (401|403|407)\b")
_TOO_LONG = re.compile(r"HTTP Status Code (413|414|431)\b")
_BODY = re.compile(r"""b(['"]).*\1(?=\)$)""", re.DOTALL)
_GIVEN_UP = frozenset({"bad_data", "execution", "timeout", "400", "422"})
"""Types of errors that lie in the query; VictoriaMetrics has numbers for them. A proxy that cannot reach Prometheus, or one
that starts, names none."""


class Prometheus:
    """Implements `control.ports.Metrics`. Close it when done.

    The client is synchronous: its calls run on a few threads, one connection each. Users' own queries have threads of
    their own, because one slow query must not blind every other rollout. A query has `timeout` seconds from when a thread
    takes it up; Prometheus is told to give up a little earlier, so that it can say why.
    """

    def __init__(self, url: str, access: Access = OPEN, timeout: float = 5.0) -> None:
        self._url = url.rstrip("/")
        self._access = access
        self._timeout = timeout
        self._own = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._free = ThreadPoolExecutor(FREE_THREADS, thread_name_prefix="prometheus-free")
        self._local = threading.local()

    def close(self) -> None:
        """Start no further query; the ones under way end by their own time-outs."""
        for threads in (self._own, self._free):
            threads.shutdown(wait=False, cancel_futures=True)

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        """See `Metrics`."""
        if not self._url:
            return Unavailable("no Prometheus is configured: set HALDANE_PROMETHEUS_URL")
        if _TEXT.match(promql):
            # Prometheus gives it back, and the client its value alone: "5" would look like a number.
            return Unavailable("the query is a text, not a number: write it without the quotation marks around it")
        loop, threads = asyncio.get_running_loop(), self._own if owner is None else self._free
        largest = LARGEST if owner is None else LARGEST_FREE
        is_over = False

        def limit() -> None:
            if not is_over:
                patience.reschedule(loop.time() + self._timeout)

        def ask() -> Any:
            loop.call_soon_threadsafe(limit)
            return self._ask(promql, at, largest)

        try:
            async with asyncio.timeout(None) as patience:
                try:
                    result = await loop.run_in_executor(threads, ask)
                finally:
                    is_over = True  # its thread may still take it up, or say so late
            return read_result(result)
        except TimeoutError:
            return Unavailable(f"Prometheus at {self._url} did not answer within {self._timeout:g} s")
        except Exception as problem:
            return Unavailable(self._reason(problem), too_much=_is_too_much(problem))

    def _ask(self, promql: str, at: datetime, largest: int) -> Any:
        # Seconds without a unit: with one, Prometheus takes whole numbers alone.
        params = {"time": f"{at.timestamp():.3f}", "timeout": f"{self._timeout * 0.9:.3f}"}
        # Typed as a whole number, but handed on to requests, which takes both of its time-outs.
        patience: Any = (min(CONNECT_SECONDS, self._timeout), self._timeout)
        return self._connection(largest).custom_query(promql, params=params, timeout=patience)

    def _connection(self, largest: int) -> PrometheusConnect:
        if not hasattr(self._local, "connection"):
            # The next evaluation asks again anyway: a retry would only make a late answer later.
            session = self._access.session()
            self._local.connection = PrometheusConnect(self._url, retry=Retry(0), session=session)
            # In place of the adapter that the client has mounted for this very prefix, for the retries that it is not to make.
            session.mount(self._url, BoundedAdapter(largest, self._timeout))
        connection: PrometheusConnect = self._local.connection
        return connection

    def _reason(self, problem: Exception) -> str:
        match problem:
            case NoCredentials():
                return f"Prometheus at {self._url} is not asked, because its credentials are missing: {problem}"
            case SSLError():
                # The whole text holds the query, and a text that changes is a new Event.
                found = _DISTRUST.search(str(problem))
                why = found[1].strip() if found else "no common version or cipher of TLS"
                return (
                    f"Prometheus at {self._url} cannot be trusted ({why}): check its certificate, or name its authority"
                )
            case Timeout():
                return f"Prometheus at {self._url} did not answer in time"
            case Unreachable():
                return f"Prometheus at {self._url} cannot be reached"
            case PrometheusApiClientException() if refused := _CLOSED.search(str(problem)):
                return (
                    f"Prometheus at {self._url} does not let the operator in (HTTP {refused[1]}): check its credentials"
                )
            case PrometheusApiClientException():
                return f"Prometheus at {self._url} refused the query: {_said(str(problem))}"
            case AnswerTooLarge():
                return (
                    f"Prometheus at {self._url} answers with {problem}: aggregate the query to one value, "
                    "for example by sum()"
                )
            case InvalidJSONError():
                return f"Prometheus at {self._url} gave an answer that cannot be read"
            case RequestException():
                return f"Prometheus at {self._url} cannot be asked: {str(problem)[:LONGEST_REASON]}"
            case OSError():
                return f"Prometheus at {self._url} is not asked: {str(problem)[:LONGEST_REASON]}"
            case _:
                return f"Prometheus at {self._url} gave an answer that cannot be read: {str(problem)[:LONGEST_REASON]}"


def read_result(result: Any) -> Answer:
    """`data.result` of the HTTP API as an instant vector; a scalar is a vector of one element without labels.

    Raises ValueError, KeyError, TypeError or IndexError for anything that is not one.
    """
    if not isinstance(result, list):
        raise TypeError(f"expected a list, got {type(result).__name__}")
    if result and not isinstance(result[0], dict):
        return (Series({}, float(result[1])),)
    if any("values" in element for element in result):
        return Unavailable(
            "the query gives a range of values for each series: aggregate it to one, for example by rate()"
        )
    if any("histogram" in element for element in result):
        return Unavailable(
            "the query gives a histogram: take one number of it, for example by histogram_quantile()", too_much=True
        )
    return tuple(
        Series({str(k): str(v) for k, v in element["metric"].items()}, float(element["value"][1])) for element in result
    )


def _said(text: str, field: str = "error") -> str:
    """What Prometheus itself said, out of the client's `HTTP Status Code 400 (b'{...}')`, where bytes stand as Python writes them."""
    found = _BODY.search(text)
    try:
        return str(json.loads(ast.literal_eval(found[0]) if found else text)[field])[:LONGEST_REASON]
    except (ValueError, SyntaxError, KeyError, TypeError):
        return text[:LONGEST_REASON]


def _is_too_much(problem: Exception) -> bool:
    if isinstance(problem, AnswerTooLarge):
        return True
    said = str(problem)
    refused = isinstance(problem, PrometheusApiClientException)
    return refused and (_said(said, "errorType") in _GIVEN_UP or bool(_TOO_LONG.search(said)))
