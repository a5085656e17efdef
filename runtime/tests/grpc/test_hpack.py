"""Header compression, held against the `hpack` library at the other end."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode
from haldane_runtime.protocol.grpc.hpack import Fields, HeaderBlock, HeaderDecoder, HeaderEncoder

LIMIT = 16 << 10
TOO_LONG: Fields = ((b"too", b"long"),)

names = st.sampled_from([b":path", b"te", b"user-agent", b"grpc-timeout", b"x-custom"]) | st.binary(
    min_size=1, max_size=20
)
fields = st.tuples(names, st.sampled_from([b"", b"trailers", b"/a.B/C"]) | st.binary(max_size=60))


def decoder(limit: int = LIMIT) -> HeaderDecoder[Fields]:
    return HeaderDecoder(limit, lambda found: found, TOO_LONG)


@given(
    st.lists(st.tuples(st.lists(fields, max_size=12), st.booleans()), max_size=12), st.sampled_from([0, 64, 300, 4096])
)
def test_what_another_encoder_writes(blocks: list[tuple[list[tuple[bytes, bytes]], bool]], table: int) -> None:
    theirs, ours = hpack.Encoder(), decoder()
    theirs.header_table_size = table
    for sent, huffman in blocks:
        # Twice, as the second is often the block that need not be walked.
        for _ in range(2):
            assert ours.decode(theirs.encode(sent, huffman=huffman)) == tuple(sent)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_mean_the_same_to_both(blocks: list[bytes]) -> None:
    theirs, ours = hpack.Decoder(LIMIT), decoder()
    for block in blocks:
        try:
            expected = tuple(map(tuple, theirs.decode(block, raw=True)))
        except (hpack.HPACKError, IndexError):
            with pytest.raises(ConnectionFault) as caught:
                ours.decode(block)
            assert caught.value.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)
            return
        try:
            assert ours.decode(block) == expected
        except ConnectionFault as fault:
            # Numbers written in more bytes than they need, which only an attack does.
            assert "ValueError" in fault.message  # noqa: PT017
            return


def test_a_bomb() -> None:
    """One large field in the table, named again and again, one byte each."""
    ours = decoder()
    (field,) = ours.decode(b"\x40\x01a\x7f\xa1\x1e" + bytes(4000))
    assert ours.decode(b"\xbe" * 4) == (field,) * 4
    for _ in range(2):
        assert ours.decode(b"\xbe" * 5) is TOO_LONG


@given(st.lists(st.lists(fields, max_size=12), max_size=12), st.integers(50, 500), st.booleans())
def test_blocks_that_are_too_long_leave_the_table_right(
    blocks: list[list[tuple[bytes, bytes]]], limit: int, huffman: bool
) -> None:
    theirs, ours = hpack.Encoder(), decoder(limit)
    for sent in blocks:
        size = sum(len(name) + len(value) + 32 for name, value in sent)
        expected = tuple(sent) if size <= limit else TOO_LONG
        assert ours.decode(theirs.encode(sent, huffman=huffman)) == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30), st.lists(fields, min_size=5, max_size=12))
def test_our_encoder(uses: list[tuple[int, bool]], found: list[tuple[bytes, bytes]]) -> None:
    blocks = [HeaderBlock(*found[start : start + 4]) for start in range(5)]
    ours, theirs = HeaderEncoder(), hpack.Decoder()
    for number, once in uses:
        block = blocks[number]
        encoded = ours.literal(block) if once else ours.encode(block)
        assert tuple(map(tuple, theirs.decode(encoded, raw=True))) == block.fields


def test_a_repeated_block_takes_a_byte_a_field() -> None:
    ours = HeaderEncoder()
    block = HeaderBlock((b":status", b"200"), (b"content-type", b"application/grpc"), (b"x-mine", b"abc"))
    assert len(ours.encode(block)) > 20
    assert len(ours.encode(block)) == 3


def test_blocks_beyond_the_table_stay_literal() -> None:
    ours, theirs = HeaderEncoder(), hpack.Decoder()
    for number in range(200):
        block = HeaderBlock((b"x-number", b"%d" % number * 10))
        for _ in range(2):
            assert tuple(map(tuple, theirs.decode(ours.encode(block), raw=True))) == block.fields
    assert len(theirs.header_table.dynamic_entries) < 70


@pytest.mark.parametrize("size", [0, 100])
def test_a_peer_with_a_smaller_table_is_told_that_none_is_used(size: int) -> None:
    ours, theirs = HeaderEncoder(), hpack.Decoder()
    block = HeaderBlock((b":status", b"200"), (b"x-mine", b"abc"))
    theirs.decode(ours.encode(block))
    ours.resize(size)
    theirs.max_allowed_table_size = size
    for _ in range(3):
        assert tuple(map(tuple, theirs.decode(ours.encode(block), raw=True))) == block.fields
    assert not theirs.header_table.dynamic_entries
