"""Write a photo: nothing of it is lost in silence, and no file is overwritten unasked."""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..machine.files import write_file
from . import png
from .photo import Photo

if TYPE_CHECKING:
    from .kept import Lost

_log = logging.getLogger(__name__)

_NAMES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "BMP": (".bmp",)}
SUFFIXES: Mapping[str, str] = {suffix: kind for kind, suffixes in _NAMES.items() for suffix in suffixes}
"""Lower-case suffix of a file name to the format that is written to it."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 4, "alpha_quality": 100},
    "BMP": {},
}
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}


def check_destination(path: str | os.PathLike[str], *, source: str | os.PathLike[str] | None, overwrite: bool) -> None:
    """Raise InputError where ``write_photo`` would refuse ``path``; writes nothing.

    Refused: an unknown suffix, a folder that is missing or not writable and, without ``overwrite``, a name that is
    taken and the file of ``source`` itself under any name.
    """
    path = Path(path)
    _format_of(path)
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"cannot write {path}: {folder} {what}; make the folder first")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}; choose another folder")
    if overwrite or not os.path.lexists(path):
        return
    with suppress(OSError):
        if source is not None and os.path.samefile(path, source):
            raise _taken(path, "it is the photo being read")
    raise _taken(path)


def write_photo(path: str | os.PathLike[str], photo: Photo, *, overwrite: bool = False) -> None:
    """Write ``photo`` in the format of the suffix of ``path``, whole or not at all.

    A grey photo is written as its luminance (WebP: as RGB). PNG, TIFF and BMP are lossless, JPEG has quality 95 without
    chroma subsampling, WebP quality 95 with lossless alpha. EXIF and ICC profile go along where the format has them
    (all but BMP). Raises InputError where ``check_destination`` or the disk refuses, and where the format cannot hold
    the photo's alpha, depth or size.
    """
    path = Path(path)
    check_destination(path, source=None, overwrite=overwrite)
    data = _file_of(photo, _format_of(path), path)
    target = Path(os.path.realpath(path)) if overwrite else path  # a symbolic link stays one
    try:
        with write_file(target, overwrite=overwrite) as file:
            file.write(data)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        cure = "check the folder and its disk or choose another"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cure = f"free {len(data) / 1e6:.1f} MB or choose another disk"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            cure = "choose another folder or change its permissions"
        raise InputError(f"cannot write {path}: {error.strerror or error}; {cure}") from error


def encode_photo(photo: Photo, kind: str) -> bytes:
    """The file that ``write_photo`` would write, in memory.

    kind: "JPEG", "PNG", "TIFF", "WEBP" or "BMP", such as the ``format`` of a photo that was read. Raises InputError
    where that format cannot hold the photo's alpha, depth or size.
    """
    if kind not in _NAMES:
        raise InputError(f"cannot write the format {kind!r}; use one of {', '.join(_NAMES)}")
    return _file_of(photo, kind, f"a {kind}")


def _file_of(photo: Photo, kind: str, where: Path | str) -> bytes:
    """The file in the format ``kind``; where: its name in a message. Raises InputError."""
    _check_fits(where, photo, kind)
    try:
        data, lost = _encode(photo, kind)
    except ImportError as error:
        raise InputError(f"cannot write {where}: {error}; run: pip install pillow") from error
    except MemoryError:
        raise InputError(f"cannot write {where}: not enough memory; close other programs") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {where}: {error}; write PNG or TIFF") from error
    if str(lost):
        _log.warning("%s: left out: %s", where, lost)
    return data


def _check_fits(path: Path | str, photo: Photo, kind: str) -> None:
    height, width = photo.pixels.shape[:2]
    most = _MAX_SIDE.get(kind, width + height)
    begin = f"cannot write {path}: the photo"
    if photo.pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        raise InputError(f"{begin} has 16 bits and {kind} holds 8; write PNG or TIFF")
    if photo.alpha is not None and kind not in ("PNG", "TIFF", "WEBP"):
        raise InputError(f"{begin} has transparency and {kind} has none; write PNG, TIFF or WebP")
    if max(width, height) > most:
        raise InputError(f"{begin} is {width} x {height} and {kind} ends at {most} pixels a side; write PNG or TIFF")


def _format_of(path: Path) -> str:
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        what = f"the suffix {path.suffix!r} is not known" if path.suffix else "its name has no suffix"
        raise InputError(f"cannot write {path}: {what}; use one of {', '.join(SUFFIXES)}") from None


def _taken(path: Path, why: str = "it exists already") -> InputError:
    return InputError(f"cannot write {path}: {why}; choose another name or allow it (--overwrite)")


def _encode(photo: Photo, kind: str) -> tuple[bytes, Lost]:
    """(the file of ``photo`` in the format ``kind``, which must be able to hold it, what it has no place for)."""
    from PIL import Image

    from . import jpeg, kept, tiff

    samples = samples_of(photo, kind)
    icc_profile = photo.icc_profile
    if icc_profile and icc_profile[16:20] == b"GRAY" and samples.shape[2] >= 3:
        icc_profile = None  # a grey profile says nothing about three channels
    if kind == "PNG":
        chunks, lost = kept.for_png(photo)
        return png.encode(samples, icc_profile=icc_profile, chunks=chunks), lost
    if kind == "TIFF":
        block, lost = kept.for_tiff(photo)
        return tiff.encode(samples, icc_profile=icc_profile, block=block), lost
    options = dict(_SETTINGS[kind])
    if icc_profile and kind != "BMP":
        options["icc_profile"] = icc_profile
    if kind == "WEBP":
        exif, xmp, lost = kept.for_webp(photo)
        options.update({key: data for key, data in (("exif", exif), ("xmp", xmp)) if data})
    file = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(file, kind, **options)
    data = file.getvalue()
    if kind == "JPEG":
        parts, density, lost = kept.for_jpeg(photo)
        data = jpeg.with_segments(data, parts, density)
    elif kind == "BMP":
        density, lost = kept.for_bmp(photo)
        data = data[:38] + density + data[46:]
    return data, lost


def samples_of(photo: Photo, kind: str) -> NDArray[Any]:
    """(H, W, C): one grey channel for a grey photo where the format has that, alpha as the last."""
    channels = [photo.pixels]
    if photo.grey:
        # luminance of ITU-R 601, exact where the three channels are equal
        red, green, blue = (photo.pixels[..., i : i + 1].astype(np.uint32) for i in range(3))
        total = red * np.uint32(19595) + green * np.uint32(38470) + blue * np.uint32(7471) + np.uint32(0x8000)
        grey = (total >> np.uint32(16)).astype(photo.pixels.dtype)
        # WebP has no grey; 16-bit grey with alpha is a TIFF that few programs read, this one included
        spread = kind == "WEBP" or (kind == "TIFF" and photo.alpha is not None and grey.dtype == np.uint16)
        channels = [grey] * 3 if spread else [grey]
    if photo.alpha is not None:
        channels.append(photo.alpha[..., None])
    return np.ascontiguousarray(np.concatenate(channels, axis=2))
