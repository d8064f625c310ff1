"""The photos of a training, decoded once, and the batches of patches that worker processes make of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_convert

from runtime.cli.inputs import Naming, plan_work
from runtime.errors import InputError
from runtime.image import reflect_indices
from runtime.photo import read_photo

from .darken import darken

Pixels = NDArray[np.uint8]
_FRAME = 4  # pixels at the border that are left out: scans and film have a frame there
_ROOM = 64 << 20  # bytes of shared memory a worker: two batches ahead of some hundred patches each
_PADDED = 0.3  # share of patches that end in a reflection, as the runtime pads photos to a multiple


@dataclass(frozen=True)
class Photos:
    """What is trained on."""

    pairs: list[tuple[Pixels, Pixels | None]]
    """A photo and its reference, (H, W, 3) uint8 RGB; None where it is darkened."""
    left_out: list[str]
    """Photos smaller than a patch, one line each."""


def read_photos(folder: Path, references: Path | None, smallest: int, progress: Callable[[str], None]) -> Photos:
    """Every photo of ``folder``. Raises InputError: none, one that cannot be read, a reference that is missing or of
    another size."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder; give the folder of the photos to train on.")
    paths = [item.source for item in plan_work([str(folder)], f"{folder}-", Naming()).items]
    pairs: list[tuple[Pixels, Pixels | None]] = []
    left_out = []
    for path in paths:
        progress(path.name)
        photo = _read(path)
        reference = None
        if references is not None:
            if not (references / path.name).is_file():
                raise InputError(f"{references}: no reference {path.name!r} for {path}; give both the same name.")
            reference = _read(references / path.name)
            if reference.shape != photo.shape:
                sizes = " and ".join(f"{one.shape[1]}x{one.shape[0]}" for one in (photo, reference))
                raise InputError(f"{path} and its reference differ in size ({sizes}); give pairs of one size.")
        if min(photo.shape[:2]) < smallest:
            left_out.append(f"{path}: {photo.shape[1]}x{photo.shape[0]} pixels, smaller than a patch of {smallest}")
            continue
        pairs.append((photo, reference))
    if not pairs:
        raise InputError(f"{folder}: all {len(paths)} photos are smaller than a patch of {smallest}; give larger ones.")
    return Photos(pairs, left_out)


def _read(path: Path) -> Pixels:
    pixels = read_photo(path).pixels
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class Batch:
    """Which batch it is: ``count`` patches of ``side`` pixels."""

    iteration: int
    side: int
    count: int


class Patches(Dataset[tuple[Pixels, Pixels]]):
    """Batch -> (dark, bright), each (B, side, side, 3) uint8 RGB. It depends on the seed, the iteration and the place
    in the batch alone: a training that resumes sees the batches that it would have seen."""

    def __init__(self, photos: Photos, seed: int) -> None:
        self._pairs, self._seed = photos.pairs, seed

    def __getitem__(self, batch: Batch) -> tuple[Pixels, Pixels]:
        pairs = [self._pair(np.random.default_rng((self._seed, batch.iteration, k)), batch.side)
                 for k in range(batch.count)]  # fmt: skip
        dark, bright = (np.stack(one) for one in zip(*pairs, strict=True))
        return dark, bright

    def _pair(self, random: np.random.Generator, side: int) -> tuple[Pixels, Pixels]:
        photo, reference = self._pairs[random.integers(len(self._pairs))]
        crop = _Crop.draw(photo.shape, side, random)
        if reference is None:
            dark, target = darken(crop(photo), random)
            bright = (target * 255 + 0.5).astype(np.uint8)
        else:
            dark, bright = crop(photo), crop(reference)
        if random.random() < _PADDED:
            height, width = (int(random.integers(side // 2, side)) for _ in range(2))
            rows, columns = reflect_indices(height, side), reflect_indices(width, side)
            dark, bright = (one[rows][:, columns] for one in (dark, bright))
        return dark, bright


@dataclass(frozen=True)
class _Crop:
    """A square of a photo, scaled to a patch, perhaps mirrored."""

    top: int
    left: int
    size: int
    side: int
    mirrored: bool

    @classmethod
    def draw(cls, shape: tuple[int, ...], side: int, random: np.random.Generator) -> _Crop:
        height, width = shape[:2]
        frame = _FRAME if min(height, width) - 2 * _FRAME >= side else 0
        largest = min(height, width) - 2 * frame
        size = round(np.exp(random.uniform(np.log(min(side, 112)), np.log(largest))))
        top, left = (frame + int(random.integers(edge - 2 * frame - size + 1)) for edge in (height, width))
        return cls(top, left, size, side, bool(random.random() < 0.5))

    def __call__(self, photo: Pixels) -> Pixels:
        part = photo[self.top : self.top + self.size, self.left : self.left + self.size]
        if self.size != self.side:
            kind = Image.Resampling.BICUBIC if self.size < self.side else Image.Resampling.LANCZOS
            part = np.asarray(Image.fromarray(part).resize((self.side, self.side), kind))
        patch: Pixels = part[:, ::-1] if self.mirrored else part
        return patch


def batches(photos: Photos, seed: int, plan: Iterable[Batch], workers: int, *, pinned: bool) -> Iterator[Any]:
    """The batches of ``plan`` as tensors, made ahead by ``workers`` processes that share the photos (0: made here)."""
    loader = DataLoader(
        Patches(photos, seed),
        sampler=plan,
        batch_size=None,
        num_workers=workers,
        collate_fn=default_convert if _shared_memory() > _ROOM * workers else _as_it_is,
        pin_memory=pinned,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_alone,
    )
    made = iter(loader)  # the workers start now, not with the first batch that is asked for
    return ((torch.as_tensor(dark), torch.as_tensor(bright)) for dark, bright in made)


def _shared_memory() -> int:
    """Bytes that worker processes can hand over as tensors; containers often have 64 MiB for all of them."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 0


def _as_it_is(batch: Any) -> Any:
    return batch


def _alone(_: int) -> None:
    """A worker has one thread, and leaves Ctrl-C to the process that started it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
