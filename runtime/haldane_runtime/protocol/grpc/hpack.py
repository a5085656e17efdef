"""HPACK (RFC 7541): header blocks to fields, and fields to blocks that need no table.

The dynamic table and the Huffman code are the `hpack` library's. The walk over a block is ours, because a gRPC client repeats one
fully indexed block for call after call: such a block leaves the table as it is, so that the bytes alone name what it holds.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack.exceptions import HPACKError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]
T = TypeVar("T")

TABLE_BYTES = 4096
ENTRY_OVERHEAD = 32
_REMEMBERED_BLOCKS = 64
_REMEMBERED_BYTES = 1024
# Five continuation bytes hold every number that could matter here; more is an attack on the arithmetic.
_INTEGER_BYTES = 5


class HeaderDecoder(Generic[T]):
    """The decoding state of one connection; `limit` bounds a block's fields, in bytes as RFC 9113 counts them.

    `read` makes of the fields what is wanted of them, once for all repetitions of a block. A block whose fields grow over
    the limit is `too_long`: its fields are dropped, but what it does to the table is done.
    """

    __slots__ = ("_blocks", "_dynamic", "_limit", "_read", "_table", "_too_long")

    def __init__(self, limit: int, read: Callable[[Fields], T], too_long: T) -> None:
        self._table = HeaderTable()
        self._table.maxsize = TABLE_BYTES
        self._dynamic = self._table.dynamic_entries
        self._limit = limit
        self._read = read
        self._too_long = too_long
        self._blocks: dict[bytes, T] = {}

    def decode(self, block: bytes) -> T:
        """Every block of a connection must pass here in order, even those of streams that nobody waits for.

        Raises:
            ConnectionFault: COMPRESSION_ERROR.
        """
        known = self._blocks.get(block)
        if known is not None:
            return known
        try:
            fields, changed = self._walk(block)
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, f"a header block cannot be decoded: {type(error).__name__}"
            ) from error
        found = self._too_long if fields is None else self._read(fields)
        if changed:
            self._blocks.clear()
        elif len(block) <= _REMEMBERED_BYTES:
            if len(self._blocks) >= _REMEMBERED_BLOCKS:
                self._blocks.clear()
            self._blocks[block] = found
        return found

    def _walk(self, block: bytes) -> tuple[Fields | None, bool]:
        """The fields, None when they are too long, and whether the table has changed."""
        fields: list[Field] = []
        changed = False
        size = at = 0
        end = len(block)
        while at < end:
            first = block[at]
            at += 1
            if first & 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                field = self._entry(index)
            elif first & 0x40:
                field, at = self._literal(block, at, first & 0x3F, 0x3F)
                self._table.add(*field)
                changed = True
            elif first & 0x20:
                if size:
                    raise ValueError("a table size update after a field")
                at = self._resize(block, at, first & 0x1F)
                changed = True
                continue
            else:
                field, at = self._literal(block, at, first & 0x0F, 0x0F)
            size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if size <= self._limit:
                fields.append(field)
        return tuple(fields) if size <= self._limit else None, changed

    def _entry(self, index: int) -> Field:
        if index > _STATIC_ENTRIES:
            return self._dynamic[index - _STATIC_ENTRIES - 1]
        if index == 0:
            raise ValueError("an index of 0")
        return HeaderTable.STATIC_TABLE[index - 1]

    def _literal(self, block: bytes, at: int, index: int, mask: int) -> tuple[Field, int]:
        if index == 0:
            name, at = _string(block, at)
        else:
            if index == mask:
                index, at = _integer(block, at, mask)
            name = self._entry(index)[0]
        value, at = _string(block, at)
        return (name, value), at

    def _resize(self, block: bytes, at: int, size: int) -> int:
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > TABLE_BYTES:
            raise ValueError("a table larger than was allowed")
        self._table.maxsize = size
        return at


_STATIC_ENTRIES = len(HeaderTable.STATIC_TABLE)


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The number whose prefix was all ones, and where it ends."""
    value = prefix
    for shift in range(0, 7 * _INTEGER_BYTES, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of too many bytes")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise ValueError("a string longer than its block")
    text = block[at:end]
    return (decode_huffman(text) if first & 0x80 else text), end


_STATIC_NAME = {name: index for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_STATIC_FIELD = {field: index for index, field in enumerate(HeaderTable.STATIC_TABLE, 1)}


class HeaderBlock:
    """Fields that are sent again and again, made once for all connections; equal only to itself."""

    __slots__ = ("fields", "literal")

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self.literal = b"".join(map(_encode, fields))
        """The block that neither reads nor changes a dynamic table."""


class HeaderEncoder:
    """The encoding state of one connection: blocks are put into the dynamic table as long as there is room, and stay there.

    What is encoded must be sent, in the same order.
    """

    __slots__ = ("_blocks", "_entries", "_room", "_update")

    def __init__(self) -> None:
        self._blocks: dict[HeaderBlock, bytes] = {}
        self._entries: list[Field] = []
        self._room = TABLE_BYTES
        self._update = b""

    def resize(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE, in bytes. One that is smaller than usual ends the use of the table."""
        if size < TABLE_BYTES:
            self._blocks.clear()
            self._entries.clear()
            self._room = 0
            # A table of no bytes, told at the start of the next block.
            self._update = b"\x20"

    def encode(self, block: HeaderBlock) -> bytes:
        """The block in as few bytes as the connection's history allows."""
        return self._blocks.get(block) or self._learn(block)

    def literal(self, block: HeaderBlock) -> bytes:
        """The block for one use only."""
        update, self._update = self._update, b""
        return update + block.literal

    def _learn(self, block: HeaderBlock) -> bytes:
        fresh = [field for field in block.fields if field not in _STATIC_FIELD and field not in self._entries]
        size = sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in fresh)
        if size > self._room or self._update:
            return self.literal(block)
        if not fresh:
            encoded = self._blocks[block] = b"".join(map(self._indexed, block.fields))
            return encoded
        self._room -= size
        self._blocks.clear()
        parts = []
        for field in block.fields:
            if field in fresh and field not in self._entries:
                self._entries.append(field)
                parts.append(_added(field))
            else:
                parts.append(self._indexed(field))
        return b"".join(parts)

    def _indexed(self, field: Field) -> bytes:
        index = _STATIC_FIELD.get(field) or _STATIC_ENTRIES + len(self._entries) - self._entries.index(field)
        return _number(index, 7, 0x80)


def _added(field: Field) -> bytes:
    name, value = field
    index = _STATIC_NAME.get(name, 0)
    return _number(index, 6, 0x40) + (b"" if index else _plain(name)) + _plain(value)


def _encode(field: Field) -> bytes:
    if index := _STATIC_FIELD.get(field):
        return _number(index, 7, 0x80)
    name, value = field
    index = _STATIC_NAME.get(name, 0)
    return _number(index, 4, 0) + (b"" if index else _plain(name)) + _plain(value)


def _plain(text: bytes) -> bytes:
    return _number(len(text), 7, 0) + text


def _number(value: int, prefix: int, pattern: int) -> bytes:
    encoded = encode_integer(value, prefix)
    encoded[0] |= pattern
    return bytes(encoded)
