"""Whether the command can read and write photos here: for the doctor, since Pillow may lack a codec or not load one."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from ..photo import Photo, encode_photo, read_photo

_LOSSLESS, _DEEP = ("PNG", "TIFF", "BMP"), ("PNG", "TIFF")


def try_all() -> list[str]:
    """Write and read a small photo in memory in every format; with 16 bits too, for which the reader goes into Pillow's
    inside. Returns the formats; raises InputError, or ValueError where a photo comes back as another one."""
    formats = ["JPEG", "PNG", "TIFF", "WEBP", "BMP", *_more()]
    samples = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    photo = Photo(samples, None, grey=False, icc_profile=None, exif=None, format="PNG")
    deep = photo.with_pixels(samples.astype(np.uint16) * np.uint16(255))
    for kind in formats:
        for given in (photo, deep) if kind in _DEEP else (photo,):
            found = read_photo(encode_photo(given, kind)).pixels
            same = np.array_equal(found, given.pixels) if kind in _LOSSLESS else found.shape == given.pixels.shape
            if not same or found.dtype != given.pixels.dtype:
                raise ValueError(f"wrong result: a {kind} is not read as it was written")
    return formats


def _more() -> list[str]:
    """The formats that not every installation has."""
    from PIL import features

    there = {"AVIF": features.check("avif"), "HEIC": find_spec("pillow_heif") is not None}
    return [kind for kind, is_there in there.items() if is_there]
