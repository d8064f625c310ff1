"""16-bit samples through Pillow, which has no 16-bit colour mode.

For 16-bit colour Pillow unpacks the high byte of each sample ("RGB;16B" reads big-endian ones). Read
once more as if the byte order were the other one ("RGB;16L"), the same file gives the low bytes. All
decompression, filters, interlacing and tiles stay Pillow's, and the values are exact.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from ..errors import InputError

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def load_16bit(image: ImageFile.ImageFile, again: ImageFile.ImageFile, path: Path) -> NDArray[np.uint16]:
    """(H, W, C) uint16 of a 16-bit PNG or TIFF: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.

    ``image`` and ``again`` are the same file opened twice, not loaded yet; both are loaded here.
    Raises InputError for other channels (CMYK).
    """
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    raw = _raw_mode(image)
    if raw == "LA;16B":
        return _load(image, "RGBA").view(">u2").astype(np.uint16)
    layout, _, order = raw.partition(";16")
    if layout not in ("RGB", "RGBX", "RGBA", "RGBa") or order not in _OTHER_ORDER:
        raise InputError(f"cannot read {path}: 16-bit {image.mode} is not supported; save it as 16-bit RGB")
    plain = layout.replace("a", "A")
    high = _load(image, f"{plain};16{order}").astype(np.uint16)
    low = _load(again, f"{plain};16{_OTHER_ORDER[order]}")
    samples = high << np.uint16(8) | low
    return _unpremultiplied(samples) if layout == "RGBa" else samples


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return str(args[0] if isinstance(args, tuple) else args)


def _load(image: ImageFile.ImageFile, raw_mode: str) -> NDArray[np.uint8]:
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    image.load()
    return np.asarray(image)


def _unpremultiplied(samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Colours divided by their alpha, as an editor shows them; black where fully transparent."""
    alpha = samples[..., 3:].astype(np.uint64)
    colours = (samples[..., :3].astype(np.uint64) * 65535 + alpha // 2) // np.maximum(alpha, 1)
    colours = np.where(alpha == 0, 0, np.minimum(colours, 65535))
    return np.concatenate([colours, alpha], axis=2).astype(np.uint16)
