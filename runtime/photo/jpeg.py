"""A JPEG's segments: what they bring with a photo, and where they go in a new file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from . import exif, resources, xmp
from .metadata import Found
from .resolution import of_jfif

MOST_BYTES = 65533
"""What a segment holds."""
_APP0, _APP1, _APP2, _APP11, _APP13, _COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xFE
_SOS, _EOI = 0xDA, 0xD9
_EXIF, _XMP, _EXTENSION = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
# of the compressed pixels, the colour profile and thumbnails
_STORAGE = (b"JFIF\0", b"JFXX\0", b"Adobe", b"ICC_PROFILE\0", b"Ducky", b"AVI1")
_NAMES = {b"MPF\0": "further pictures", b"urn:iso:std:iso:ts:21496": "a gain map", b"JP": "content credentials (JUMBF)"}
_MOST_SEGMENTS = 65536


def segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of the APP and COM segments in front of the pixels. Ends at damage: the decoder will tell."""
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        marker = file.read(2)
        while marker[1:] == b"\xff":  # filling
            marker = b"\xff" + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (_SOS, _EOI):
            return
        size = file.read(2)
        length = int.from_bytes(size, "big") - 2
        if len(size) < 2 or length < 0:
            return
        if marker[1] == _COM or _APP0 <= marker[1] <= _APP0 + 15:
            body = file.read(length)
            if len(body) < length:
                return
            yield marker[1], body
        else:
            file.seek(length, 1)


def found(file: BinaryIO) -> Found:
    """What the JPEG ``file`` brings."""
    all_of = Found()
    exif_data: list[bytes] = []
    blocks: list[bytes] = []
    extensions: dict[bytes, dict[int, bytes]] = {}
    for marker, body in segments(file):
        if marker == _COM:
            all_of.comments.append(body)
        elif marker == _APP0 and body.startswith(b"JFIF\0"):
            all_of.resolution = all_of.resolution or of_jfif(body)
        elif marker == _APP1 and body.startswith(_EXIF):
            # EXIF of more than one segment goes on in the next; a second one that begins anew is not the photo's
            if not exif_data or body[6:8] not in (b"II", b"MM"):
                exif_data.append(body[6:])
        elif marker == _APP1 and body.startswith(_XMP):
            all_of.xmp = all_of.xmp or body[len(_XMP) :]
        elif marker == _APP1 and body.startswith(_EXTENSION) and len(body) > len(_EXTENSION) + 40:
            head = len(_EXTENSION)
            name, offset = body[head : head + 32], int.from_bytes(body[head + 36 : head + 40], "big")
            extensions.setdefault(name, {})[offset] = body[head + 40 :]
        elif marker == _APP13 and body.startswith(_PHOTOSHOP):
            blocks.append(body[len(_PHOTOSHOP) :])
        elif not body.startswith(_STORAGE):
            all_of.left_out.append(_name(marker, body))
    if exif_data:
        all_of.exif = exif.of_bytes(b"".join(exif_data), all_of.left_out)
    if all_of.xmp and (wanted := xmp.extension_of(all_of.xmp)):
        all_of.xmp_extension = _whole(extensions.get(wanted, {}))
        if all_of.xmp_extension is None:
            all_of.left_out.append("the second part of XMP (it is damaged)")
    all_of.iptc, all_of.resources = resources.divided(b"".join(blocks))
    all_of.left_out = list(dict.fromkeys(all_of.left_out))
    return all_of


def _whole(pieces: dict[int, bytes]) -> bytes | None:
    end = 0
    for offset, piece in sorted(pieces.items()):
        if offset != end:
            return None
        end += len(piece)
    return b"".join(piece for _, piece in sorted(pieces.items())) or None


def _name(marker: int, body: bytes) -> str:
    what = next((name for start, name in _NAMES.items() if body.startswith(start)), "")
    if what:
        return what
    said = body[:24].split(b"\0")[0].decode("ascii", "replace")
    return f"its APP{marker - _APP0} data" + (f" ({said})" if said.isprintable() and said.isascii() and said else "")


def exif_segment(data: bytes) -> tuple[int, bytes]:
    """``data``: "Exif\\0\\0" and a TIFF structure, at most ``MOST_BYTES``."""
    return _APP1, data


def xmp_segments(packet: bytes, extension: bytes | None) -> Iterator[tuple[int, bytes]]:
    """A packet of at most ``xmp.MOST_JPEG_BYTES`` and the rest that it names."""
    yield _APP1, _XMP + packet
    if extension:
        name = xmp.extension_of(packet) or b""
        most = 65400
        for at in range(0, len(extension), most):
            head = name + struct.pack(">II", len(extension), at)
            yield _APP1, _EXTENSION + head + extension[at : at + most]


def resource_segments(blocks: bytes) -> Iterator[tuple[int, bytes]]:
    """Photoshop's image resources."""
    most = MOST_BYTES - len(_PHOTOSHOP)
    for at in range(0, len(blocks), most):
        yield _APP13, _PHOTOSHOP + blocks[at : at + most]


def comment_segment(comment: bytes) -> tuple[int, bytes]:
    """A comment of at most ``MOST_BYTES``."""
    return _COM, comment


def with_segments(data: bytes, parts: Iterable[tuple[int, bytes]], density: bytes | None) -> bytes:
    """The JPEG ``data``, which begins with a JFIF header, with ``parts`` behind that; density: its unit, x and y."""
    end = 4 + int.from_bytes(data[4:6], "big")
    head = data[:end]
    if density:
        head = head[:13] + density + head[18:]
    return b"".join([head, *(_segment(marker, body) for marker, body in parts), data[end:]])


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body
