"""Header values that more than one path writes."""

import math
import string
from typing import TYPE_CHECKING
from urllib.parse import quote

from haldane_runtime.core.errors import RequestError, invalid

if TYPE_CHECKING:
    from starlette.datastructures import Headers

REQUEST_ID_HEADER = "x-request-id"
# As many as in the request log: a client may send an id as long as a body.
ID_CHARACTERS = 256
_PRINTABLE = string.punctuation + " "


def only(headers: "Headers", name: str) -> str | None:
    """The value of a header that may be there once, as a proxy could take another one for the true one.

    Raises: RequestError: INVALID, when it is there more often.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise invalid(f"the header {name} is there {len(values)} times; send it once")
    return values[0] if values else None


def content_coding(headers: "Headers") -> str:
    """How the body is encoded, all lines of the header taken together; "identity" when none says.

    Raises: RequestError: INVALID, for a coding of the transfer besides chunks, which nobody here undoes.
    """
    transfer = ", ".join(headers.getlist("transfer-encoding")).strip().lower()
    if transfer not in ("", "chunked"):
        raise invalid(
            f"the transfer encoding '{transfer}' is not served here; send the body in chunks or with its length"
        )
    return ", ".join(headers.getlist("content-encoding")).strip().lower() or "identity"


def id_value(request_id: str) -> bytes:
    """A request's id as a header's value: what is not printable ASCII is percent-encoded UTF-8."""
    return quote(request_id[:ID_CHARACTERS], safe=_PRINTABLE, errors="replace").encode()


def retry_after(error: RequestError) -> str:
    """Whole seconds, as HTTP wants them, at least 1."""
    return str(max(1, math.ceil(error.retry_after or 0)))
