"""Write a photo: nothing of it is lost in silence, and no file is overwritten unasked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..machine.files import write_file
from .destination import check_destination, format_of
from .photo import Photo

_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}


def check_fits(path: str | os.PathLike[str], photo: Photo) -> None:
    """Raise InputError where the format of ``path`` cannot hold ``photo``: its alpha, depth or size."""
    path = Path(path)
    kind = format_of(path)
    if photo.pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        raise InputError(f"cannot write {path}: the photo has 16 bits and {kind} holds 8; write PNG or TIFF")
    if photo.alpha is not None and kind not in ("PNG", "TIFF", "WEBP"):
        raise InputError(
            f"cannot write {path}: the photo has transparency and {kind} has none; write PNG, TIFF or WebP"
        )
    height, width = photo.pixels.shape[:2]
    if max(width, height) > _MAX_SIDE.get(kind, width + height):
        raise InputError(
            f"cannot write {path}: the photo is {width} x {height} and {kind} ends at {_MAX_SIDE[kind]} "
            "pixels a side; write PNG or TIFF"
        )


def write_photo(path: str | os.PathLike[str], photo: Photo, *, overwrite: bool = False) -> None:
    """Write ``photo`` in the format of the suffix of ``path``, whole or not at all.

    A grey photo is written as its luminance (WebP: as RGB). PNG, TIFF and BMP are lossless, JPEG has
    quality 95 without chroma subsampling, WebP quality 95 with lossless alpha. EXIF and ICC profile go
    along where the format has them (all but BMP).

    Raises InputError where ``check_destination`` or ``check_fits`` refuses, and where the disk does.
    """
    path = Path(path)
    check_destination(path, source=None, overwrite=overwrite)
    check_fits(path, photo)
    try:
        from .encode import encode
    except ImportError as error:
        raise InputError(f"cannot write {path}: {error}; run: pip install pillow") from error
    try:
        data = encode(photo, format_of(path))
    except MemoryError:
        raise InputError(f"cannot write {path}: not enough memory; close other programs") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}; write PNG or TIFF") from error
    target = Path(os.path.realpath(path)) if overwrite else path  # a symbolic link stays one
    try:
        with write_file(target, overwrite=overwrite) as file:
            file.write(data)
    except FileExistsError:
        raise InputError(
            f"cannot write {path}: it exists already; choose another name or allow it (--overwrite)"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; {_cure(error, data)}") from error


def _cure(error: OSError, data: bytes) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free {len(data) / 1e6:.1f} MB or choose another disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose another folder or change its permissions"
    return "check the folder and its disk or choose another"
