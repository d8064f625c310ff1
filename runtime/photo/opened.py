"""A photo's file whose header was read and whose pixels were not: what each decoder gives to the reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import TooLargeError
from .colour import Colour
from .metadata import Found


@dataclass
class Opened:
    """What is known before the pixels are decoded."""

    size: tuple[int, int]
    """Width and height of the picture, before ``turn``."""
    depth: int
    """Bits of a sample: 16 where ``load`` gives uint16."""
    load: Callable[[], NDArray[Any]]
    """Decodes: (H, W, C) uint8 or uint16, C as 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""
    found: Found
    turn: int = 1
    """EXIF orientation, 1 to 8, by which metadata has to be turned."""
    left: int = 1
    """The same for the samples that ``load`` gives; 1 where the decoder turns them."""
    profile: bytes | None = None
    own: Colour = field(default_factory=Colour)
    key: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    """Alpha, (H, W), of decoded pixels, where the file names one colour as transparent."""
    written_as: str = ""
    """The format of the result where none is named; empty: the file's own."""


def check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    """Raise TooLargeError where ``size``, width and height, is over the limit, or over that of Pillow."""
    from PIL import Image

    width, height = size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise TooLargeError(
            f"cannot read {path}: it is {width} x {height} ({width * height / 1e6:.1f} megapixels), "
            f"above the limit of {limit / 1e6:.1f} megapixels; resize it first"
        )
