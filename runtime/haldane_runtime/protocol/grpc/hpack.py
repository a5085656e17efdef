"""HPACK (RFC 7541): header blocks to fields, and fields to blocks that need no table.

The dynamic table and the Huffman code are the `hpack` library's. The walk over a block is ours, because a gRPC client repeats one
fully indexed block for call after call: such a block leaves the table as it is, so that the bytes alone name what it holds.
"""

from hpack.exceptions import HPACKError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

TABLE_BYTES = 4096
ENTRY_OVERHEAD = 32
_REMEMBERED_BLOCKS = 64
_REMEMBERED_BYTES = 1024
# Five continuation bytes hold every number that could matter here; more is an attack on the arithmetic.
_INTEGER_BYTES = 5


class HeaderDecoder:
    """The decoding state of one connection; `limit` bounds a block's fields, in bytes as RFC 9113 counts them."""

    __slots__ = ("_blocks", "_dynamic", "_limit", "_table")

    def __init__(self, limit: int) -> None:
        self._table = HeaderTable()
        self._table.maxsize = TABLE_BYTES
        self._dynamic = self._table.dynamic_entries
        self._limit = limit
        self._blocks: dict[bytes, Fields] = {}

    def decode(self, block: bytes) -> Fields:
        """Every block of a connection must pass here in order, even those of streams that nobody waits for.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, or ENHANCE_YOUR_CALM when the fields grow over the limit.
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
        if changed:
            self._blocks.clear()
        elif len(block) <= _REMEMBERED_BYTES:
            if len(self._blocks) >= _REMEMBERED_BLOCKS:
                self._blocks.clear()
            self._blocks[block] = fields
        return fields

    def _walk(self, block: bytes) -> tuple[Fields, bool]:
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
                if fields:
                    raise ValueError("a table size update after a field")
                at = self._resize(block, at, first & 0x1F)
                changed = True
                continue
            else:
                field, at = self._literal(block, at, first & 0x0F, 0x0F)
            size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if size > self._limit:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header list is larger than {self._limit} bytes")
            fields.append(field)
        return tuple(fields), changed

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


def encode(*fields: Field) -> bytes:
    """A block that neither reads nor changes a dynamic table, so that it can be made once for all connections."""
    return b"".join(map(_encode, fields))


def _encode(field: Field) -> bytes:
    if index := _STATIC_FIELD.get(field):
        return bytes([0x80 | index])
    name, value = field
    if index := _STATIC_NAME.get(name, 0):
        return bytes(encode_integer(index, 4)) + _plain(value)
    return b"\0" + _plain(name) + _plain(value)


def _plain(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), 7)) + text
