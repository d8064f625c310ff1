"""What a file of any format brings with its pixels, and the same for the upright picture."""

from __future__ import annotations

from typing import BinaryIO

from . import exif, jpeg, png_metadata, resources, tiff, webp, xmp
from .ifd import Tag
from .metadata import Found, Metadata
from .resolution import of_bmp


def found(file: BinaryIO, kind: str) -> Found:
    """What ``file`` brings, which is of the format ``kind``. Damage costs no more than what is damaged."""
    if kind == "BMP":
        file.seek(0)
        return Found(resolution=of_bmp(file.read(46)))
    readers = {"JPEG": jpeg.found, "PNG": png_metadata.found, "TIFF": tiff.found, "WEBP": webp.found}
    all_of = readers[kind](file)
    _take_from_tags(all_of)
    return all_of


def _take_from_tags(all_of: Found) -> None:
    """XMP, IPTC and Photoshop's resources out of the tags that hold them in a TIFF, and in some programs' EXIF."""
    block = all_of.exif
    if block is None:
        return
    values = {number: block.tags.pop(number, None) for number in (exif.XMP, exif.IPTC, exif.RESOURCES)}
    packet, iptc, blocks = (tag.value if isinstance(tag, Tag) else b"" for tag in values.values())
    more_iptc, others = resources.divided(blocks)
    all_of.xmp = all_of.xmp or packet.rstrip(b"\0") or None
    all_of.iptc = all_of.iptc or resources.records(iptc) or more_iptc
    all_of.resources = all_of.resources or others


def orientation(all_of: Found) -> int:
    """How the picture has to be turned: EXIF's orientation, 1 to 8, else that of XMP, else 1."""
    told = exif.orientation(all_of.exif)
    return told or (all_of.xmp and xmp.orientation(all_of.xmp)) or 1


def upright(all_of: Found, turn: int, width: int, height: int) -> tuple[bytes | None, Metadata]:
    """(EXIF, everything else) of the picture, which was turned by ``turn`` and now has this size."""
    data, packet, resolution = None, all_of.xmp, all_of.resolution
    if all_of.exif is not None:
        exif.turned(all_of.exif, turn)
        exif.sized(all_of.exif, width, height)
        data = exif.to_bytes(all_of.exif)
    if packet is not None:
        packet = xmp.sized(xmp.upright(packet), width, height)
    if resolution is not None and turn >= 5:
        resolution = resolution.turned()
    return data, Metadata(
        xmp=packet,
        xmp_extension=all_of.xmp_extension,
        iptc=all_of.iptc,
        resources=all_of.resources,
        comments=tuple(all_of.comments),
        resolution=resolution,
        text=tuple(all_of.text),
        left_out=tuple(all_of.left_out),
    )
