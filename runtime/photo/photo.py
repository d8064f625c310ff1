"""A photo in memory: its pixels and what has to be written back with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .colour import Colour
from .metadata import Metadata


@dataclass(frozen=True, eq=False)
class Photo:
    """One upright RGB picture. Its arrays may be read-only. Raises InputError where they do not fit each other."""

    pixels: NDArray[Any]
    """(H, W, 3), uint8 or uint16, RGB; a grey photo has three equal channels."""
    alpha: NDArray[Any] | None
    """(H, W), dtype of pixels, 0 is transparent; not premultiplied."""
    grey: bool
    """The file held one channel; ``write_photo`` then writes luminance (ITU-R 601) again."""
    icc_profile: bytes | None
    """The file's colour profile; the pixels are in its colours, not converted."""
    exif: bytes | None
    """"Exif\\0\\0" and a TIFF structure: no thumbnail, orientation 1, the picture's own size."""
    format: str
    """What the file was, by the name in FORMATS; "TIFF" for a camera raw file."""
    metadata: Metadata = field(default_factory=Metadata)
    """What else it brought: XMP, IPTC, resolution, comments, text."""
    colour: Colour = field(default_factory=Colour)
    """What a PNG said of its colours besides a profile."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise InputError(f"a photo's pixels are {shape} {dtype}; give an (H, W, 3) array of uint8 or uint16")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            found = f"{self.alpha.shape} {self.alpha.dtype}"
            raise InputError(f"alpha is {found}, the pixels are {shape} {dtype}; give {shape[:2]} {dtype}")

    def __repr__(self) -> str:
        height, width, _ = self.pixels.shape
        kind = f"{self.pixels.dtype} {'grey' if self.grey else 'RGB'}{'' if self.alpha is None else ' with alpha'}"
        return f"<Photo {width}x{height} {kind}, was {self.format}>"

    def with_pixels(self, pixels: NDArray[Any]) -> Photo:
        """The same photo with other ``pixels``, (H, W, 3) uint8 or uint16, whose depth its alpha follows."""
        alpha = self.alpha
        if alpha is not None and alpha.dtype != pixels.dtype:
            if pixels.dtype == np.uint16:
                alpha = alpha.astype(np.uint16) * np.uint16(257)
            else:
                alpha = ((alpha.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return replace(self, pixels=pixels, alpha=alpha)


def blend(dark: NDArray[Any], bright: NDArray[Any], strength: float) -> NDArray[Any]:
    """``dark`` + strength * (bright - dark), rounded half up.

    dark, bright: (H, W, 3) uint8 or uint16, RGB; strength: 0 to 1.
    """
    mixed: NDArray[Any] = np.empty_like(bright)
    for colour in range(3):  # one at a time: a third of the memory
        plane = bright[..., colour].astype(np.float32)
        plane -= dark[..., colour]
        plane *= np.float32(strength)
        plane += dark[..., colour]
        plane += np.float32(0.5)
        mixed[..., colour] = plane
    return mixed
