"""A photo as the bytes of a file."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import png, tiff
from .photo import Photo, luminance

_log = logging.getLogger(__name__)

_SETTINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 4, "alpha_quality": 100},
    "BMP": {},
}
_JPEG_EXIF_BYTES = 65533


def encode(photo: Photo, kind: str) -> bytes:
    """The file of ``photo`` in the format ``kind``, which must be able to hold it (see ``check_fits``).

    PNG, TIFF and BMP are lossless; JPEG has quality 95 and 4:4:4; WebP quality 95 with lossless alpha.
    EXIF and the ICC profile go along, except into BMP.
    """
    samples = _samples(photo, kind)
    icc_profile, exif = photo.icc_profile, photo.exif
    if icc_profile and icc_profile[16:20] == b"GRAY" and samples.shape[2] >= 3:
        icc_profile = None  # a grey profile says nothing about three channels
    if kind == "PNG":
        return png.encode(samples, icc_profile=icc_profile, exif=exif)
    if kind == "TIFF":
        return tiff.encode(samples, icc_profile=icc_profile, exif=exif)

    if kind == "JPEG" and exif and len(exif) > _JPEG_EXIF_BYTES:
        _log.warning("EXIF data of %d bytes does not fit into a JPEG and is left out", len(exif))
        exif = None
    options = dict(_SETTINGS[kind])
    if kind != "BMP":
        options.update({key: data for key, data in (("icc_profile", icc_profile), ("exif", exif)) if data})
    file = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(file, kind, **options)
    return file.getvalue()


def _samples(photo: Photo, kind: str) -> NDArray[Any]:
    """(H, W, C): one grey channel for a grey photo where the format has that, alpha as the last."""
    # WebP has no grey; 16-bit grey with alpha is a TIFF that few programs read, this one included
    grey = photo.grey and kind != "WEBP"
    if kind == "TIFF" and photo.alpha is not None and photo.pixels.dtype == np.uint16:
        grey = False
    channels = [luminance(photo.pixels)[..., None]] if photo.grey else [photo.pixels]
    if photo.grey and not grey:
        channels = [np.repeat(channels[0], 3, axis=2)]
    if photo.alpha is not None:
        channels.append(photo.alpha[..., None])
    return np.ascontiguousarray(np.concatenate(channels, axis=2))
