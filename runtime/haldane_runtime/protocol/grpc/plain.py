"""Answers to requests that are HTTP/2 but not gRPC: somebody's curl or probe at the wrong port."""

from haldane_runtime.protocol.grpc.headers import RequestHead
from haldane_runtime.protocol.grpc.hpack import encode
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Stream


def refusal(head: RequestHead) -> tuple[int, str] | None:
    """The HTTP status and a sentence; None when the request is gRPC's."""
    if head.method != b"POST":
        return 405, "This port speaks gRPC, whose calls are POST; REST is served on the other port.\n"
    if not head.content_type.startswith(b"application/grpc"):
        return 415, "This port speaks gRPC, whose content-type is application/grpc; REST is served on the other port.\n"
    return None


class PlainAnswer:
    """The answer, given once the request's body has come to its end, or at once when it has none."""

    def __init__(self, sender: Sender, stream: Stream, status: int, text: str) -> None:
        self._sender = sender
        self._stream = stream
        self._status = status
        self._text = text.encode()

    def receive(self, _: bytes, ended: bool) -> None:
        """See `stream.Call`."""
        if ended:
            head = encode(
                (b":status", b"%d" % self._status),
                (b"content-type", b"text/plain"),
                (b"content-length", b"%d" % len(self._text)),
            )
            self._sender.headers(self._stream, head)
            self._sender.data(self._stream, self._text)
            self._sender.trailers(self._stream, b"")

    def gone(self) -> None:
        """See `stream.Call`."""

    def tick(self, now: float) -> None:
        """See `stream.Call`."""
