"""EXIF and TIFF structures for the tests, made and read by code that knows nothing of the product's."""

from __future__ import annotations

import struct
from pathlib import Path

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
POINTERS = {34665: "exif", 34853: "gps", 40965: "interop"}

Value = tuple[int, int, bytes]
"""Type, count and the bytes of the values."""
Tags = dict[str, dict[int, Value]]
"""Directory ("image", "exif", "gps", "interop") -> tag -> value."""


def made(tags: Tags, order: str = "<", *, pad: int = 0) -> bytes:
    """A TIFF structure with these tags, ``pad`` bytes in front of the values that stand behind the directories."""
    names = [name for name in ("image", "exif", "gps", "interop") if name == "image" or name in tags]
    inside = {"exif": "image", "gps": "image", "interop": "exif"}
    entries = {name: dict(tags.get(name, {})) for name in names}
    for pointer, name in POINTERS.items():
        if name in names:
            entries[inside[name]][pointer] = (4, 1, b"")
    starts, offset = {}, 8
    for name in names:
        starts[name], offset = offset, offset + 6 + 12 * len(entries[name])
    offset += pad
    tables, values = b"", bytes(pad)
    for name in names:
        tables += struct.pack(order + "H", len(entries[name]))
        for tag, (kind, count, value) in sorted(entries[name].items()):
            if tag in POINTERS and not value:
                value = struct.pack(order + "I", starts[POINTERS[tag]])
            field = value.ljust(4, b"\0")
            if len(value) > 4:
                field = struct.pack(order + "I", offset + len(values) - pad)
                values += value + bytes(len(value) % 2)
            tables += struct.pack(order + "HHI", tag, kind, count) + field
        tables += bytes(4)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + tables + values


def parsed(data: bytes) -> tuple[str, Tags]:
    """(byte order, tags without the pointers) of a TIFF structure that is whole."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    found: Tags = {}

    def directory(at: int, name: str) -> None:
        (number,) = struct.unpack(order + "H", data[at : at + 2])
        found[name], last = {}, -1
        for entry in range(at + 2, at + 2 + 12 * number, 12):
            tag, kind, count = struct.unpack(order + "HHI", data[entry : entry + 8])
            assert tag > last, "sorted, each once"
            last, size, where = tag, SIZES[kind] * count, entry + 8
            if size > 4:
                (where,) = struct.unpack(order + "I", data[where : where + 4])
                assert where % 2 == 0 or tag == 37500
            value = data[where : where + size]
            assert len(value) == size
            if tag in POINTERS:
                directory(struct.unpack(order + "I", value)[0], POINTERS[tag])
            else:
                found[name][tag] = (kind, count, value)
        assert data[at + 2 + 12 * number :][:4] == bytes(4), "no thumbnail"

    directory(struct.unpack(order + "I", data[4:8])[0], "image")
    return order, found


def exif_of(path: Path) -> bytes:
    """The TIFF structure of a JPEG, PNG, WebP or TIFF file."""
    data = path.read_bytes()
    if data[:2] in (b"II", b"MM"):
        return data
    bodies = [body[6:] for marker, body in jpeg_segments(data) if marker == 0xE1 and body[:6] == b"Exif\0\0"]
    chunks = png_chunks(data) + riff_chunks(data)
    bodies += [body for kind, body in chunks if kind in (b"eXIf", b"EXIF")]
    assert len(bodies) == 1
    return bodies[0]


def jpeg_segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, body) of a JPEG up to its pixels; none of another file."""
    found, at = [], 2
    while data[:2] == b"\xff\xd8" and data[at + 1] != 0xDA:
        assert data[at] == 0xFF
        (size,) = struct.unpack(">H", data[at + 2 : at + 4])
        found.append((data[at + 1], data[at + 4 : at + 2 + size]))
        at += 2 + size
    return found


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, data) of a PNG; none of another file."""
    found, at = [], 8
    while data[:4] == b"\x89PNG" and at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, data) of a WebP; none of another file."""
    found, at = [], 12
    while data[:4] == b"RIFF" and at < len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """The JPEG ``data`` with segments in front of its own."""
    parts = [struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in segments]
    return data[:2] + b"".join(parts) + data[2:]
