"""Answers over HTTP that end: in their size and in their time.

The time-out of requests is one for each piece that comes. Who sends one byte a second keeps its reader for ever, and who
sends everything there is takes its memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from requests import PreparedRequest, Response, Timeout
from requests.adapters import HTTPAdapter


class AnswerTooLarge(Exception):
    """An answer of more than so many bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most >> 20} MiB")


class BoundedAdapter(HTTPAdapter):
    """Reads answers of at most `most` bytes, unpacked, within `seconds` of the request.

    Reading raises AnswerTooLarge or requests' Timeout.
    """

    def __init__(self, most: int, seconds: float) -> None:
        super().__init__()
        self._most = most
        self._seconds = seconds

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """See HTTPAdapter."""
        until = time.monotonic() + self._seconds
        response = super().send(request, *args, **options)
        response.raw = _Bounded(response.raw, self._most, until)
        return response


class _Bounded:
    """The body of urllib3's response `raw`, as requests reads it."""

    def __init__(self, raw: Any, most: int, until: float) -> None:
        self._raw = raw
        self._most = most
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """Piece by piece, as they come: a full buffer would be waited for however slowly it fills."""
        got = 0
        while data := self._raw.read1(amount, decode_content=decode_content):
            got += len(data)
            if got > self._most:
                self._raw.close()
                raise AnswerTooLarge(self._most)
            if time.monotonic() > self._until:
                self._raw.close()
                raise Timeout("the answer takes too long to come")
            yield data
