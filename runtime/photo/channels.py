"""From Pillow's modes to RGB, alpha and grey."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError

_CONVERT = {
    "L": "L",
    "1": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
}


def to_8bit(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """A loaded 8-bit image as (H, W, C) uint8: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.

    CMYK becomes sRGB through its ICC profile (without a usable one, by Pillow's plain formula).
    Raises InputError for a mode that is none of these.
    """
    if image.mode == "CMYK":
        image = _cmyk_to_srgb(image)
    mode = _CONVERT.get(image.mode)
    if mode is None:
        raise InputError(
            f"cannot read {path}: its pixels are of the kind {image.mode!r}; save it as 8 or 16 bit RGB or grey"
        )
    if image.mode == "P" and "transparency" in image.info:
        mode = "RGBA"
    samples = np.asarray(image if image.mode == mode else image.convert(mode))
    return samples if samples.ndim == 3 else samples[..., None]


def split(samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None, bool]:
    """(H, W, C) with C from 1 to 4 into (H, W, 3) pixels, (H, W) alpha or None, and whether it is grey."""
    channels = samples.shape[2]
    grey = channels < 3
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else np.ascontiguousarray(samples[..., :3])
    return pixels, alpha, grey


def colour_key(pixels: NDArray[Any], key: int | tuple[int, ...], depth: int) -> NDArray[Any]:
    """Alpha (H, W) of a PNG that names one colour as transparent, in samples of ``depth`` bits."""
    values = np.atleast_1d(np.asarray(key)) & (2**depth - 1)
    if depth < 8:  # Pillow spreads the pixels over 0..255 and leaves the key
        values = values * (255 // (2**depth - 1))
    opaque = np.iinfo(pixels.dtype).max
    return np.where((pixels == values).all(axis=2), 0, opaque).astype(pixels.dtype)


def _cmyk_to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        from PIL import ImageCms

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
            pass  # a profile that is damaged or of another colour space says nothing about these inks
    return image.convert("RGB")
