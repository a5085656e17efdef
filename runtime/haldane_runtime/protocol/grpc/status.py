"""gRPC's status codes, and which of them a request error is."""

from collections.abc import Mapping
from enum import IntEnum

from haldane_runtime.core.errors import Code


class Status(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


STATUS: Mapping[Code, Status] = {
    Code.INVALID: Status.INVALID_ARGUMENT,
    Code.FORBIDDEN: Status.PERMISSION_DENIED,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.BODY_TIMEOUT: Status.DEADLINE_EXCEEDED,
    Code.TOO_LARGE: Status.RESOURCE_EXHAUSTED,
    Code.UNSUPPORTED_ENCODING: Status.UNIMPLEMENTED,
    Code.MODEL_FAILED: Status.INTERNAL,
    Code.UNAVAILABLE: Status.UNAVAILABLE,
    Code.WOULD_BE_LATE: Status.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: Status.DEADLINE_EXCEEDED,
    Code.CLIENT_DEADLINE_EXCEEDED: Status.DEADLINE_EXCEEDED,
}

# The HTTP status that means the same, for the metrics, which have one scale for both transports.
HTTP_OF: Mapping[Status, int] = {
    **dict.fromkeys(Status, 500),
    Status.OK: 200,
    Status.CANCELLED: 499,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 413,
    Status.UNIMPLEMENTED: 415,
    Status.UNAVAILABLE: 503,
}


class Unserved(Exception):
    """A call that gets this status for an answer, where no `RequestError` says it."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
