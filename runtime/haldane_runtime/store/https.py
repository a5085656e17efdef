"""Models on a web server: one .onnx file by https."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException, HTTPResponse
from ssl import SSLCertVerificationError
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.cause import cause
from haldane_runtime.store.location import MODEL_FILE, Location
from haldane_runtime.store.source import CHUNK_BYTES, Entry, Interrupted, Replaced

TIMEOUT_SECONDS = 2.5
ATTEMPTS = 3
BACKOFF_SECONDS = 0.5


class HttpsSource:
    """One file; redirects are followed as long as they stay on https.

    Read over one connection, for a web server may allow no more and urllib would greet it anew for each range.
    """

    parallel = 1

    def __init__(self, location: Location, sleep: Callable[[float], None] = time.sleep) -> None:
        self._location = location
        query = f"?{location.query}" if location.query else ""
        self._url = f"https://{location.host}{location.path}{query}"
        self._sleep = sleep
        self._opener: OpenerDirector = build_opener(_StayOnHttps)

    def entries(self) -> list[Entry]:
        """See `Source.entries`. Asks by GET, since signed URLs are valid for one method."""
        with self._open({}) as response:
            return [Entry(MODEL_FILE, response.length, _strong(response.headers.get("ETag", "")))]

    def read(self, entry: Entry, start: int, end: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """See `Source.read`."""
        return self._read(entry, start, end)

    @contextmanager
    def _read(self, entry: Entry, start: int, end: int | None) -> Iterator[Iterator[bytes]]:
        last = "" if end is None or end == entry.size else str(end - 1)
        headers = {"Range": f"bytes={start}-{last}", "If-Range": entry.tag} if start or last else {}
        response = self._open(headers)
        part = response.status == 206
        if part and not _proven(response, entry, start):
            # Nothing says which bytes of which content these are; the whole file comes with its tag.
            response.close()
            response, part = self._open({}), False
        with response:
            self._same(entry, response)
            yield _chunks(response, 0 if part else start, None if end is None else end - start)

    def _same(self, entry: Entry, response: HTTPResponse) -> None:
        """A server answers a range of a replaced file with the whole of the new one, which must not follow the old."""
        if entry.tag and _strong(response.headers.get("ETag", "")) != entry.tag:
            raise Replaced(str(self._location))

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        failure: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(BACKOFF_SECONDS * 2**attempt)
            try:
                response: HTTPResponse = self._opener.open(Request(self._url, headers=headers), timeout=TIMEOUT_SECONDS)
            except HTTPError as error:
                error.close()
                if error.code < 500 and error.code != 429:
                    self._refuse(error)
                failure = error
            except (URLError, OSError, HTTPException) as error:
                failure = error
                if isinstance(getattr(error, "reason", None), SSLCertVerificationError):
                    # Trust does not come with time.
                    break
            else:
                return response
        assert failure is not None
        told = f"answered {failure.code}" if isinstance(failure, HTTPError) else f"cannot be reached: {cause(failure)}"
        raise LoadError(Reason.STORAGE_UNREACHABLE, f"{self._location.host} {told} (for {self._location}).")

    def _refuse(self, error: HTTPError) -> NoReturn:
        if error.code in (401, 403):
            raise LoadError(
                Reason.ACCESS_DENIED, f"{self._location.host} refused {self._location} with {error.code}."
            ) from error
        if error.code in (404, 410):
            raise LoadError(Reason.MODEL_NOT_FOUND, f"{self._location} does not exist ({error.code}).") from error
        raise LoadError(
            Reason.LOAD_FAILED, f"{self._location.host} answered {error.code} for {self._location}."
        ) from error


class _StayOnHttps(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.lower().startswith("https://"):
            raise LoadError(
                Reason.ACCESS_DENIED, f"{req.host} redirects the model to an address without https; name the final URL."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _proven(part: HTTPResponse, entry: Entry, start: int) -> bool:
    """Whether `part` names its content and is what was asked for of it.

    RFC 9110, 15.3.7, has a 206 carry the ETag of the 200, but caches and small servers answer a Range without a look
    at If-Range and without a tag: what was replaced meanwhile would be spliced.
    """
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", part.headers.get("Content-Range", "").strip())
    if told is None or not _strong(part.headers.get("ETag", "")):
        return False
    return int(told[1]) == start and (entry.size is None or told[2] in ("*", str(entry.size)))


def _strong(tag: str) -> str:
    """A weak ETag promises no equal bytes, so that it cannot resume a download."""
    return "" if tag.startswith("W/") else tag


def _chunks(response: HTTPResponse, skip: int, most: int | None) -> Iterator[bytes]:
    """At most `most` bytes of the body after its first `skip`, for a server that ignores ranges."""
    try:
        while most != 0 and (chunk := response.read1(min(skip or CHUNK_BYTES, CHUNK_BYTES))):
            if skip:
                skip -= len(chunk)
                continue
            kept = chunk[:most]
            most = None if most is None else most - len(kept)
            yield kept
    except (OSError, HTTPException) as error:
        raise Interrupted(cause(error)) from error
