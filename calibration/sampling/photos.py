"""The photos and their references: on which the search looks, and which it never sees and is judged on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.image import SSIM_WINDOW
from runtime.photo import read_photo

from ..photos import Source, distinct, spread

_MOST_SEARCHED, _MOST_JUDGED = 6, 8

Array = NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """A dark photo, and how it should come out where that is known."""

    source: Source
    reference: Source | None

    @property
    def name(self) -> str:
        return self.source.path.name

    @property
    def key(self) -> str:
        """What its scores depend on."""
        return " ".join([self.source.sha256, *([self.reference.sha256] if self.reference else [])])

    def dark(self) -> Array:
        """(H, W, 3) uint8 or uint16, RGB."""
        return read_photo(self.source.path).pixels

    def bright(self) -> Array | None:
        """The reference, (H, W, 3) float32, 0 to 255, RGB; None where there is none."""
        return levels(read_photo(self.reference.path).pixels) if self.reference else None


def levels(pixels: Array) -> Array:
    """(H, W, 3) uint8 or uint16 -> float32, 0 to 255."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max / 255)


def small(photo: Array, pixels: int) -> Array:
    """(H, W, 3) of any dtype, a whole number of times smaller, so that it has at most so many pixels (means)."""
    by = math.ceil(math.sqrt(photo.shape[0] * photo.shape[1] / pixels))
    if by <= 1:
        return photo
    height, width = (size // by for size in photo.shape[:2])
    means = photo[: height * by, : width * by].reshape(height, by, width, by, 3).mean(axis=(1, 3), dtype=np.float64)
    shrunk: Array = means if photo.dtype.kind == "f" else np.round(means)
    return shrunk.astype(photo.dtype)


def choose(paths: Sequence[Path], references: Path | None, smallest: int) -> tuple[list[Pair], list[Pair]]:
    """(pairs to search on, pairs to judge on), both in the order given.

    At most half of them, rounded up, and at most 6 are searched on; on the others is judged, on at most 8 or one photo
    in five. Every file is read once, so that a bad one is told before any work. Raises InputError.
    """
    every = distinct(paths)
    if len(every) < 2:
        raise InputError(
            f"{len(every)} photo given; at least 2 different ones are needed, as the sampling is judged on photos that "
            "the search never saw (10 or more are better)."
        )
    smallest = max(smallest, SSIM_WINDOW)
    pairs = [_pair(source, references, smallest) for source in every]
    searched = spread(range(len(pairs)), min(_MOST_SEARCHED, (len(pairs) + 1) // 2))
    rest = [index for index in range(len(pairs)) if index not in searched]
    judged = spread(rest, min(len(rest), max(_MOST_JUDGED, len(pairs) // 5)))
    return [pairs[index] for index in searched], [pairs[index] for index in judged]


def few_judged(judged: int) -> str:
    """What to say before work that is judged on few photos; else empty."""
    if judged >= _MOST_JUDGED // 2:
        return ""
    return (
        f"note: the sampling will be judged on {judged} photo{'s' if judged > 1 else ''} alone, which the search does "
        f"not see. With {_MOST_SEARCHED + _MOST_JUDGED} photos or more it is judged on {_MOST_JUDGED}."
    )


def _pair(source: Source, references: Path | None, smallest: int) -> Pair:
    height, width, _ = read_photo(source.path).pixels.shape
    if min(height, width) < smallest:
        raise InputError(
            f"{source.path}: {width}x{height} pixels; a photo to calibrate with has at least {smallest} a side. Leave "
            "it out."
        )
    if references is None:
        return Pair(source, None)
    path = _reference(source.path, references)
    found = read_photo(path).pixels.shape
    if found[:2] != (height, width):
        raise InputError(
            f"{path}: {found[1]}x{found[0]} pixels, and its dark photo {source.path} has {width}x{height}; a reference "
            "shows the same pixels: resize one of them, or leave the photo out."
        )
    return Pair(source, Source(path, sha256(path.read_bytes()).hexdigest()))


def _reference(photo: Path, folder: Path) -> Path:
    """The file of the same name in ``folder``, or the one of the same name but for its suffix."""
    if not folder.is_dir():
        raise InputError(f"--references: {folder} is no folder; give one with files of the photos' names.")
    if (folder / photo.name).is_file():
        return folder / photo.name
    found = sorted(path for path in folder.iterdir() if path.stem == photo.stem and path.is_file())
    if len(found) != 1:
        what = (
            f"{len(found)} files have its name ({', '.join(path.name for path in found[:3])})" if found else "no file"
        )
        raise InputError(
            f"{photo}: its reference is missing in {folder}: {what}; one {photo.stem}.* is wanted. Add it, or leave "
            "the photo out."
        )
    return found[0]
