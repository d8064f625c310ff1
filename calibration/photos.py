"""The photos: which are calibrated on, which are kept unseen for the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.enhancer import Enhancer
from runtime.errors import InputError
from runtime.package.sampling import Sampling
from runtime.photo import read_photo

SIDE = 640  # of a larger photo the centre is taken: memory is bounded by the largest photo
_MOST_UNSEEN = 4

Array = NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A photo file and the sha256 of its bytes."""

    path: Path
    sha256: str

    def pixels(self, smallest: int) -> Array:
        """(H, W, 3) uint8 or uint16, RGB, at most SIDE pixels a side, the centre of a larger photo.

        Raises InputError where it cannot be read or a side has fewer than ``smallest`` pixels.
        """
        pixels = read_photo(self.path).pixels
        height, width, _ = pixels.shape
        if min(height, width) < smallest:
            raise InputError(
                f"{self.path}: {width}x{height} pixels; a photo to calibrate with has at least {smallest} a side, as "
                "most of a smaller one would be padding. Leave it out."
            )
        top, left = (max(0, size - SIDE) // 2 for size in (height, width))
        return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])

    @property
    def record(self) -> dict[str, str]:
        return {"file": self.path.name, "sha256": self.sha256}


def distinct(paths: Sequence[Path]) -> list[Source]:
    """The photos in the order given; the same file twice counts once. Raises InputError."""
    sources: dict[str, Source] = {}
    for path in paths:
        try:
            digest = sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}; check the name.") from error
        sources.setdefault(digest, Source(path, digest))
    return list(sources.values())


def choose(paths: Sequence[Path], samples: int, smallest: int) -> tuple[list[Source], list[Source]]:
    """(photos to calibrate on, photos kept unseen), both in the order given; the same file twice counts once.

    One photo in five, at least one and at most four, is kept unseen. Of the others ``samples`` are taken, evenly
    spread. Every photo is read once, so that a bad one is told before any work. Raises InputError.
    """
    if samples < 1:
        raise InputError(f"--samples is {samples}; give at least 1.")
    every = distinct(paths)
    if len(every) < 2:
        raise InputError(
            f"{len(every)} photo(s) given; at least 2 different ones are needed, as one is kept unseen for the "
            "certificate (16 or more are better)."
        )
    for source in every:
        source.pixels(smallest)
    kept = max(1, min(_MOST_UNSEEN, len(every) // 5))
    unseen = spread(range(len(every)), kept)
    rest = [index for index in range(len(every)) if index not in unseen]
    chosen = spread(rest, min(samples, len(rest)))
    return [every[index] for index in chosen], [every[index] for index in unseen]


def few_unseen(unseen: int, given: int) -> str:
    """What to say before work whose certificate stands on fewer unseen photos than it could; else empty."""
    if unseen >= _MOST_UNSEEN:
        return ""
    return (
        f"note: the certificate will stand on {unseen} unseen photo{'s' if unseen > 1 else ''} alone: one in five of "
        f"the {given} given is kept unseen, at least one and at most {_MOST_UNSEEN}. With {5 * _MOST_UNSEEN} photos or "
        f"more it stands on {_MOST_UNSEEN}."
    )


def enhance_whole(enhancer: Enhancer, photos: Array, seed: int, sampling: Sampling) -> Array:
    """The result of a photo (H, W, 3), or of a batch (B, H, W, 3), that runs whole: no strips, and no keys left out.
    seed: of the noise, where ``sampling`` starts from noise. Raises InputError where that does not fit into memory."""
    height, width = photos.shape[-3:-1]
    batch = len(photos) if photos.ndim == 4 else 1
    plan = enhancer.plan(width, height, sampling=sampling.name, batch=batch, dtype=photos.dtype, kind="whole")
    given = seed if sampling.start == "normal" else None
    result: Array = enhancer(photos, sampling=sampling.name, seed=given, plan=plan)
    return result


def spread(items: Sequence[int], count: int) -> list[int]:
    """``count`` of the items, evenly spread."""
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]
