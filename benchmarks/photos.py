"""The photos that are timed and scored."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.photo import SUFFIXES

Photo = NDArray[np.uint8]
Size = tuple[int, int]


def synthetic(width: int, height: int) -> Photo:
    """A dark picture with smooth light, edges and noise, (height, width, 3) uint8; always the same for a size."""
    generator = np.random.default_rng(2023)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    phase, speed = generator.random((2, 3), np.float32) * 6
    light = 0.5 + 0.5 * np.sin(speed * x * 3 + phase) * np.cos(speed * y * 2 - phase)
    for _ in range(12):
        top, left, tall, wide = (int(n) for n in generator.random(4) * (height, width, height / 3, width / 3))
        light[top : top + tall + 1, left : left + wide + 1] *= generator.random(3, np.float32)
    noisy = 0.15 * light + 0.01 * generator.standard_normal(light.shape, np.float32)
    dark: Photo = (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)
    return dark


@dataclass(frozen=True)
class Photos:
    """Where photos come from."""

    timed: Path | None
    """The file that is timed, resized to each size; None: a synthetic picture."""
    pairs: tuple[tuple[Path, Path], ...] = ()
    """(photo, its reference), to be scored at their own size."""

    @classmethod
    def find(cls, photo: Path | None, reference: Path | None) -> Photos:
        """photo, reference: two files, or two folders with the same names in them. Raises InputError."""
        if photo is None:
            if reference is not None:
                raise InputError(f"--reference {reference} needs --photo: whose reference is it?")
            return cls(None)
        photos = _files(photo)
        if reference is None:
            return cls(photos[0])
        references = _files(reference)
        if photo.is_dir() != reference.is_dir():
            raise InputError(f"{photo} and {reference}: give two files or two folders.")
        if not photo.is_dir():
            return cls(photos[0], ((photos[0], references[0]),))
        by_name = {path.name: path for path in references}
        pairs = tuple((path, by_name[path.name]) for path in photos if path.name in by_name)
        if not pairs:
            raise InputError(f"{photo} and {reference}: no file name is in both.")
        return cls(pairs[0][0], pairs)

    @property
    def source(self) -> str:
        """In words, for the records."""
        if self.timed is None:
            return "synthetic, seed 2023"
        return f"{self.timed.name} (sha256 {sha256(self.timed.read_bytes()).hexdigest()[:16]}), resized"

    def make(self, size: Size) -> Photo:
        """The photo to time, at ``size``. Raises InputError."""
        width, height = size
        if self.timed is None:
            return synthetic(width, height)
        pixels = _pixels(self.timed)
        if pixels.shape[:2] == (height, width):
            return pixels
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))

    def check(self) -> None:
        """Read every file once. Raises InputError for one that cannot be used, or a pair of two sizes."""
        for one in [self.timed] if self.timed else []:
            _pixels(one)
        for photo, reference in self.pairs:
            if _pixels(photo).shape != _pixels(reference).shape:
                raise InputError(f"{photo} and {reference}: their sizes differ.")

    def pairs_of(self, size: Size) -> list[list[str]]:
        """The pairs whose photos are of ``size``: nothing is resized that is scored."""
        width, height = size
        pairs = [(low, high) for low, high in self.pairs if _pixels(low).shape[:2] == (height, width)]
        return [[str(low.absolute()), str(high.absolute())] for low, high in pairs]


def _pixels(path: Path) -> Photo:
    from runtime.photo import read_photo

    pixels = read_photo(path).pixels
    if pixels.dtype != np.uint8:
        raise InputError(f"{path}: 16 bits a colour; benchmarks take 8-bit photos.")
    return pixels


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{path}: no photo is in this folder.")
        return found
    if not path.is_file():
        raise InputError(f"{path}: does not exist; give a photo or a folder of photos.")
    return [path]
