"""Answers to requests that are HTTP but not gRPC: somebody's curl or probe at the wrong port."""

from haldane_runtime.protocol.grpc.headers import RequestHead
from haldane_runtime.protocol.grpc.hpack import HeaderBlock
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Stream

_CONTENT_TYPE = b"whose content-type is application/grpc"
_HTTP1_TEXT = b"This port speaks gRPC over HTTP/2; REST is served on the other port.\n"
HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class PlainAnswer:
    """The answer, given once the request's body has come to its end, or at once when it has none."""

    def __init__(self, sender: Sender, stream: Stream, head: RequestHead) -> None:
        self._sender = sender
        self._stream = stream
        self._status, what = (405, b"whose calls are POST") if head.method != b"POST" else (415, _CONTENT_TYPE)
        self._text = b"This port speaks gRPC, %s; REST is served on the other port.\n" % what

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
