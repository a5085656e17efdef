"""One JSON line a prediction on standard output, for a share of the requests.

The event loop only appends to a bounded buffer; a thread writes. A standard output that nobody reads
costs lines, never time: they are counted, and the count is told once writing goes on.
"""

import os
import random
import select
import threading
from collections import deque
from datetime import UTC, datetime

import orjson

BUFFER_BYTES = 4 << 20
# Lines of this time are written together.
GATHER_SECONDS = 0.05
CLOSE_SECONDS = 2.0
STANDARD_OUTPUT = 1
# A client may send an id as long as a body.
ID_CHARACTERS = 256
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class RequestLog:
    """`sample` decides and `write` tells, in the event loop's thread; both return at once."""

    def __init__(self, share: float, namespace: str, revision: str, descriptor: int = STANDARD_OUTPUT) -> None:
        """`share` of the requests, 0 to 1, is logged; 0 starts nothing. `descriptor` is an open file's."""
        self._share = share
        self._fixed = {"namespace": namespace, "revision": revision}
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        # One is written by the event loop's thread alone, the other by the writer's.
        self._appended_bytes = 0
        self._taken_bytes = 0
        self._refused = 0
        self._lost = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._random = random.Random()
        self._writer = threading.Thread(target=self._run, name="request log", daemon=True)
        if share > 0:
            self._writer.start()

    @property
    def dropped(self) -> int:
        """Lines lost because standard output could not take them."""
        return self._refused + self._lost

    def sample(self) -> bool:
        """True when the request at hand is one of those to be logged."""
        return self._share > 0 and (self._share >= 1 or self._random.random() < self._share)

    def write(
        self,
        *,
        id: str,
        model: str,
        version: str,
        digest: bytes,
        code: int,
        outcome: str,
        rows: int,
        decode: float,
        queue: float,
        infer: float,
        encode: float,
    ) -> None:
        """One line. `digest` is of the inputs (empty when none were read), `code` the HTTP status or gRPC code,
        `outcome` "ok" or what went wrong; times are in seconds, those of phases not reached 0."""
        record = {
            "time": datetime.now(UTC),
            "id": id[:ID_CHARACTERS],
            "model": model,
            "version": version,
            **self._fixed,
            "input": digest.hex(),
            "code": code,
            "outcome": outcome,
            "rows": rows,
            "milliseconds": {
                "decode": round(decode * 1000, 3),
                "queue": round(queue * 1000, 3),
                "infer": round(infer * 1000, 3),
                "encode": round(encode * 1000, 3),
            },
        }
        try:
            line = orjson.dumps(record, option=_OPTIONS)
        except TypeError:
            # An id may hold what no UTF-8 can say.
            record["id"] = ascii(id[:ID_CHARACTERS])
            line = orjson.dumps(record, option=_OPTIONS)
        if self._appended_bytes - self._taken_bytes + len(line) > BUFFER_BYTES:
            self._refused += 1
            return
        self._appended_bytes += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_SECONDS`."""
        if self._writer.is_alive():
            self._closing.set()
            self._wake.set()
            self._writer.join(CLOSE_SECONDS)

    def _run(self) -> None:
        told = 0
        while not (self._closing.is_set() and not self._lines):
            self._wake.wait()
            # Not a sleep: the end does not wait for it.
            self._closing.wait(GATHER_SECONDS)
            self._wake.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            size = sum(map(len, lines))
            refused = self._refused
            if refused > told:
                lines.append(orjson.dumps({"dropped": refused - told}, option=orjson.OPT_APPEND_NEWLINE))
            try:
                self._write(b"".join(lines))
                told = refused
            except OSError:
                # Whoever read it is gone: there is nobody to tell, and the server serves on.
                self._lost += len(lines)
            finally:
                self._taken_bytes += size

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Standard output may have been made non-blocking by whom it is shared with.
                select.select((), (self._descriptor,), (), 1.0)
