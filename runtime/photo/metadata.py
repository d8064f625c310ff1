"""What a photo brings besides its pixels and colours, in no file format's own form."""

from __future__ import annotations

from dataclasses import dataclass, field

from .ifd import Block
from .resolution import Resolution


@dataclass(frozen=True)
class Metadata:
    """Each field is as the file held it, but for what would be untrue of an upright picture: see ``read_photo``."""

    xmp: bytes | None = None
    """The XMP packet, with orientation 1 and the picture's own size."""
    xmp_extension: bytes | None = None
    """The rest of a packet that a JPEG has split; the packet names its MD5."""
    iptc: bytes | None = None
    """IPTC-IIM records."""
    resources: bytes | None = None
    """Photoshop's other image resources ("8BIM" blocks), without thumbnails and copies of other metadata."""
    comments: tuple[bytes, ...] = ()
    """A JPEG's comments; nothing says in which charset."""
    resolution: Resolution | None = None
    """Of the file's own header (JFIF, pHYs, BMP); a TIFF's is in its EXIF."""
    text: tuple[tuple[bytes, bytes], ...] = ()
    """(kind, data) of a PNG's tEXt, zTXt and iTXt chunks, but for XMP and the raw profiles that ImageMagick writes."""
    left_out: tuple[str, ...] = ()
    """What the reader could not take along, for ``write_photo`` to say."""


@dataclass
class Found:
    """The same as it stands in a file, before the picture is turned."""

    exif: Block | None = None
    xmp: bytes | None = None
    xmp_extension: bytes | None = None
    iptc: bytes | None = None
    resources: bytes | None = None
    comments: list[bytes] = field(default_factory=list)
    resolution: Resolution | None = None
    text: list[tuple[bytes, bytes]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
