"""What an AVIF brings and Pillow does not tell, or tells in another form: depth, colours, orientation, whole EXIF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from . import exif
from .colour import Colour, of_nclx
from .metadata import Found

_MOST_BYTES = 1 << 20  # of the boxes in front of the pixels
_HIGH, _TWELVE = 0x40, 0x20  # bits of the third byte of av1C


def brought(file: BinaryIO, image: Any) -> tuple[Found, int, Colour]:
    """(metadata, orientation, colours) of the AVIF ``file``, which Pillow opened as ``image``.

    The orientation is that of the boxes irot and imir. EXIF's own does not count (ISO/IEC 23008-12), and Pillow would
    write all EXIF anew to correct it, which moves maker notes.
    """
    _, _, _, _, data, turn, packet = image._decoder.get_info()
    all_of, own = Found(xmp=packet or None), Colour()
    all_of.exif = exif.of_bytes(data, all_of.left_out) if data else None
    for kind, body in _properties(file):
        if kind == b"av1C" and len(body) > 2 and body[2] & _HIGH:
            bits = 12 if body[2] & _TWELVE else 10
            all_of.left_out.append(f"{bits - 8} of its {bits} bits (an AVIF is read with 8)")
        elif kind == b"colr" and body[:4] == b"nclx" and len(body) >= 10:
            own = of_nclx(int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big"))
    return all_of, turn, own


def _properties(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The boxes meta/iprp/ipco/* of an ISO base media file (ISO/IEC 14496-12)."""
    file.seek(0)
    data = file.read(_MOST_BYTES)
    for kind, meta in _boxes(data):
        if kind == b"meta":
            for kind, inside in _boxes(meta[4:]):
                if kind == b"iprp":
                    for kind, properties in _boxes(inside):
                        if kind == b"ipco":
                            yield from _boxes(properties)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:  # to the end, or 64 bits: pixels
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size
