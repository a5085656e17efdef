"""Header values that more than one path writes."""

import math

from haldane_runtime.core.errors import RequestError


def retry_after(error: RequestError) -> str:
    """Whole seconds, as HTTP wants them, at least 1."""
    return str(max(1, math.ceil(error.retry_after or 0)))
