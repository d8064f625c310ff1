"""A WebP's chunks: what they bring with a photo. Pillow writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from . import exif
from .metadata import Found

_PIXELS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP")
_MOST_CHUNKS = 1024


def found(file: BinaryIO) -> Found:
    """What the WebP ``file`` brings."""
    all_of = Found()
    for kind, data in _chunks(file):
        if kind == b"EXIF":
            all_of.exif = all_of.exif or exif.of_bytes(data, all_of.left_out)
        elif kind in (b"XMP ", b"XMP\0"):  # the second is ImageMagick's
            all_of.xmp = all_of.xmp or data
        else:
            all_of.left_out.append(f"its {kind.decode('latin-1')!r} chunk")
    return all_of


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    position = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if len(head) < 8 or position + 8 + size > end:
            return
        if head[:4] not in _PIXELS:
            data = file.read(size)
            if len(data) < size:
                return
            yield head[:4], data
        position += 8 + size + size % 2
