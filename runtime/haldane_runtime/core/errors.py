"""Every error a client or a cluster can see, each with its one meaning.

Request errors carry a `Code`; a transport turns the code into its own status in one place
(`HTTP_STATUS` for HTTP). Load errors carry a `Reason`; the process ends with the exit code of the
reason, so that a supervisor can tell them apart without reading text:

| reason | exit code | what it means |
|---|---|---|
| InvalidConfiguration | 10 | a setting is missing or malformed; the same settings can never work |
| ModelNotFound | 11 | the file, bucket, key or folder does not exist, or a folder holds no model.onnx |
| AccessDenied | 12 | the storage refused the credentials, or they lack a permission |
| StorageUnreachable | 13 | the storage did not answer, or only with server errors, within the retries |
| ChecksumMismatch | 14 | what was fetched is not what HALDANE_MODEL_SHA256 names |
| InvalidModel | 15 | not ONNX, an opset or operator this runtime lacks, missing or escaping external data |
| DeviceUnavailable | 16 | a GPU was asked for and none works |
| LoadFailed | 17 | anything else: no space in the cache, out of memory, a failed warm-up on the GPU |
| GoldenMismatch | 18 | the model does not give the expected answers to its golden requests |
| PrecisionLoss | 19 | at the precision asked for, answers differ from those at fp32 by more than the tolerance |
"""

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """What went wrong with a request, independent of the transport."""

    INVALID = "invalid"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    BODY_TIMEOUT = "body timeout"
    TOO_LARGE = "too large"
    UNSUPPORTED_ENCODING = "unsupported encoding"
    MODEL_FAILED = "model failed"
    UNAVAILABLE = "unavailable"
    WOULD_BE_LATE = "would be late"
    DEADLINE_EXCEEDED = "deadline exceeded"
    CLIENT_DEADLINE_EXCEEDED = "client's deadline exceeded"


HTTP_STATUS: Mapping[Code, int] = {
    Code.INVALID: 400,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.BODY_TIMEOUT: 408,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_ENCODING: 415,
    Code.MODEL_FAILED: 500,
    Code.UNAVAILABLE: 503,
    # Refused at once, since the queue alone takes longer than the request has.
    Code.WOULD_BE_LATE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    # A client that cannot wait says nothing about the model: not a server error, which would count against a rollout.
    Code.CLIENT_DEADLINE_EXCEEDED: 408,
}


MESSAGE_CHARACTERS = 2000


class RequestError(Exception):
    """A request that gets an error for an answer; the text is a sentence meant for the client.

    `retry_after` is in seconds: when the same request may do better, None when it never will.
    """

    def __init__(self, code: Code, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        # The client's own, from a body that was read as far as that; empty when it was not or has none.
        self.request_id = ""
        # A message may repeat what the client sent, which may be as long as a body.
        self.message = message if len(message) <= MESSAGE_CHARACTERS else message[:MESSAGE_CHARACTERS] + "…"


def invalid(message: str) -> RequestError:
    """The client's fault: 400."""
    return RequestError(Code.INVALID, message)


def client_deadline(seconds: float, whose: str = "the request") -> RequestError:
    """The client's own limit, which `whose` set and which is shorter than the server's, has passed or will have."""
    return RequestError(
        Code.CLIENT_DEADLINE_EXCEEDED,
        f"the model did not answer within the {seconds:g} s that {whose} allows; allow more",
    )


def slow_body(seconds: float, timeout: float) -> RequestError | None:
    """What to say of a missed deadline when the body alone took the larger part of it; None when it did not."""
    if seconds <= timeout / 2:
        return None
    return RequestError(
        Code.BODY_TIMEOUT,
        f"the request body took {seconds:.3g} s of the request's {timeout:g} s to arrive; send it faster",
    )


def missed_deadline(
    error: RequestError, timeout: float, body_seconds: float, impatient: bool, whose: str = "the request"
) -> RequestError:
    """The error as its client should read it: neither its own short deadline nor its slow body is our fault.

    `timeout` is the whole time that the request had and `body_seconds` what its arrival took of that, in
    seconds; `impatient` says that the client, by `whose`, allowed less than the server. Other errors
    than those of a deadline stay as they are.
    """
    if error.code not in (Code.DEADLINE_EXCEEDED, Code.WOULD_BE_LATE):
        return error
    if impatient:
        return client_deadline(timeout, whose)
    return slow_body(body_seconds, timeout) or error


class Reason(StrEnum):
    """Why a load failed; the operator shows it as the reason of a condition."""

    INVALID_CONFIGURATION = "InvalidConfiguration"
    MODEL_NOT_FOUND = "ModelNotFound"
    ACCESS_DENIED = "AccessDenied"
    STORAGE_UNREACHABLE = "StorageUnreachable"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    INVALID_MODEL = "InvalidModel"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    LOAD_FAILED = "LoadFailed"
    GOLDEN_MISMATCH = "GoldenMismatch"
    PRECISION_LOSS = "PrecisionLoss"


EXIT_CODE: Mapping[Reason, int] = {
    Reason.INVALID_CONFIGURATION: 10,
    Reason.MODEL_NOT_FOUND: 11,
    Reason.ACCESS_DENIED: 12,
    Reason.STORAGE_UNREACHABLE: 13,
    Reason.CHECKSUM_MISMATCH: 14,
    Reason.INVALID_MODEL: 15,
    Reason.DEVICE_UNAVAILABLE: 16,
    Reason.LOAD_FAILED: 17,
    Reason.GOLDEN_MISMATCH: 18,
    Reason.PRECISION_LOSS: 19,
}


class LoadError(Exception):
    """The model cannot be served; `message` is one sentence that says what to do about it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def exit_code(self) -> int:
        return EXIT_CODE[self.reason]
