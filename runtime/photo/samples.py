"""What Pillow decodes as RGB, alpha and grey samples, of 8 and of 16 bits.

Pillow has no 16-bit colour mode, and a second decoder that has one (tifffile, OpenCV) would be one more library on a
device. So Pillow decodes such a file twice: it unpacks the high byte of each sample ("RGB;16B" reads big-endian ones),
and, told the other byte order ("RGB;16L"), the low bytes. Decompression, filters, interlacing and tiles stay Pillow's,
and the values are exact. ``image.tile`` is Pillow's inside: pyproject.toml holds Pillow below the next major version.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ..errors import InputError

_CONVERT = {
    **{"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA", "YCbCr": "RGB"},
    **{mode: mode for mode in ("L", "LA", "RGB", "RGBA")},
}
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def to_8bit(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """(H, W, C) uint8 of an 8-bit image, which is loaded here: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.

    CMYK becomes sRGB through its ICC profile (without a usable one, by Pillow's plain formula).
    Raises InputError for a mode that is none of these.
    """
    image.load()
    if image.mode == "CMYK":
        image = _cmyk_to_srgb(image)
    mode = _CONVERT.get(image.mode)
    if mode is None:
        raise InputError(f"cannot read {path}: its pixels are {image.mode}; save it as 8 or 16 bit RGB or grey")
    if image.mode == "P" and "transparency" in image.info:
        mode = "RGBA"
    samples = np.asarray(image if image.mode == mode else image.convert(mode))
    return samples if samples.ndim == 3 else samples[..., None]


def load_16bit(image: ImageFile.ImageFile, again: ImageFile.ImageFile, path: Path) -> NDArray[np.uint16]:
    """(H, W, C) uint16 of a 16-bit PNG or TIFF: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.

    ``image`` and ``again`` are the same file opened twice, not loaded yet; both are loaded here.
    Raises InputError for other channels (CMYK).
    """
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    args = image.tile[0].args
    raw = str(args[0] if isinstance(args, tuple) else args)
    if raw == "LA;16B":
        return _load(image, "RGBA").view(">u2").astype(np.uint16)
    layout, _, order = raw.partition(";16")
    if layout not in ("RGB", "RGBX", "RGBA", "RGBa") or order not in _OTHER_ORDER:
        raise InputError(f"cannot read {path}: 16-bit {image.mode} is not supported; save it as 16-bit RGB")
    plain = layout.replace("a", "A")
    high = _load(image, f"{plain};16{order}").astype(np.uint16)
    low = _load(again, f"{plain};16{_OTHER_ORDER[order]}")
    samples = high << np.uint16(8) | low
    return unpremultiplied(samples) if layout == "RGBa" else samples


def colour_key(pixels: NDArray[Any], key: int | tuple[int, ...], depth: int) -> NDArray[Any]:
    """Alpha (H, W) of a PNG that names one colour as transparent, in samples of ``depth`` bits."""
    values = np.atleast_1d(np.asarray(key)) & (2**depth - 1)
    if depth < 8:  # Pillow spreads the pixels over 0..255 and leaves the key
        values = values * (255 // (2**depth - 1))
    opaque = np.iinfo(pixels.dtype).max
    return np.where((pixels == values).all(axis=2), 0, opaque).astype(pixels.dtype)


def says_nothing(alpha: NDArray[Any], kind: str) -> bool:
    """Whether ``alpha`` (H, W) of a file of the format ``kind`` is opaque everywhere. A BMP's is also where it is 0
    everywhere: programs that write 32 bits a pixel often leave the fourth byte empty, and none shows such a picture as
    invisible."""
    opaque = np.iinfo(alpha.dtype).max
    return bool(alpha.min() == opaque or (kind == "BMP" and alpha.max() == 0))


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


def _load(image: ImageFile.ImageFile, raw_mode: str) -> NDArray[np.uint8]:
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    image.load()
    return np.asarray(image)


def unpremultiplied(samples: NDArray[Any]) -> NDArray[Any]:
    """Colours divided by their alpha, the last channel, as an editor shows them; black where fully transparent.

    samples: (H, W, C) uint8 or uint16, as is what comes back.
    """
    opaque = int(np.iinfo(samples.dtype).max)
    alpha = samples[..., -1:].astype(np.uint64)
    colours = (samples[..., :-1].astype(np.uint64) * opaque + alpha // 2) // np.maximum(alpha, 1)
    colours = np.where(alpha == 0, 0, np.minimum(colours, opaque))
    return np.concatenate([colours, alpha], axis=2).astype(samples.dtype)
