"""What a photo's file formats hold. Reading, writing, refusals and the commands ask this table alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .colour import Colour, written
from .photo import Photo


@dataclass(frozen=True)
class Format:
    """A file format that is written."""

    suffixes: tuple[str, ...]
    """Lower-case suffixes of its files; messages name the first ones, up to ``common``."""
    common: int
    """How many of the suffixes a message names."""
    bits: int
    """Of a sample: 8; 16; 10 where deeper samples are rounded, as that format's loss."""
    alpha: bool
    """It holds transparency."""
    grey: bool
    """It holds pictures of one channel."""
    most_side: int | None
    """The longest side that it holds, in pixels; None where memory ends first."""


FORMATS: Mapping[str, Format] = {
    "JPEG": Format((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"), 2, 8, False, True, 65500),
    "PNG": Format((".png",), 1, 16, True, True, None),
    "TIFF": Format((".tif", ".tiff"), 2, 16, True, True, None),
    "WEBP": Format((".webp",), 1, 8, True, False, 16383),
    "BMP": Format((".bmp", ".dib"), 1, 8, False, True, None),
    "AVIF": Format((".avif",), 1, 8, True, False, 65536),
    "HEIC": Format((".heic", ".heif"), 1, 10, True, False, 16383),
}
"""By the name that ``Photo.format`` has."""

SUFFIXES: Mapping[str, str] = {suffix: kind for kind, one in FORMATS.items() for suffix in one.suffixes}
"""Lower-case suffix of a file name to the format that is written to it."""

RAW_SUFFIXES = frozenset(
    f".{one}"
    for one in (
        *(
            "3fr",
            "arw",
            "cr2",
            "cr3",
            "crw",
            "dcr",
            "dng",
            "erf",
            "fff",
            "iiq",
            "kdc",
            "mef",
            "mos",
            "mrw",
            "nef",
            "nrw",
        ),
        *("orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
    )
)
"""Lower-case suffixes of camera raw files, which are read alone."""
RESULT_OF_RAW = ".tif"
"""The suffix of a result that is named after a camera raw file."""

_SHOWN = {"WEBP": "WebP"}


def named(kinds: list[str]) -> str:
    """ "PNG, TIFF or WebP"."""
    shown = [_SHOWN.get(kind, kind) for kind in kinds]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def format_of(path: Path) -> str:
    """The format that the suffix of ``path`` names. Raises InputError."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        what = f"the suffix {path.suffix!r} is not known" if path.suffix else "its name has no suffix"
        if path.suffix.lower() in RAW_SUFFIXES:
            what = "camera raw files are read, not written"
        known = ", ".join(suffix for one in FORMATS.values() for suffix in one.suffixes[: one.common])
        raise InputError(f"cannot write {path}: {what}; use one of {known}") from None


def written_to(path: str | os.PathLike[str], photo_format: str) -> str:
    """The format in which a photo that was read as ``photo_format`` is written to ``path``: its suffix's, where that
    names one of FORMATS, else the photo's own."""
    return SUFFIXES.get(Path(path).suffix.lower(), photo_format)


def check_photo(where: Path | str, kind: str, photo: Photo, *, copies: int = 1) -> None:
    """Raise InputError where the format ``kind`` cannot hold ``photo``, or ``copies`` of it side by side.

    where: the name of its file in a message.
    """
    check_colours(where, kind, photo.icc_profile, photo.colour, channels_of(photo, kind))
    height, width = photo.pixels.shape[:2]
    deep = photo.pixels.dtype == np.uint16
    check_holds(where, kind, width * copies, height, deep=deep, alpha=photo.alpha is not None)


def check_colours(where: Path | str, kind: str, profile: bytes | None, own: Colour, channels: int = 3) -> None:
    """Raise InputError where the format ``kind`` has no place for a photo's colours: those of its ICC profile, or what
    a PNG says besides. channels: colours a pixel, 1 or 3."""
    try:
        written(profile, own, kind, channels)
    except ValueError as error:
        what = f"the photo has {error} and {kind} has no place for them"
        raise InputError(f"cannot write {where}: {what}; write PNG") from error


def channels_of(photo: Photo, kind: str) -> int:
    """Colours a pixel of ``photo`` in a file of the format ``kind``: 1 where both are grey, else 3."""
    # 16-bit grey with alpha is a TIFF that few programs read, this one included
    unread = kind == "TIFF" and photo.alpha is not None and photo.pixels.dtype == np.uint16
    return 1 if photo.grey and FORMATS[kind].grey and not unread else 3


def check_holds(where: Path | str, kind: str, width: int, height: int, *, deep: bool, alpha: bool) -> None:
    """Raise InputError where the format ``kind``, cannot hold such a picture.

    where: its file's name in a message. deep: it has 16 bits a sample. alpha: it has transparency.
    """
    holds, begin = FORMATS[kind], f"cannot write {where}: the photo"
    if deep and holds.bits == 8:
        others = named([name for name, one in FORMATS.items() if one.bits == 16])
        raise InputError(f"{begin} has 16 bits and {kind} holds 8; write {others}")
    if alpha and not holds.alpha:
        others = named([name for name, one in FORMATS.items() if one.alpha and (one.bits == 16 or not deep)])
        raise InputError(f"{begin} has transparency and {kind} has none; write {others}")
    if holds.most_side is not None and max(width, height) > holds.most_side:
        raise InputError(
            f"{begin} is {width} x {height} and {kind} ends at {holds.most_side} pixels a side; write PNG or TIFF"
        )
