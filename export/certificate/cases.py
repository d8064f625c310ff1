"""The photos that a package is certified on: pieces of the sample photo that comes with the project."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.names import Precision

from ..files import assets

# height, width, batch: odd sizes, a batch, and smaller than the padding
_SIZES = ((61, 83, 1), (96, 64, 2), (33, 1, 1), (128, 160, 1))
_GOLDEN = (45, 70)
_WIDE = (64, 3840)  # rows, columns


@dataclass(frozen=True)
class Case:
    """A batch of photos to compare on."""

    photos: NDArray[np.uint8]
    """(B, H, W, 3), RGB."""
    source: str
    """Where they come from, for the record."""
    seed: int
    """Of the noise, one field a photo."""


def _sample() -> tuple[NDArray[np.uint8], str]:
    path = assets() / "sample.png"
    with Image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    return pixels, f"assets/{path.name} (sha256 {sha256(path.read_bytes()).hexdigest()[:16]})"


def cases(precision: Precision = "fp32") -> list[Case]:
    """What :func:`export.certificate.certify.certify` compares on, seeded: crops at several sizes and batch 2.

    Half precisions are also compared on a strip 3840 pixels wide, where the HFRM's logits are largest.
    """
    photo, name = _sample()
    generator = np.random.default_rng(2023)
    made = []
    for index, (height, width, batch) in enumerate(_SIZES):
        tops = generator.integers(0, photo.shape[0] - height + 1, batch)
        lefts = generator.integers(0, photo.shape[1] - width + 1, batch)
        crops = [photo[t : t + height, x : x + width] for t, x in zip(tops, lefts, strict=True)]
        offsets = " ".join(f"+{x}+{t}" for t, x in zip(tops, lefts, strict=True))
        made.append(Case(np.stack(crops), f"{name}, crop at {offsets}", seed=100 + index))
    if precision != "fp32":
        rows, width = _WIDE
        height = round(photo.shape[0] * width / photo.shape[1])
        large = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
        strip = large[None, height // 3 : height // 3 + rows]
        made.append(Case(strip, f"{name}, enlarged to {width} pixels wide, a strip", seed=99))
    return made


def golden_photo() -> NDArray[np.uint8]:
    """The small photo of the golden sample, (H, W, 3) uint8."""
    photo, _ = _sample()
    top, left = 180, 250
    return photo[top : top + _GOLDEN[0], left : left + _GOLDEN[1]].copy()
