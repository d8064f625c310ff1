"""Just enough of protobuf's wire format to look into an ONNX graph, and to write a small one, without the onnx
library."""

from __future__ import annotations

from collections.abc import Iterator


def fields(content: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """(field number, varint or bytes, where in ``content`` that begins) of one message. Raises ValueError or IndexError
    where it is none."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        field, wire = key >> 3, key & 7
        if not 0 < field < 1 << 29:  # protobuf drops the bits above: a field hidden from us, seen by the engine
            raise ValueError(f"field number {field}")
        if wire == 0:
            start = place
            number, place = _varint(content, place)
            yield field, number, start
            continue
        if wire == 2:
            size, place = _varint(content, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(content):
            raise ValueError("cut off")
        if wire == 2:
            yield field, content[place : place + size], place
        place += size


def parts(content: memoryview, number: int) -> Iterator[memoryview]:
    """The bytes of every field of this number, such as the messages in it. Writing to them writes to ``content``."""
    return (value for field, value, _ in fields(content) if field == number and isinstance(value, memoryview))


def message(*found: tuple[int, int | str | bytes]) -> bytes:
    """The bytes of a message with these (field number, value): integers from 0 up as varints, the rest as lengths and
    bytes."""
    written = bytearray()
    for field, value in found:
        if isinstance(value, int):
            written += _number(field << 3) + _number(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            written += _number(field << 3 | 2) + _number(len(content)) + content
    return bytes(written)


def _number(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("overlong number")
