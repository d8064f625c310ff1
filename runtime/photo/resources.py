"""Photoshop's image resources ("8BIM" blocks), in which JPEG keeps IPTC, and IPTC's own records."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_IPTC = 0x0404
# thumbnails of the dark photo; an ICC profile, EXIF and XMP, which have places of their own
_DROPPED = (0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424)
_KINDS = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")


def divided(blocks: bytes) -> tuple[bytes | None, bytes | None]:
    """(IPTC records, the other resources that stay true), each None where there are none. Damage ends the blocks."""
    iptc, others = b"", []
    for number, whole, data in _blocks(blocks):
        if number == _IPTC:
            iptc = iptc or records(data)
        elif number not in _DROPPED:
            others.append(whole)
    return iptc or None, b"".join(others) or None


def joined(iptc: bytes | None, others: bytes | None) -> bytes:
    """Both as blocks; empty where there is neither."""
    if not iptc:
        return others or b""
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2) + (others or b"")


def records(data: bytes) -> bytes:
    """The IPTC records that ``data`` begins with, without the padding behind them. A TIFF's may come in words of the
    other byte order."""
    if data[:1] != b"\x1c" and data[3:4] == b"\x1c" and len(data) % 4 == 0:
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        size, head = int.from_bytes(data[at + 3 : at + 5], "big"), 5
        if size & 0x8000:
            head += size & 0x7FFF
            size = int.from_bytes(data[at + 5 : at + head], "big")
        if at + head + size > len(data):
            break
        at += head + size
    return data[:at]


def _blocks(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, the whole block, its data) of each resource."""
    at = 0
    while at + 12 <= len(data) and data[at : at + 4] in _KINDS:
        number, name = struct.unpack(">HB", data[at + 4 : at + 7])
        start = at + 6 + (name + 2 & ~1)
        size = int.from_bytes(data[start : start + 4], "big")
        end = start + 4 + size
        if start + 4 > len(data) or end > len(data):
            return
        yield number, data[at:end] + bytes(size % 2), data[start + 4 : end]
        at = end + size % 2
