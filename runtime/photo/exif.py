"""EXIF: turn the photo upright, and keep what is still true of it afterwards."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_log = logging.getLogger(__name__)

_ORIENTATION = 274
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
# Tags of a TIFF (and, from some phones, of EXIF) that describe how the source stored its pixels, the
# thumbnail, and blocks with copies of other metadata (XMP, IPTC, Photoshop, ICC): untrue in a new file.
_STORAGE = frozenset(
    tag
    for first, last in (
        (254, 266), (273, 273), (277, 281), (284, 293), (297, 301), (317, 317), (320, 347), (512, 532),
        (700, 700), (33723, 33723), (34377, 34377), (34675, 34675), (37724, 37724),
    )
    for tag in range(first, last + 1)
)  # fmt: skip
_PIXEL_SIZE = (40962, 40963)


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 of a loaded image that its pixels still have to be turned by; 1 if it has none.
    Pillow turns a TIFF itself when it loads it, and then forgets the tag."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata must not cost the photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(array: NDArray[Any], turn: int) -> NDArray[Any]:
    """``array``, (H, W) or (H, W, C), turned and mirrored as EXIF orientation ``turn`` asks; contiguous."""
    if turn in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        array = array[:, ::-1]
    if turn in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def carried(exif: Image.Exif) -> dict[int, Any]:
    """Tag -> value of what stays true in a new file, with the EXIF, GPS and interoperability tags as dictionaries."""
    tags = {tag: value for tag, value in exif.items() if tag not in _STORAGE and tag not in (_EXIF_IFD, _GPS_IFD)}
    for tag in (_EXIF_IFD, _GPS_IFD):
        values = {key: value for key, value in exif.get_ifd(tag).items() if key not in _PIXEL_SIZE}
        if _INTEROP_IFD in values:
            values[_INTEROP_IFD] = dict(exif.get_ifd(_INTEROP_IFD))
        if values:
            tags[tag] = values
    return tags


def exif_bytes(image: Image.Image, path: Path) -> bytes | None:
    """What ``carried`` leaves of an open image's EXIF, with orientation 1, to be written to a file of any format; None
    if that is nothing. Damaged EXIF is left out too, with a line in the log that names ``path``."""
    try:
        source = image.getexif()
        kept = Image.Exif()
        kept.endian = source.endian  # maker notes are read in the byte order around them
        kept.update(carried(source))
        if not kept:
            return None
        kept[_ORIENTATION] = 1
        return kept.tobytes()
    except Exception as error:
        _log.warning("%s: its EXIF data is damaged and is not passed on (%s)", path, error)
        return None
