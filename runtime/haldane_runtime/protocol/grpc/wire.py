"""As much of protobuf's wire format as lets large tensors stay where they are. Pure.

protobuf would copy every `raw_input_contents` twice; a message that is mostly numbers is taken apart by hand instead.
"""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def without_field(message: memoryview, field: int) -> tuple[bytes, list[memoryview]] | None:
    """The message without the top-level field of that number, and what it held, in order; the field is of bytes.

    None when the message is not as simple as that: protobuf then says what it is.
    """
    kept: list[memoryview] = []
    found: list[memoryview] = []
    at, end = 0, len(message)
    wanted = field << 3 | _LENGTH
    try:
        while at < end:
            start = at
            tag, at = _number(message, at)
            kind = tag & 7
            if kind == _LENGTH:
                size, at = _number(message, at)
            elif kind == _VARINT:
                _, at = _number(message, at)
                size = 0
            else:
                size = _FIXED_BYTES[kind]
            stop = at + size
            if stop > end:
                return None
            if tag == wanted:
                found.append(message[at:stop])
            elif tag >> 3 == field:
                return None
            else:
                kept.append(message[start:stop])
            at = stop
    except (IndexError, KeyError, ValueError):
        return None
    return b"".join(kept), found


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = message[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
