"""What a photo brings besides its pixels, colours and EXIF, in no file format's own form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Resolution:
    """How large a print is meant to be. Raises nothing: x and y are above 0 where a reader makes one."""

    x: Fraction
    """Pixels a unit along a row."""
    y: Fraction
    """Pixels a unit along a column."""
    unit: str
    """"inch", "cm", "metre", or "" where only the ratio of x to y means something."""


@dataclass(frozen=True)
class Metadata:
    """Each field is as the file held it, but for what would be untrue of an upright picture: see ``read_photo``."""

    xmp: bytes | None = None
    """The XMP packet, with orientation 1."""
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
