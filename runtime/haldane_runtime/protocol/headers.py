"""Header values that more than one path writes."""

import math
import string
from urllib.parse import quote

from haldane_runtime.core.errors import RequestError

REQUEST_ID_HEADER = "x-request-id"
# As many as in the request log: a client may send an id as long as a body.
ID_CHARACTERS = 256
_PRINTABLE = string.punctuation + " "


def id_value(request_id: str) -> bytes:
    """A request's id as a header's value: what is not printable ASCII is percent-encoded UTF-8."""
    return quote(request_id[:ID_CHARACTERS], safe=_PRINTABLE, errors="replace").encode()


def retry_after(error: RequestError) -> str:
    """Whole seconds, as HTTP wants them, at least 1."""
    return str(max(1, math.ceil(error.retry_after or 0)))
