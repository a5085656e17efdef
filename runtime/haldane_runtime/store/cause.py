"""Why a connection failed, whichever library tells of it. Pure."""

import socket
import ssl
from collections.abc import Iterator


def cause(error: BaseException) -> str:
    """The innermost reason why a connection failed, which libraries wrap several times."""
    for inner in chain(error):
        match inner:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {inner.verify_message}"
            case socket.gaierror():
                return "its name cannot be resolved"
            case ConnectionRefusedError():
                return "connection refused"
            case ConnectionResetError() | BrokenPipeError():
                return "it closed the connection"
            case TimeoutError():
                return "no answer in time"
            case OSError(strerror=str(text)):
                return text
            case _:
                continue
    return line(error)


def line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        inner = waiting.pop(0)
        if isinstance(inner, BaseException) and id(inner) not in seen:
            seen.add(id(inner))
            yield inner
            # botocore keeps what it wraps among its arguments, urllib and urllib3 as the reason.
            told = getattr(inner, "kwargs", None)
            waiting.append(told.get("error") if isinstance(told, dict) else None)
            waiting += [getattr(inner, "reason", None), inner.__cause__, inner.__context__]
