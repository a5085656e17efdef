"""The HTTP/2 state machine: flow control both ways, every bound on what a client may do, and any frames at all."""

from collections import deque
from collections.abc import Callable
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.connection import Connection
from haldane_runtime.protocol.grpc.frames import ErrorCode, Setting
from haldane_runtime.protocol.grpc.headers import Received
from haldane_runtime.protocol.grpc.hpack import HeaderBlock
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.reader import FrameReader
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Stream

HEAD = HeaderBlock((b":status", b"200"), (b"content-type", b"application/grpc"))
TAIL = HeaderBlock((b"grpc-status", b"0"))
REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b"te", b"trailers"),
)


class EchoCall:
    def __init__(self, application: "Echo", sender: Sender, stream: Stream) -> None:
        self.application = application
        self.sender = sender
        self.stream = stream
        self.body = b""
        self.left = False
        self.ended = False

    def receive(self, data: bytes | memoryview, ended: bool) -> None:
        assert not self.left
        assert not self.ended
        self.body += data
        self.ended = ended
        if ended and self.application.answering:
            self.answer(self.body)

    def answer(self, data: bytes) -> None:
        if not self.left:
            self.sender.respond(self.stream, HEAD, data, TAIL)

    def gone(self) -> None:
        self.left = True

    def tick(self, now: float) -> None:
        pass

    def stop(self) -> None:
        self.answer(b"the end")


class Echo:
    """Answers with the request's body, or not at all."""

    def __init__(self) -> None:
        self.answering = True
        self.calls: list[EchoCall] = []

    def open(self, sender: Sender, stream: Stream, received: Received, now: float) -> EchoCall:
        self.calls.append(EchoCall(self, sender, stream))
        return self.calls[-1]


class Client:
    """The other end: writes frames and reads answers with the `hpack` library."""

    def __init__(self, limits: Limits | None = None, *, answering: bool = True, **settings: int) -> None:
        self.application = Echo()
        self.application.answering = answering
        self.woken = 0
        self.connection = Connection(self.application, limits or Limits(), 0.0, self.wake)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.now = 1.0
        self.reader = FrameReader(Limits(max_frame=frames.LARGEST_MAX_FRAME))
        self.reader.started = True
        self.read()
        self.send(frames.PREFACE + frames.settings({Setting[name.upper()]: value for name, value in settings.items()}))

    def wake(self) -> None:
        self.woken += 1

    def send(self, data: bytes) -> list[Any]:
        self.connection.receive(data, self.now)
        return self.read()

    def read(self) -> list[Any]:
        """Frames as (type, flags, stream, payload), the payload of HEADERS as a dictionary."""
        found: list[Any] = []
        data = b"".join(self.connection.out)
        self.connection.out.clear()
        for kind, flags, number, payload in self.reader.feed(data):
            if kind == frames.HEADERS:
                found.append((kind, flags, number, dict(self.decoder.decode(bytes(payload), raw=True))))
            else:
                found.append((kind, flags, number, payload))
        return found

    def headers(self, number: int, *extra: tuple[bytes, bytes], flags: int = 0) -> bytes:
        block = self.encoder.encode([*REQUEST, *extra])
        return frames.frame(frames.HEADERS, frames.END_HEADERS | flags, number, block)

    def request(self, number: int, body: bytes) -> bytes:
        return self.headers(number) + frames.frame(frames.DATA, frames.END_STREAM, number, body)


def kinds(found: list[Any]) -> list[int]:
    return [kind for kind, *_ in found]


def goaway_of(found: list[Any]) -> ErrorCode:
    (payload,) = [payload for kind, _, _, payload in found if kind == frames.GOAWAY]
    return ErrorCode(int.from_bytes(payload[4:8], "big"))


def body_of(found: list[Any], number: int) -> bytes:
    return b"".join(payload for kind, _, stream, payload in found if kind == frames.DATA and stream == number)


def test_calls_in_one_read_are_answered_in_one_piece() -> None:
    client = Client()
    found = client.send(client.request(1, b"one") + client.request(3, b"two"))
    assert kinds(found) == [frames.HEADERS, frames.DATA, frames.HEADERS] * 2
    assert (body_of(found, 1), body_of(found, 3)) == (b"one", b"two")
    assert found[0][3] == {b":status": b"200", b"content-type": b"application/grpc"}
    assert found[2][3] == {b"grpc-status": b"0"}
    assert found[2][1] & frames.END_STREAM
    assert not client.connection.streams


def test_answers_keep_to_the_windows() -> None:
    client = Client(initial_window_size=10)
    found = client.send(client.request(1, bytes(25)))
    assert body_of(found, 1) == bytes(10)
    assert body_of(client.send(frames.window_update(1, 5)), 1) == bytes(5)
    # A smaller initial window takes from the open ones, too: what is left is 5 less than nothing.
    assert body_of(client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 5})), 1) == b""
    assert body_of(client.send(frames.window_update(1, 5)), 1) == b""
    found = client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}))
    assert body_of(found, 1) == bytes(10)
    assert found[-1][1] & frames.END_STREAM
    assert not client.connection.streams


def test_answers_keep_to_the_window_of_the_connection_and_the_largest_frame() -> None:
    client = Client(initial_window_size=1 << 20)
    found = client.send(client.request(1, bytes(10_000)) + client.request(3, bytes(15_000)))
    for number in range(5, 11, 2):
        found += client.send(client.request(number, bytes(16_000)))
    sent = sum(len(body_of(found, number)) for number in range(1, 11, 2))
    assert sent == frames.DEFAULT_WINDOW
    found += client.send(frames.window_update(0, 1 << 20))
    assert [len(body_of(found, number)) for number in range(1, 11, 2)] == [10_000, 15_000, 16_000, 16_000, 16_000]
    large = Client(initial_window_size=1 << 20, max_frame_size=1 << 17, answering=False)
    large.send(large.request(1, b"") + frames.window_update(0, 1 << 20))
    large.application.calls[0].answer(bytes(200_000))
    assert [len(payload) for kind, _, _, payload in large.read() if kind == frames.DATA] == [
        1 << 17,
        200_000 - (1 << 17),
    ]


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 40_000), min_size=1, max_size=8), st.lists(st.integers(1, 60_000), min_size=1, max_size=8)
)
def test_every_byte_is_answered_whatever_the_windows(sizes: list[int], grants: list[int]) -> None:
    client = Client(initial_window_size=1)
    found: list[Any] = []
    for index, size in enumerate(sizes):
        number = 2 * index + 1
        found += client.send(client.headers(number))
        body = bytes([index]) * size
        for start in range(0, max(1, size), 16_000):
            ended = frames.END_STREAM if start + 16_000 >= size else 0
            found += client.send(frames.frame(frames.DATA, ended, number, body[start : start + 16_000]))
    for turn in range(2 + sum(sizes) // min(grants)):
        if not client.connection.streams:
            break
        grant = grants[turn % len(grants)]
        found += client.send(frames.window_update(0, grant))
        for number in list(client.connection.streams):
            found += client.send(frames.window_update(number, grant))
    for index, size in enumerate(sizes):
        assert body_of(found, 2 * index + 1) == bytes([index]) * size
    assert not client.connection.streams


def test_requests_are_given_windows() -> None:
    limits = Limits(stream_window=100_000, connection_window=200_000)
    client = Client(limits)
    found = client.send(client.headers(1))
    for _ in range(100):
        found += client.send(frames.frame(frames.DATA, 0, 1, bytes(10_000)))
    granted = {0: 0, 1: 0}
    for kind, _, number, payload in found:
        assert kind == frames.WINDOW_UPDATE
        granted[number] += int.from_bytes(payload, "big")
    assert 1_000_000 - 100_000 <= granted[0] <= 1_000_000
    assert 1_000_000 - 50_000 <= granted[1] <= 1_000_000


def test_more_data_than_the_window_allows() -> None:
    limits = Limits(stream_window=10_000, connection_window=100_000)
    client = Client(limits)
    found = client.send(client.headers(1) + frames.frame(frames.DATA, 0, 1, bytes(10_001)))
    assert (frames.RST_STREAM, 0, 1, b"\0\0\0\3") in found
    assert client.application.calls[0].left
    # The rest of that stream's data may be on its way.
    assert frames.GOAWAY not in kinds(client.send(frames.frame(frames.DATA, 0, 1, b"x")))


def test_an_answer_before_the_end_of_the_request() -> None:
    client = Client(answering=False)
    client.send(client.headers(1) + frames.frame(frames.DATA, 0, 1, b"part"))
    client.application.calls[0].answer(b"enough")
    found = client.read()
    assert kinds(found) == [frames.HEADERS, frames.DATA, frames.HEADERS, frames.RST_STREAM]
    assert found[-1][3] == bytes(4)
    assert client.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"rest")) == []
    assert client.woken


def test_a_client_that_takes_its_call_back() -> None:
    client = Client(answering=False, initial_window_size=0)
    client.send(client.request(1, b"one") + client.request(3, b"two"))
    first, second = client.application.calls
    first.answer(b"answer")
    assert body_of(client.read(), 1) == b""
    client.send(frames.rst_stream(1, ErrorCode.CANCEL) + frames.rst_stream(3, ErrorCode.CANCEL))
    assert first.left
    assert second.left
    second.answer(b"late")
    assert client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 100}))[1:] == []
    client.connection.lost()


def test_too_many_streams() -> None:
    client = Client(Limits(streams=2), answering=False)
    found = client.send(b"".join(client.request(number, b"") for number in (1, 3, 5)))
    assert found == [(frames.RST_STREAM, 0, 5, ErrorCode.REFUSED_STREAM.to_bytes(4, "big"))]
    for call in client.application.calls:
        call.answer(b"")
    client.read()
    assert kinds(client.send(client.request(7, b""))) == []
    assert len(client.application.calls) == 3


def test_a_client_that_takes_no_answers_gets_no_new_ones() -> None:
    client = Client(Limits(waiting=1000), initial_window_size=0)
    assert client.send(client.request(1, bytes(900)) + client.request(3, bytes(900)))
    refused = (frames.RST_STREAM, 0, 5, ErrorCode.REFUSED_STREAM.to_bytes(4, "big"))
    assert client.send(client.request(5, b"x")) == [refused]
    assert body_of(client.send(frames.window_update(1, 900)), 1) == bytes(900)
    assert refused[:2] not in [found[:2] for found in client.send(client.request(7, b""))]
    client.send(frames.rst_stream(3, ErrorCode.CANCEL))
    client.send(client.request(9, bytes(900)) + client.request(11, bytes(900)))
    assert set(client.connection.streams) == {9, 11}


@pytest.mark.parametrize(
    "flood",
    [
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
        frames.settings({}),
        frames.SETTINGS_ACK,
        frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
        frames.window_update(0, 1),
        frames.frame(frames.DATA, 0, 1, b""),
        frames.frame(77, 0, 0, b""),
        frames.rst_stream(1, ErrorCode.CANCEL),
    ],
)
def test_floods_end_the_connection(flood: bytes) -> None:
    client = Client(answering=False)
    client.send(client.headers(1))
    found: list[Any] = []
    for _ in range(50):
        found += client.send(flood * 100)
        if client.connection.closing:
            break
    assert goaway_of(found) is ErrorCode.ENHANCE_YOUR_CALM
    assert all(call.left for call in client.application.calls)


def test_the_same_frames_now_and_then_do_not() -> None:
    client = Client()
    for second in range(100):
        client.now = float(second)
        found = client.send(frames.frame(frames.PING, 0, 0, bytes(8)) * 400)
        assert kinds(found) == [frames.PING] * 400


def test_acknowledged_answers_do_not() -> None:
    """Clients answer each of our DATA frames with a PING and two updates of windows, as fast as they come."""
    client = Client()
    around = frames.frame(frames.PING, 0, 0, bytes(8)) + frames.window_update(0, 1) * 2
    for number in range(1, 20_001, 2):
        found = client.send(client.request(number, b"x") + around)
        assert frames.GOAWAY not in kinds(found)


@pytest.mark.parametrize("by_the_server", [False, True])
def test_rapid_reset(by_the_server: bool) -> None:
    client = Client(answering=False)
    found: list[Any] = []
    for number in range(1, 10_001, 2):
        fault = frames.window_update(number, 0) if by_the_server else frames.rst_stream(number, ErrorCode.CANCEL)
        found += client.send(client.headers(number) + fault)
        if client.connection.closing:
            break
    assert goaway_of(found) is ErrorCode.ENHANCE_YOUR_CALM
    assert len(client.application.calls) < 2100


def busy(client: Client, seconds: float, life: float, reset: Callable[[int], bytes]) -> None:
    """3000 calls a second, each of which gets what `reset` gives for it after `life` seconds."""
    waiting: deque[tuple[float, int]] = deque()
    for number in range(1, int(6000 * seconds), 2):
        client.now += 1 / 3000
        client.connection.receive(client.request(number, b"x"), client.now)
        waiting.append((client.now + life, number))
        while waiting[0][0] <= client.now:
            client.connection.receive(reset(waiting.popleft()[1]), client.now)
        client.read()


def test_calls_whose_deadlines_pass_do_not_end_the_connection() -> None:
    client = Client(answering=False)
    busy(client, 2.0, 0.15, lambda number: frames.rst_stream(number, ErrorCode.CANCEL))
    assert not client.connection.closing
    assert len(client.application.calls) == 6000


@pytest.mark.parametrize("data", [b"answer", b""])
def test_calls_that_are_taken_back_as_they_are_answered_do_not(data: bytes) -> None:
    client = Client(answering=False)

    def meet(number: int) -> bytes:
        client.application.calls[number // 2].answer(data)
        return frames.rst_stream(number, ErrorCode.CANCEL)

    client.send(frames.window_update(0, 1 << 20))
    busy(client, 2.0, 0.05, meet)
    assert not client.connection.closing


def test_calls_that_are_refused_for_want_of_room_do_not() -> None:
    client = Client(Limits(streams=1), answering=False)
    client.send(client.request(1, b""))
    for number in range(3, 10_001, 2):
        assert kinds(client.send(client.request(number, b"x"))) == [frames.RST_STREAM]
        # The client's own deadline passed meanwhile.
        assert client.send(frames.rst_stream(number, ErrorCode.CANCEL)) == []
    assert not client.connection.closing


@pytest.mark.parametrize("sent", [frames.END_STREAM, 0])
def test_calls_that_are_taken_back_early_or_never_sent_do(sent: int) -> None:
    client = Client(answering=False)
    life = 0.05 if sent else 0.2
    client.request = lambda number, body: client.headers(number, flags=sent)  # type: ignore[method-assign]
    busy(client, 2.0, life, lambda number: frames.rst_stream(number, ErrorCode.CANCEL))
    assert client.connection.closing


def test_a_client_that_never_begins() -> None:
    connection = Connection(Echo(), Limits(handshake=10), 0.0, lambda: None)
    connection.receive(frames.PREFACE[:5], 1.0)
    connection.tick(9.0)
    assert not connection.closing
    connection.tick(11.0)
    assert connection.closing


def test_a_client_that_falls_silent() -> None:
    client = Client(Limits(silence=100, ping=20))
    client.connection.tick(90.0)
    assert client.read() == []
    client.connection.tick(102.0)
    assert kinds(client.read()) == [frames.PING]
    client.now = 103.0
    client.send(frames.frame(frames.PING, frames.ACK, 0, b"haldane?"))
    client.connection.tick(123.0)
    assert not client.connection.closing
    client.connection.tick(204.0)
    client.connection.tick(225.0)
    assert client.connection.closing


def test_a_client_that_does_not_take_its_answer() -> None:
    client = Client(Limits(stalled=60), initial_window_size=0)
    client.send(client.request(1, b"answer"))
    client.connection.tick(2.0)
    client.connection.tick(61.0)
    assert client.connection.streams
    client.connection.tick(63.0)
    assert not client.connection.streams
    assert kinds(client.read()) == [frames.RST_STREAM]


def test_drain_finishes_what_runs_and_takes_what_is_on_its_way() -> None:
    client = Client(answering=False)
    client.send(client.request(1, b"one"))
    client.connection.drain()
    goaway, ping = client.read()
    assert (goaway[0], goaway[3][:4]) == (frames.GOAWAY, frames.MAX_STREAM_ID.to_bytes(4, "big"))
    assert ping[0] == frames.PING
    client.send(client.request(3, b"two"))
    found = client.send(frames.frame(frames.PING, frames.ACK, 0, ping[3]))
    assert (found[0][0], found[0][3][:4]) == (frames.GOAWAY, b"\0\0\0\3")
    client.send(client.request(5, b"too late"))
    first, second = client.application.calls
    first.answer(b"1")
    assert not client.connection.closing
    second.answer(b"2")
    assert client.connection.closing
    assert (body_of(client.read(), 3)) == b"2"


def test_stop_ends_what_has_no_end() -> None:
    client = Client(answering=False)
    client.send(client.headers(1))
    client.connection.drain()
    client.connection.stop()
    assert body_of(client.read(), 1) == b"the end"
    client.send(frames.frame(frames.PING, frames.ACK, 0, b"haldane?"))
    assert client.connection.closing


def test_an_idle_client_drains_at_once() -> None:
    client = Client()
    client.connection.drain()
    client.read()
    client.send(frames.frame(frames.PING, frames.ACK, 0, b"haldane?"))
    assert client.connection.closing


def test_a_client_that_says_goodbye() -> None:
    client = Client(answering=False)
    client.send(client.request(1, b"one") + frames.goaway(0, ErrorCode.NO_ERROR))
    assert not client.connection.closing
    client.application.calls[0].answer(b"1")
    assert client.connection.closing


def test_http1() -> None:
    connection = Connection(Echo(), Limits(), 0.0, lambda: None)
    connection.receive(b"GET /v2/models/m HTTP/1.1\r\nHost: x\r\n\r\n", 0.0)
    assert connection.closing
    assert b"".join(connection.out).startswith(b"HTTP/1.1 505 ")


def test_a_fault_of_ours_ends_the_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    client.application.open = None  # type: ignore[assignment, method-assign]
    assert goaway_of(client.send(client.headers(1))) is ErrorCode.INTERNAL_ERROR
    assert "a fault of the server" in caplog.text


numbers = st.integers(0, 12) | st.just(frames.MAX_STREAM_ID)
blocks = st.sampled_from([hpack.Encoder().encode(REQUEST), b"", b"\x82"]) | st.binary(max_size=30)
payloads = st.one_of(
    st.binary(max_size=60),
    st.integers(0, 0xFFFFFFFF).map(lambda word: word.to_bytes(4, "big")),
    st.just(bytes(8)),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 0xFFFFFFFF)), max_size=3).map(
        lambda items: b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in items)
    ),
)
any_frames = st.one_of(
    st.builds(frames.frame, st.integers(0, 11), st.integers(0, 255), numbers, payloads),
    st.builds(
        frames.frame,
        st.just(frames.HEADERS),
        st.sampled_from([0x4, 0x5, 0x4, 0x5, 0x0, 0x24, 0xC]),
        st.integers(0, 40).map(lambda half: 2 * half + 1),
        blocks,
    ),
    st.builds(frames.frame, st.just(frames.DATA), st.sampled_from([0, 1, 1, 8, 9]), numbers, st.binary(max_size=60)),
    st.builds(frames.frame, st.just(frames.WINDOW_UPDATE), st.just(0), numbers, payloads),
)
steps = st.lists(any_frames | st.just("tick") | st.just("answer") | st.just("drain"), max_size=30)


@settings(max_examples=400)
@given(steps, st.booleans())
def test_any_frames(sent: list[Any], answering: bool) -> None:
    """Nothing raises, what is written are frames, and what is held is bounded."""
    limits = Limits(streams=4, stream_window=200, connection_window=70_000)
    client = Client(limits, answering=answering)
    connection = client.connection
    for step in sent:
        client.now += 1.0
        if step == "tick":
            connection.tick(client.now)
        elif step == "drain":
            connection.drain()
        elif step == "answer":
            for call in client.application.calls:
                if call.ended and not call.left and call.stream.id in connection.streams:
                    call.answer(b"answer" * 10)
        else:
            connection.receive(step, client.now)
        for kind, _, number, _ in client.read():
            assert kind in (
                frames.DATA,
                frames.HEADERS,
                frames.RST_STREAM,
                frames.SETTINGS,
                frames.PING,
                frames.GOAWAY,
                frames.WINDOW_UPDATE,
            )
            assert number <= frames.MAX_STREAM_ID
        assert len(connection.streams) <= limits.streams
    connection.lost()
    assert not connection.streams
