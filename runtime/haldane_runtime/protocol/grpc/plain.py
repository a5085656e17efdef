"""Answers to requests that are HTTP but not gRPC: somebody's curl or probe at the wrong port."""

from haldane_runtime.protocol.grpc.headers import RequestHead
from haldane_runtime.protocol.grpc.hpack import HeaderBlock
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Stream

_HTTP1_TEXT = b"This port speaks gRPC over HTTP/2; REST is served on the other port.\n"
HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


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

    def receive(self, _: bytes | memoryview, ended: bool) -> None:
        """See `stream.Call`."""
        if ended:
            head = HeaderBlock(
                (b":status", b"%d" % self._status),
                (b"content-type", b"text/plain"),
                (b"content-length", b"%d" % len(self._text)),
            )
            self._sender.headers(self._stream, head)
            self._sender.data(self._stream, self._text)
            self._sender.trailers(self._stream, None)

    def gone(self) -> None:
        """See `stream.Call`."""

    def tick(self, now: float) -> None:
        """See `stream.Call`."""

    def stop(self) -> None:
        """See `stream.Call`."""
