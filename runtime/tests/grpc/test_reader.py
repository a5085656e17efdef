"""Bytes to frames: however they are cut, and whatever they are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode, Setting
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.reader import Frame, FrameReader, NotHttp2

LIMITS = Limits(max_frame=16 << 10, continuations=3, header_block=100)
START = frames.PREFACE + frames.settings({Setting.ENABLE_PUSH: 0})

whole_frames = st.builds(
    frames.frame,
    st.sampled_from([frames.DATA, frames.PING, frames.WINDOW_UPDATE, frames.RST_STREAM, 99]),
    st.integers(0, 255),
    st.integers(0, frames.MAX_STREAM_ID),
    st.binary(max_size=40),
)


def fed(*pieces: bytes) -> list[Frame]:
    reader = FrameReader(LIMITS)
    return [frame for piece in pieces for frame in reader.feed(piece)]


@given(st.lists(whole_frames, max_size=8), st.lists(st.integers(0, 500), max_size=6))
def test_cuts_do_not_matter(sent: list[bytes], cuts: list[int]) -> None:
    data = START + b"".join(sent)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert fed(*pieces) == fed(data)
    assert fed(*(bytes([byte]) for byte in data)) == fed(data)
    assert len(fed(data)) == 1 + len(sent)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_frames_or_a_fault(data: bytes, started: bool) -> None:
    reader = FrameReader(LIMITS)
    try:
        for piece in (START, data) if started else (data,):
            for _, flags, number, payload in reader.feed(piece):
                assert 0 <= flags <= 255
                assert 0 <= number <= frames.MAX_STREAM_ID
                assert len(payload) <= LIMITS.max_frame
    except (ConnectionFault, NotHttp2):
        pass


def test_a_header_block_in_parts() -> None:
    parts = [
        frames.frame(
            frames.HEADERS, frames.END_STREAM | frames.PADDED | frames.WITH_PRIORITY, 1, b"\2" + bytes(5) + b"ab\0\0"
        ),
        frames.frame(frames.CONTINUATION, 0, 1, b"cd"),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"ef"),
    ]
    _, (kind, flags, number, block) = fed(START + b"".join(parts))
    assert (kind, flags & frames.END_STREAM, number, block) == (frames.HEADERS, frames.END_STREAM, 1, b"abcdef")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"PRI * HTTP/1.0", ErrorCode.PROTOCOL_ERROR),
        (b"\x16\x03\x01\x02\x00\x01", ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.frame(frames.PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.SETTINGS_ACK, ErrorCode.PROTOCOL_ERROR),
        (START + frames.pack_header(0x40, 1, frames.DATA, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
        (START + frames.frame(frames.CONTINUATION, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (
            START + frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.DATA, 0, 1, b""),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (
            START + frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 3, b""),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (START + frames.frame(frames.HEADERS, frames.PADDED, 1, b"\x09ab"), ErrorCode.PROTOCOL_ERROR),
        (START + frames.frame(frames.HEADERS, frames.PADDED, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
        (START + frames.frame(frames.HEADERS, frames.WITH_PRIORITY, 1, b"abc"), ErrorCode.PROTOCOL_ERROR),
        # The floods of CONTINUATION: too many, and too long.
        (
            START + frames.frame(frames.HEADERS, 0, 1, b"") + 4 * frames.frame(frames.CONTINUATION, 0, 1, b""),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (
            START + frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, bytes(101)),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_faults(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        fed(data)
    assert caught.value.code is code


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"POST /v2/models/m/infer HTTP/1.1\r\n"])
def test_http1_is_told_apart(line: bytes) -> None:
    with pytest.raises(NotHttp2):
        fed(line)
