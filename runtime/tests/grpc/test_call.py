"""One call: its messages in any pieces, its bounds and deadlines, and its one answer."""

import asyncio
import gzip
import itertools
import os
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.protocol.grpc import messages
from haldane_runtime.protocol.grpc.assembly import Budget
from haldane_runtime.protocol.grpc.call import GrpcCall, Method, Shared
from haldane_runtime.protocol.grpc.headers import received
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.status import Status, Unserved
from haldane_runtime.protocol.grpc.stream import Stream

FIELDS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"content-type", b"application/grpc"))


class Noting(Method):
    def __init__(self, *, streaming: bool = False, raising: Exception | None = None) -> None:
        self.streaming = streaming
        self.raising = raising
        self.got: list[bytes] = []
        self.foreseen: list[int] = []
        self.codes: list[int] = []
        self.finished = False

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        self.got.append(bytes(data))
        if self.raising:
            raise self.raising

    def foresee(self, call: GrpcCall, size: int, start: bytes) -> None:
        self.foreseen.append(size)

    def ended(self, call: GrpcCall) -> None:
        self.finished = True

    def over(self, call: GrpcCall, code: int, message: str) -> None:
        assert message or code == 200
        self.codes.append(code)


class Wire(Sender):
    """Keeps what is sent as fields and data instead of frames."""

    def __init__(self) -> None:
        super().__init__([], lambda: None, lambda _: None)
        self.sent: list[Any] = []

    def respond(self, stream: Stream, head: Any, data: bytes, trailers: Any) -> None:
        self.sent += [dict(head.fields), data, dict(trailers.fields)]

    def headers(self, stream: Stream, block: Any) -> None:
        self.sent.append(dict(block.fields))

    def data(self, stream: Stream, data: bytes) -> None:
        self.sent.append(data)

    def trailers(self, stream: Stream, block: Any) -> None:
        self.sent.append(dict(block.fields))

    @property
    def status(self) -> Status:
        return Status(int(self.sent[-1][b"grpc-status"]))


LIMITS = Limits(message=1000, assembling=2000)


def opened(method: Method, *extra: tuple[bytes, bytes], budget: Budget | None = None) -> tuple[GrpcCall, Wire]:
    wire = Wire()
    shared = Shared(LIMITS, 10.0, ((b"x-who", b"me"),), lambda: 0.0, budget or Budget(LIMITS.assembling))
    return GrpcCall(
        shared, method, wire, Stream(1, 1 << 16, 1 << 16, None, False, 0.0), received((*FIELDS, *extra)), 0.0
    ), wire


def prefixed(message: bytes) -> bytes:
    return messages.packed((message,), "identity")


@given(
    st.lists(st.binary(max_size=50), max_size=5),
    st.lists(st.integers(0, 300), max_size=6),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=3),
)
def test_messages_in_any_pieces(sent: list[bytes], cuts: list[int], streaming: bool, late: bool, rest: bytes) -> None:
    budget = Budget(LIMITS.assembling)
    method = Noting(streaming=streaming)
    call, wire = opened(method, budget=budget)
    data = b"".join(map(prefixed, sent)) + rest
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)] or [b""]
    if late:
        pieces.append(b"")
    for index, piece in enumerate(pieces):
        call.receive(piece, index == len(pieces) - 1)
    if streaming:
        assert method.got == sent
        assert method.finished is (not rest)
    elif len(sent) == 1 and not rest:
        assert method.got == sent
        call.reply(b"answer")
        assert wire.sent[1] == prefixed(b"answer")
    else:
        assert method.got == []
    if rest or (not streaming and len(sent) != 1):
        assert wire.status is Status.INVALID_ARGUMENT
        assert method.codes == [400]
    assert budget.used == 0


def test_a_message_that_is_too_long_is_refused_by_its_prefix() -> None:
    method = Noting()
    call, wire = opened(method)
    call.receive(b"\0" + (1001).to_bytes(4, "big"), False)
    assert wire.status is Status.RESOURCE_EXHAUSTED
    assert method.codes == [413]
    call.receive(bytes(100), False)
    assert len(wire.sent) == 1


def test_a_long_message_is_foreseen() -> None:
    method = Noting()
    call, _ = opened(method)
    call.receive(prefixed(bytes(900))[:100], False)
    call.receive(prefixed(bytes(900))[100:], True)
    assert method.foreseen == [900]
    assert method.got == [bytes(900)]


def test_incomplete_messages_of_all_calls_together_are_bounded() -> None:
    budget = Budget(2000)
    calls = [opened(Noting(), budget=budget) for _ in range(3)]
    for call, _ in calls:
        call.receive(prefixed(bytes(900))[:850], False)
    assert calls[2][1].status is Status.UNAVAILABLE
    assert calls[2][1].sent[-1][b"grpc-retry-pushback-ms"] == b"1000"
    assert budget.used == 1700
    calls[0][0].gone()
    assert budget.used == 850


@pytest.mark.parametrize(
    ("error", "status", "code", "pushback"),
    [
        (RequestError(Code.UNAVAILABLE, "full", retry_after=0.0301), Status.UNAVAILABLE, 503, b"30"),
        (RequestError(Code.UNAVAILABLE, "full"), Status.UNAVAILABLE, 503, None),
        (RequestError(Code.WOULD_BE_LATE, "late", retry_after=2.0), Status.UNAVAILABLE, 503, b"2000"),
        (RequestError(Code.MODEL_FAILED, "it broke"), Status.INTERNAL, 500, None),
        (RequestError(Code.CLIENT_DEADLINE_EXCEEDED, "late"), Status.DEADLINE_EXCEEDED, 408, None),
        (RequestError(Code.FORBIDDEN, "no"), Status.PERMISSION_DENIED, 403, None),
        (Unserved(Status.UNIMPLEMENTED, "no"), Status.UNIMPLEMENTED, 415, None),
        (ZeroDivisionError(), Status.INTERNAL, 500, None),
    ],
)
def test_errors(error: Exception, status: Status, code: int, pushback: bytes | None) -> None:
    method = Noting(raising=error)
    call, wire = opened(method)
    call.receive(prefixed(b"x"), True)
    assert wire.status is status
    assert wire.sent[0].get(b"grpc-retry-pushback-ms") == pushback
    assert wire.sent[0][b"x-who"] == b"me"
    assert method.codes == [code]


def test_every_code_has_a_status() -> None:
    for code in Code:
        call, wire = opened(Noting(raising=RequestError(code, "why")))
        call.receive(prefixed(b"x"), True)
        assert wire.status is not Status.OK


def test_a_request_that_does_not_arrive_in_time() -> None:
    method = Noting()
    call, wire = opened(method, (b"grpc-timeout", b"2S"))
    assert (call.deadline, call.impatient) == (2.0, True)
    call.receive(prefixed(b"abc")[:3], False)
    call.tick(1.9)
    assert wire.sent == []
    call.tick(2.1)
    assert wire.status is Status.DEADLINE_EXCEEDED
    assert method.codes == [408]
    # The server's own patience with a client that does not send is no fault of the server's, either.
    method = Noting()
    call, wire = opened(method)
    call.tick(10.1)
    assert wire.status is Status.DEADLINE_EXCEEDED
    assert method.codes == [408]
    # A deadline beyond the server's own does not count.
    call, _ = opened(Noting(), (b"grpc-timeout", b"1H"))
    assert (call.deadline, call.impatient) == (10.0, False)


@pytest.mark.parametrize(
    ("field", "status"),
    [((b"grpc-timeout", b"soon"), Status.INVALID_ARGUMENT), ((b"grpc-encoding", b"br"), Status.UNIMPLEMENTED)],
)
def test_calls_that_are_refused_by_their_headers(field: tuple[bytes, bytes], status: Status) -> None:
    _, wire = opened(Noting(), field)
    assert wire.status is status


def test_only_one_answer() -> None:
    method = Noting()
    call, wire = opened(method)
    call.receive(prefixed(b"x"), True)
    call.reply(b"1")
    call.reply(b"2")
    call.refuse(RequestError(Code.INVALID, "late"))
    call.gone()
    assert wire.sent[1:] == [prefixed(b"1"), {b"grpc-status": b"0"}]
    assert method.codes == [200]


def test_an_answer_of_several_messages() -> None:
    call, wire = opened(Noting(streaming=True))
    call.send(b"1")
    call.send(b"2")
    call.finish()
    call.send(b"3")
    head, one, two, tail = wire.sent
    assert head[b":status"] == b"200"
    assert (one, two, tail) == (prefixed(b"1"), prefixed(b"2"), {b"grpc-status": b"0"})


async def test_large_compressed_messages_do_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "THREAD_BYTES", 100)
    method = Noting()
    call, wire = opened(method, (b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"gzip"))
    body = os.urandom(900)
    packed = gzip.compress(body)
    call.receive(b"\1" + len(packed).to_bytes(4, "big") + packed, True)
    assert method.got == []
    while not method.got:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert method.got == [body]
    call.reply(body, body)
    assert wire.sent == []
    while not wire.sent:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert wire.sent[0][b"grpc-encoding"] == b"gzip"
    assert gzip.decompress(wire.sent[1][5:]) == body * 2
    assert method.codes == [200]

    # Whoever left meanwhile gets nothing.
    method = Noting()
    call, wire = opened(method, (b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"gzip"))
    call.receive(b"\1" + len(packed).to_bytes(4, "big") + packed, True)
    call.gone()
    await asyncio.sleep(0.05)
    assert method.got == []
    assert method.codes == [499]


async def test_short_messages_that_inflate_to_long_ones_do_not_hold_up_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "THREAD_BYTES", 100)
    packed = [b"\1" + len(data).to_bytes(4, "big") + data for data in map(zlib.compress, (bytes(900), bytes(100)))]
    method = Noting()
    call, _ = opened(method, (b"grpc-encoding", b"deflate"))
    call.receive(packed[0], True)
    assert method.got == []
    while not method.got:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert method.got == [bytes(900)]
    # Those of a stream would overtake each other: there they are refused instead.
    method = Noting(streaming=True)
    call, wire = opened(method, (b"grpc-encoding", b"deflate"))
    call.receive(packed[1] + packed[0], True)
    assert method.got == [bytes(100)]
    assert wire.status is Status.RESOURCE_EXHAUSTED
