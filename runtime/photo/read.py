"""Read a photo file: format, limits, depth, orientation, and every failure an InputError.

Pillow, and what decodes the formats that it lacks, are imported by the first photo.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError, UnsupportedFormatError, one_line
from . import signatures
from .formats import FORMATS, check_colours, check_holds, check_photo, written_to
from .opened import Opened, check_size
from .photo import Photo

SizeCheck = Callable[[int, int, int], object]


def read_photo(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    max_pixels: int = 100_000_000,
    check: SizeCheck | None = None,
    into: str | os.PathLike[str] | None = None,
) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP, BMP, AVIF, HEIC (with pillow-heif) or camera raw (with rawpy) file, told by its
    content and not by its name.

    source: its path, its bytes, or an open binary file, which is read from where it stands to its end.
    into: the file that it is to be written to, or a format such as "JPEG": what that cannot hold is refused.

    Returns an upright ``Photo``; its pixels are uint16 where the file holds 16-bit samples (a HEIC: 10 or 12),
    else uint8. A camera raw file is developed to 16 bits, or to 8 where ``into`` holds no more, and comes as a "TIFF".
    Before it is decoded, ``max_pixels`` (at most 178 megapixels, where Pillow refuses) is checked, and ``check`` is
    called with width, height and bits a sample (8 or 16); what that raises as InputError goes on with the path (or
    "the photo") in front.

    EXIF (byte for byte), XMP, IPTC, resolution, comments and text come along, with orientation 1 and the picture's own
    size; not thumbnails and what says how the pixels were stored. What of it is damaged is left out, and named when the
    photo is written.

    Raises InputError for every other file: missing, a folder, unreadable, empty, another format
    (UnsupportedFormatError), too large (TooLargeError), damaged or cut short, with several pictures, or of a kind that
    8 or 16 bit RGB does not hold (float, 32 bit, 16-bit CMYK).
    Raises it too where ``into`` does not hold its 16 bits, its transparency, its size or its colours.
    """
    path, kind = Path(source if isinstance(source, (str, os.PathLike)) else "the photo"), ""
    try:
        with _opened(source) as file, warnings.catch_warnings():
            # Pillow warns of odd metadata and, in TIFF, of sizes below our own limit
            warnings.filterwarnings("ignore", module=r"PIL\.")
            kind = _format(file.read(signatures.HEAD_BYTES), path)
            return _photo(file, path, kind, max_pixels, check, into)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: it does not exist; check the name") from None
    except PermissionError:
        raise InputError(f"cannot read {path}: permission denied; change its permissions") from None
    except ImportError as error:
        raise InputError(f"cannot read {path}: {error}; run: pip install pillow") from error
    except MemoryError:
        raise InputError(f"cannot read {path}: not enough memory; resize it or close other programs") from None
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        if not kind:
            raise InputError(f"cannot read {path}: {error}; check the name and the disk") from error
        raise InputError(
            f"cannot read {path}: the {kind} file is damaged, cut short or of an unusual kind "
            f"({one_line(error, 120) or type(error).__name__}); copy it again, or save it again from another program"
        ) from error


def _opened(source: object) -> BinaryIO:
    """``source`` as a file that can seek. Raises InputError and OSError."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {path}: it is a folder; name a photo in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"cannot read {path}: it is not a regular file; save it to one first")
        return path.open("rb")
    given = type(source).__name__
    if hasattr(source, "read"):
        source = source.read()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise InputError(
            f"cannot read a photo from a {given}; give a path, bytes or a file opened for reading in binary"
        )
    return io.BytesIO(source)


def _format(head: bytes, path: Path) -> str:
    if not head:
        raise InputError(f"cannot read {path}: it is empty (0 bytes); copy it again")
    kind = signatures.kind_of(head)
    if kind is None:
        if what := signatures.other(head):
            raise UnsupportedFormatError(f"cannot read {path}: it is {what}")
        raise InputError(f"cannot read {path}: it is not a known photo; {signatures.CONVERT}")
    return kind


def _photo(
    file: BinaryIO,
    path: Path,
    kind: str,
    max_pixels: int,
    check: SizeCheck | None,
    into: str | os.PathLike[str] | None,
) -> Photo:
    from . import carry
    from .exif import upright
    from .samples import says_nothing

    opened = _open(file, path, kind, max_pixels, into)
    check_size(opened.size, path, max_pixels)
    if into is not None:  # refused before it is decoded, where its header tells
        where, target = _target(into, opened.written_as or kind)
        check_colours(where, target, opened.profile, opened.own)
        check_holds(where, target, *opened.size, deep=opened.depth == 16, alpha=False)
    if check is not None:
        width, height = opened.size[:: -1 if opened.turn >= 5 else 1]
        try:
            check(width, height, 16 if opened.depth == 16 else 8)
        except InputError as error:
            raise type(error)(f"{path}: {error}") from error

    samples = opened.load()
    channels = samples.shape[2]
    grey, alpha = channels < 3, samples[..., -1] if channels in (2, 4) else None
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else samples[..., :3]
    if alpha is None and opened.key is not None:
        alpha = opened.key(pixels)
    if alpha is not None and says_nothing(alpha, kind):
        alpha = None

    pixels = upright(pixels, opened.left)
    exif, metadata = carry.upright(opened.found, opened.turn, pixels.shape[1], pixels.shape[0])
    photo = Photo(
        pixels=pixels,
        alpha=None if alpha is None else upright(alpha, opened.left),
        grey=grey,
        icc_profile=opened.profile,
        exif=exif,
        format=opened.written_as or kind,
        metadata=metadata,
        colour=opened.own,
    )
    if into is not None:
        check_photo(where, target, photo)
    return photo


def _open(file: BinaryIO, path: Path, kind: str, max_pixels: int, into: str | os.PathLike[str] | None) -> Opened:
    """By the decoder of the format ``kind``."""
    from . import bounds, by_pillow, camera_raw, heic, tiff

    if kind in bounds.CHECKS:
        try:
            bounds.CHECKS[kind](file)
        except InputError as error:
            raise InputError(f"cannot read {path}: {error}") from error
    raw = None
    if kind == "RAW":
        file.seek(0)
        raw = signatures.raw_by_head(file.read(signatures.HEAD_BYTES))
    elif kind == "TIFF":
        raw = tiff.raw_format(file)
    if raw is not None:
        deep = into is None or FORMATS[_target(into, "TIFF")[1]].bits == 16
        return camera_raw.open_file(file, path, raw, deep=deep)
    return heic.open_file(file, path) if kind == "HEIC" else by_pillow.open_file(file, path, kind, max_pixels)


def _target(into: str | os.PathLike[str], kind: str) -> tuple[str, str]:
    """What a photo of the format ``kind`` is to be written to, in a message, and in which format."""
    if isinstance(into, str) and into in FORMATS:
        return f"a {into}", into
    return str(into), written_to(into, kind)
