"""Write a photo: nothing of it is lost in silence, and no file is overwritten unasked."""

from __future__ import annotations

import errno
import io
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..machine.files import write_file
from . import png
from .colour import written
from .formats import FORMATS, RAW_SUFFIXES, channels_of, check_photo, format_of
from .photo import Photo

if TYPE_CHECKING:
    from .kept import Lost

_log = logging.getLogger(__name__)

_SETTINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 4, "alpha_quality": 100},
    "BMP": {},
    "AVIF": {"quality": 95, "subsampling": "4:4:4", "range": "full"},
    "HEIC": {"quality": 95},
}


def check_destination(path: str | os.PathLike[str], *, source: str | os.PathLike[str] | None, overwrite: bool) -> None:
    """Raise InputError where ``write_photo`` would refuse ``path``; writes nothing.

    Refused: an unknown suffix (but for the name that ``source`` has itself: written in the photo's own format), a
    folder that is missing or not writable and, without ``overwrite``, a name that is taken and the file of ``source``
    itself under any name.
    """
    path = Path(path)
    if source is None or Path(source).name != path.name or path.suffix.lower() in RAW_SUFFIXES:
        format_of(path)
    _check_place(path, source, overwrite)


def _check_place(path: Path, source: str | os.PathLike[str] | None, overwrite: bool) -> None:
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


def write_photo(
    path: str | os.PathLike[str],
    photo: Photo,
    *,
    overwrite: bool = False,
    kind: str | None = None,
    quality: int | None = None,
) -> None:
    """Write ``photo`` to ``path``, whole or not at all.

    kind: the format, such as the photo's own; by default the one that the suffix of ``path`` names.
    quality: 1 to 100, of JPEG, WebP, HEIC and AVIF (default: 95).
    A grey photo is written as its luminance (WebP: as RGB). PNG, TIFF and BMP are lossless. JPEG and AVIF are
    written without chroma subsampling, WebP (with lossless alpha) and HEIC with chroma of half the size: it is all that
    the one has, and that every decoder of the other reads. A HEIC keeps 10 of 16 bits. The ICC profile
    goes along where it is one for the pixels that are written, the metadata where the format has a place; what is left
    out is said in one line of the log. What a PNG says of its colours in other chunks stays in a PNG and becomes a
    profile elsewhere. Raises InputError where ``check_destination`` or the disk refuses, and where the format cannot
    hold the photo's alpha, depth, size or colours (PQ, HLG).
    """
    path = Path(path)
    kind = format_of(path) if kind is None else _known(kind)
    _check_place(path, None, overwrite)
    write_encoded(path, _file_of(photo, kind, path, quality), overwrite=overwrite)


def write_encoded(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write the bytes of a photo's file, such as those of ``encode_photo``, whole or not at all. Raises InputError."""
    path = Path(path)
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


def encode_photo(photo: Photo, kind: str, *, quality: int | None = None, where: str | os.PathLike[str] = "") -> bytes:
    """The file that ``write_photo`` would write, in memory.

    kind: "JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF" or "HEIC", such as the ``format`` of a photo that was
    read. quality: as there. where: its name in a message.

    Raises InputError where that format cannot hold the photo's alpha, depth or size.
    """
    return _file_of(photo, _known(kind), where or f"a {kind}", quality)


def _known(kind: str) -> str:
    if kind not in FORMATS:
        raise InputError(f"cannot write the format {kind!r}; use one of {', '.join(FORMATS)}")
    return kind


def _file_of(photo: Photo, kind: str, where: str | os.PathLike[str], quality: int | None = None) -> bytes:
    """The file in the format ``kind``; where: its name in a message. Raises InputError."""
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"the quality {quality} is not one of a JPEG, WebP, HEIC or AVIF; give 1 to 100")
    check_photo(os.fspath(where), kind, photo)
    try:
        data, lost = _encode(photo, kind, quality)
    except ImportError as error:
        raise InputError(f"cannot write {where}: {error}; run: pip install pillow") from error
    except MemoryError:
        raise InputError(f"cannot write {where}: not enough memory; close other programs") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {where}: {error}; write PNG or TIFF") from error
    if str(lost):
        _log.warning("%s: left out: %s", where, lost)
    return data


def _taken(path: Path, why: str = "it exists already") -> InputError:
    return InputError(f"cannot write {path}: {why}; choose another name or allow it (--overwrite)")


def _encode(photo: Photo, kind: str, quality: int | None) -> tuple[bytes, Lost]:
    """(the file of ``photo`` in the format ``kind``, which must be able to hold it, what it has no place for)."""
    from . import kept, tiff

    samples = samples_of(photo, kind)
    icc_profile, colours, left_out = written(photo.icc_profile, photo.colour, kind, channels_of(photo, kind))
    if kind == "PNG":
        chunks, lost = kept.for_png(photo)
        data = png.encode(samples, icc_profile=icc_profile, chunks=[*colours, *chunks])
    elif kind == "TIFF":
        block, lost = kept.for_tiff(photo)
        data = tiff.encode(samples, icc_profile=icc_profile, block=block)
    else:
        data, lost = _by_pillow(samples, photo, kind, icc_profile, quality)
    if left_out:
        lost.others.append(left_out)
    return data, lost


def _by_pillow(
    samples: NDArray[Any], photo: Photo, kind: str, icc_profile: bytes | None, quality: int | None
) -> tuple[bytes, Lost]:
    from PIL import Image

    from . import bmp, heic, jpeg, kept

    options = dict(_SETTINGS[kind])
    if quality is not None and "quality" in options:
        options["quality"] = quality
    if icc_profile and kind != "BMP":
        options["icc_profile"] = icc_profile
    if kind in ("WEBP", "AVIF", "HEIC"):
        exif, xmp, lost = kept.for_boxes(photo, kind)
        if kind == "HEIC":
            if samples.dtype == np.uint16 and photo.format != "HEIC":
                lost.others.append(f"{16 - heic.BITS} of its 16 bits (a HEIC has {heic.BITS})")
            encoded = heic.encode(samples, quality=options["quality"], icc_profile=icc_profile, exif=exif, xmp=xmp)
            return encoded, lost
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
        if icc_profile:
            data = bmp.with_profile(data, icc_profile)
    return data, lost


def samples_of(photo: Photo, kind: str) -> NDArray[Any]:
    """(H, W, C): one grey channel for a grey photo where the format has that, alpha as the last."""
    channels = [photo.pixels]
    if photo.grey:
        # luminance of ITU-R 601, exact where the three channels are equal
        red, green, blue = (photo.pixels[..., i : i + 1].astype(np.uint32) for i in range(3))
        total = red * np.uint32(19595) + green * np.uint32(38470) + blue * np.uint32(7471) + np.uint32(0x8000)
        grey = (total >> np.uint32(16)).astype(photo.pixels.dtype)
        channels = [grey] * channels_of(photo, kind)
    if photo.alpha is not None:
        channels.append(photo.alpha[..., None])
    return np.ascontiguousarray(np.concatenate(channels, axis=2))
