"""Pillow images that a program holds: their pixels, and an image of the result. Pillow is imported by the first one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_line
from .photo import Photo
from .write import samples_of

if TYPE_CHECKING:
    from PIL.Image import Image

Back = Callable[[NDArray[Any]], "Image"]


def is_image(value: object) -> bool:
    """Whether ``value`` is a Pillow image: there is none before somebody has imported Pillow."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def from_image(image: Image) -> tuple[NDArray[Any], Back]:
    """The pixels of an image, upright, (H, W, 3) RGB, uint8 or (of the modes I;16) uint16; and what makes an image of
    other pixels of that shape and dtype, with the alpha and the ``info`` (profile, EXIF) of ``image``.

    The new image's mode is L for 1 and L; LA for LA and La; RGB for RGB, RGBX and YCbCr, and for CMYK, whose colours
    become sRGB; RGBA for RGBA and RGBa; I;16 for 16 bits; RGB for a palette, RGBA (LA) where a palette or a colour is
    transparent. ``image`` is not changed. Raises InputError for other modes, and where Pillow cannot load it.
    """
    from PIL import ImageOps

    try:
        image.load()
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        said = one_line(error, 120) or type(error).__name__
        raise InputError(f"the Pillow image cannot be loaded ({said}); open its file again") from error
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata must not cost the photo
        image = image.copy()
    info = {key: value for key, value in image.info.items() if key != "transparency"}
    if image.mode == "CMYK":
        info.pop("icc_profile", None)  # the samples are sRGB
    samples = _samples(image)
    channels = samples.shape[2]
    photo = Photo(
        pixels=np.repeat(samples[..., :1], 3, axis=2) if channels < 3 else samples[..., :3],
        alpha=samples[..., -1] if channels in (2, 4) else None,
        grey=channels < 3,
        icc_profile=None,
        exif=None,
        format="PNG",
    )

    def back(pixels: NDArray[Any]) -> Image:
        from PIL import Image as Module

        stored = samples_of(photo.with_pixels(pixels), photo.format)
        made = Module.fromarray(stored[..., 0] if stored.shape[2] == 1 else stored)
        made.info = info
        return made

    return photo.pixels, back


def _samples(image: Image) -> NDArray[Any]:
    """(H, W, C), uint8 or uint16: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""
    from .samples import to_8bit

    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    try:
        return to_8bit(image, Path())
    except InputError as error:
        modes = "L, LA, RGB or RGBA (or, with 16 bits, I;16)"
        raise InputError(f"the Pillow image has the mode {image.mode!r}; convert it to {modes} first") from error
