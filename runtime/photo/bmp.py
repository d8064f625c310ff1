"""A BMP's embedded colour profile, which Pillow neither reads nor writes; the header's version 5 has a place for it."""

from __future__ import annotations

import struct
from typing import BinaryIO

from .icc import MOST_BYTES

_FILE, _V3, _V5 = 14, 40, 124
_EMBEDDED = b"DEBM"  # "MBED" as a number, the lower byte first
_FOR_PICTURES = 4


def profile(file: BinaryIO) -> bytes | None:
    """The ICC profile in a BMP; None without one."""
    file.seek(_FILE)
    header = file.read(_V5)
    if len(header) < _V5 or int.from_bytes(header[:4], "little") < _V5 or header[56:60] != _EMBEDDED:
        return None
    place, size = struct.unpack_from("<II", header, 112)
    file.seek(_FILE + place)
    return file.read(min(size, MOST_BYTES + 1)) or None


def with_profile(data: bytes, profile: bytes) -> bytes:
    """The BMP ``data``, whose header is of version 3, with ``profile`` behind its pixels."""
    more = _V5 - _V3
    size, pixels = len(data) + more + len(profile), int.from_bytes(data[10:14], "little")
    file_header = data[:2] + struct.pack("<III", size, 0, pixels + more)
    place = len(data) - _FILE + more
    added = bytes(16) + _EMBEDDED + bytes(48) + struct.pack("<IIII", _FOR_PICTURES, place, len(profile), 0)
    header = struct.pack("<I", _V5) + data[_FILE + 4 : _FILE + _V3] + added
    return b"".join([file_header, header, data[_FILE + _V3 :], profile])
