"""What the protocol's `parameters` mean here: obeyed, ignored as a hint, or refused with a reason. Pure.

Obeyed: `timeout` of a request, in microseconds, and the marks of binary data. Ignored: `priority`,
as every request has the same, and names that no extension defines. Refused: what would change the
answer and is not served (sequences, classification, shared memory).
"""

from collections.abc import Mapping
from typing import Any

from haldane_runtime.core.errors import invalid

_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_SHARED_MEMORY = "shared_memory_region"
# Numbers of the protocol's parameters have 64 bits; far above that JSON's are read as fractions.
_MOST = 1 << 63
_COUNT = "from 0 up, below 2^63"
NONE: Mapping[str, Any] = {}


def parameters_of(holder: Mapping[str, Any], *whose: str) -> Mapping[str, Any]:
    """The `parameters` of `whose`: "input" or "output" and its name, nothing for the request itself.

    Raises:
        RequestError: INVALID, when they are no object.
    """
    parameters = holder.get("parameters")
    if parameters is None:
        return NONE
    if not isinstance(parameters, dict):
        raise invalid(f"the 'parameters' of {_owner(*whose)} must be an object")
    return parameters


def check_request(parameters: Mapping[str, Any]) -> None:
    """Raises: RequestError: INVALID, for a sequence or a timeout that is not a count of microseconds."""
    if not parameters:
        return
    if any(parameters.get(name) for name in _SEQUENCE):
        raise invalid(
            "the model keeps no state between requests, so that sequences are not served; leave sequence_id out"
        )
    timeout = parameters.get("timeout")
    if timeout is not None and not _is_count(timeout):
        raise invalid(f"the parameter 'timeout' must be a whole number of microseconds {_COUNT}")


def timeout_seconds(parameters: Mapping[str, Any]) -> float | None:
    """The client's own limit; None when it sets none, which 0 says, too."""
    timeout = parameters.get("timeout")
    return timeout / 1e6 if timeout else None


def check_input(parameters: Mapping[str, Any], name: str) -> None:
    """Raises: RequestError: INVALID, when the data is said to lie in shared memory."""
    if _SHARED_MEMORY in parameters:
        raise invalid(f"input '{name}' lies in shared memory, which is not served; send its data in the request")


def check_output(parameters: Mapping[str, Any], name: str) -> None:
    """Raises: RequestError: INVALID, for a classification or an answer into shared memory."""
    if parameters.get("classification"):
        raise invalid(
            f"output '{name}' is asked for as a classification, which is not served; ask for the output itself and "
            "take its largest values"
        )
    if _SHARED_MEMORY in parameters:
        raise invalid(f"output '{name}' is asked for in shared memory, which is not served; read it from the answer")


def flag(parameters: Mapping[str, Any], key: str, *whose: str) -> bool | None:
    """A true or false, None when not given. Raises: RequestError: INVALID, for anything else."""
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"the parameter '{key}' of {_owner(*whose)} must be true or false")
    return value


def size(parameters: Mapping[str, Any], key: str, *whose: str) -> int | None:
    """A number of bytes, None when not given. Raises: RequestError: INVALID, for anything else."""
    value = parameters.get(key)
    if value is not None and not _is_count(value):
        raise invalid(f"the parameter '{key}' of {_owner(*whose)} must be a whole number of bytes {_COUNT}")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _owner(kind: str = "", name: str = "") -> str:
    return f"{kind} '{name}'" if kind else "the request"
