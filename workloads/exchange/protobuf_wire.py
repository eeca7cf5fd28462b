"""The protobuf wire format, as far as execution traces need it: varints, doubles and length-delimited fields.

Source: Protocol Buffers documentation, "Encoding". A message is bytes on the way out and a list of fields on the way in.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""
MAX_VARINT_BYTES: Final = 10
_MASK64: Final = (1 << 64) - 1


class Field(NamedTuple):
    """One field of a message."""

    number: int
    kind: int
    """Wire type."""
    value: int | bytes
    """Unsigned number, or the bytes of the field."""

    def signed(self) -> int:
        """A varint as int64."""
        number = self.unsigned()
        return number - (1 << 64) if number >> 63 else number

    def unsigned(self) -> int:
        """A varint, or a fixed number. ValueError for anything else."""
        if not isinstance(self.value, int):
            raise ValueError(f"field {self.number} is not a number")
        return self.value

    def data(self) -> bytes:
        """The bytes of a length-delimited field. ValueError for anything else."""
        if not isinstance(self.value, bytes) or self.kind != BYTES:
            raise ValueError(f"field {self.number} is not a message or text")
        return self.value

    def text(self) -> str:
        """UTF-8 text. ValueError where it is none."""
        return self.data().decode("utf-8")

    def double(self) -> float:
        """A double. ValueError for anything else."""
        if self.kind != FIXED64 or not isinstance(self.value, int):
            raise ValueError(f"field {self.number} is not a double")
        return float(struct.unpack("<d", struct.pack("<Q", self.value))[0])

    def varints(self) -> Iterator[int]:
        """A repeated number field: packed, or one of its elements."""
        if self.kind == VARINT:
            yield self.unsigned()
            return
        data, at = self.data(), 0
        while at < len(data):
            number, at = read_varint(data, at)
            yield number


def varint(number: int) -> bytes:
    """A number, negative ones as int64."""
    number &= _MASK64
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, number: int) -> bytes:
    """A varint field."""
    return varint(field << 3 | VARINT) + varint(number)


def double_field(field: int, number: float) -> bytes:
    """A double field."""
    return varint(field << 3 | FIXED64) + struct.pack("<d", number)


def bytes_field(field: int, data: bytes | str) -> bytes:
    """A text, bytes or message field."""
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | BYTES) + varint(len(data)) + data


def packed_field(field: int, numbers: list[int]) -> bytes:
    """A repeated number field, packed; nothing where it is empty."""
    return bytes_field(field, b"".join(map(varint, numbers))) if numbers else b""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends). ValueError with the place where it is cut off or too long."""
    number = 0
    for place in range(MAX_VARINT_BYTES):
        if at + place >= len(data):
            raise ValueError(f"ends at byte {len(data)} inside a number")
        byte = data[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number & _MASK64, at + place + 1
    raise ValueError(f"the number at byte {at} is longer than {MAX_VARINT_BYTES} bytes")


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order. ValueError with the place for what is no message."""
    at = 0
    while at < len(data):
        begin = at
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
            yield Field(tag >> 3, kind, value)
            continue
        if kind == BYTES:
            size, at = read_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"the field at byte {begin} has the unknown wire type {kind}")
        if size > len(data) - at:
            raise ValueError(f"the field at byte {begin} claims {size} bytes, {len(data) - at} are left")
        part = data[at : at + size]
        at += size
        yield Field(tag >> 3, kind, part if kind == BYTES else int.from_bytes(part, "little"))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(first byte, message) of a file of messages that each follow their length."""
    at = 0
    while at < len(data):
        begin = at
        size, at = read_varint(data, at)
        if size > len(data) - at:
            raise ValueError(f"the message at byte {begin} claims {size} bytes, {len(data) - at} are left")
        yield begin, data[at : at + size]
        at += size
