"""Files that a decoder would work on for minutes: small ones are made on purpose, and refused before it begins.

Each bound is far from what encoders write, and what is under it is read in seconds. A PNG's bounds are in png.py.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import BinaryIO

from ..errors import InputError

_FREE_SCANS, _SCANNED_PIXELS = 16, 2_000_000_000
_SEGMENTS, _JUNK_BYTES, _RESOURCES = 10_000, 100_000, 10_000
_RLE_PIXELS, _RLE_RUNS = 32_000_000, 2_000_000
_TAGS, _STRIPS = 65_535, 400_000
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a stuffed byte nor a restart between two intervals
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE, _END, _SCAN, _PHOTOSHOP = (0x01, 0xD8), 0xD9, 0xDA, 0xED


def check_jpeg(file: BinaryIO) -> None:
    """Raise InputError for a JPEG with far more scans, segments or filling than encoders write.

    A progressive photo is decoded once a scan. Encoders write 6 to 16 scans, at most 64: so many are read of 31
    megapixels, and 16 of any size.
    """
    position, segments, scans, pixels, junk, resources = 2, 0, 0, 0, 0, 0
    while (found := _marker(file, position)) is not None:
        marker, place = found
        junk += 0 if scans else place - position - 2  # behind the first scan are the pixels
        segments += 1
        if marker == _END:
            break
        position = place
        if marker not in _ALONE:
            file.seek(place)
            body = file.read(7)
            length = int.from_bytes(body[:2], "big")
            position += max(2, length)
            if marker in _FRAMES and not pixels:
                pixels = int.from_bytes(body[3:5], "big") * int.from_bytes(body[5:7], "big")
            elif marker == _SCAN:
                scans += 1
            elif marker == _PHOTOSHOP:
                file.seek(place)
                resources += file.read(length).count(b"8BIM")
        if scans > _FREE_SCANS and scans * pixels > _SCANNED_PIXELS:
            most = max(_FREE_SCANS, _SCANNED_PIXELS // pixels)
            raise InputError(
                f"it is a JPEG with more than {most} scans of {pixels / 1e6:.1f} megapixels, "
                "which takes minutes; save it again as a plain JPEG"
            )
        if segments > _SEGMENTS or junk > _JUNK_BYTES or resources > _RESOURCES:
            raise InputError(
                f"it is a JPEG with more than {_SEGMENTS:,} segments, {_RESOURCES:,} Photoshop resources or "
                f"{_JUNK_BYTES:,} bytes of filling, which takes minutes; save it again from another program"
            )


def _marker(file: BinaryIO, position: int) -> tuple[int, int] | None:
    """The next marker and where what follows it begins; None where there is none."""
    size = 16
    while True:
        file.seek(position)
        block = file.read(size)
        match = _MARKER.search(block)
        if match:
            return match[1][0], position + match.end()
        if len(block) < size:
            return None
        position += len(block) - block.endswith(b"\xff")
        size = 1 << 20


def check_bmp(file: BinaryIO) -> None:
    """Raise InputError for a run-length encoded BMP that is larger than a photo of 256 colours would be.

    Pillow decodes these in Python: 32 megapixels, or 2 million runs, take some seconds.
    """
    file.seek(10)
    head = file.read(24)
    if len(head) < 24 or int.from_bytes(head[4:8], "little") < 40 or head[20:24] not in (b"\1\0\0\0", b"\2\0\0\0"):
        return
    width, height = struct.unpack_from("<ii", head, 8)
    file.seek(int.from_bytes(head[:4], "little"))
    most = 3 * _RLE_PIXELS + 2 * _RLE_RUNS
    if abs(width * height) > _RLE_PIXELS or _runs(file.read(most), halves=head[20] == 2) > _RLE_RUNS:
        raise InputError(
            f"it is a run-length encoded BMP of more than {_RLE_PIXELS // 10**6} megapixels or "
            f"{_RLE_RUNS // 10**6} million runs; save it without compression"
        )


def _runs(data: bytes, *, halves: bool) -> int:
    """The runs in ``data``, counted no further than it matters; halves: two pixels a byte."""
    position, count, end = 0, 0, len(data) - 1
    while position < end and count <= _RLE_RUNS:
        count += 1
        pixels = data[position + 1] if data[position] == 0 else 0
        if pixels > 2:
            used = (pixels + 1) // 2 if halves else pixels
            position += 2 + used + used % 2
        elif pixels == 1:
            break
        else:
            position += 4 if pixels == 2 else 2
    return count


def check_tiff(file: BinaryIO) -> None:
    """Raise InputError for a TIFF of more tags, or strips and tiles, than a photo needs."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    first, count, entry = ("Q", "Q", "HHQQ") if 43 in head[2:4] else ("I", "H", "HHII")
    file.seek(*struct.unpack_from(order + first, head, 8 if first == "Q" else 4))
    (tags,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    if tags > _TAGS:
        raise InputError(f"it is a TIFF of {tags:,} tags; save it again from another program")
    body = file.read(tags * struct.calcsize(order + entry))
    body = body[: len(body) - len(body) % struct.calcsize(order + entry)]
    parts = max(
        (number for tag, _, number, _ in struct.iter_unpack(order + entry, body) if tag in (273, 324)), default=0
    )
    if parts > _STRIPS:
        raise InputError(f"it is a TIFF of {parts:,} strips or tiles; save it again with larger ones")


CHECKS: Mapping[str, Callable[[BinaryIO], None]] = {"JPEG": check_jpeg, "BMP": check_bmp, "TIFF": check_tiff}
"""By the name that ``Photo.format`` has."""
