"""The photos of a training, decoded once, and the batches of patches that worker processes make of them."""

from __future__ import annotations

import ctypes
import shutil
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
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
from .options import Goal

Pixels = NDArray[np.uint8]
_FRAME = 4  # pixels at the border that are left out: scans and film have a frame there
_ROOM = 64 << 20  # bytes of shared memory a worker: two batches ahead of some hundred patches each
_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PADDED = 0.3  # share of patches that end in a reflection, as the runtime pads photos to a multiple


@dataclass(frozen=True)
class Photos:
    """What is trained on."""

    goal: Goal
    pairs: list[tuple[Pixels, Pixels]]
    """A photo and its reference, (H, W, 3) uint8 RGB; the photo twice where it is darkened, or has none."""
    left_out: list[str]
    """Photos smaller than a patch, one line each."""

    @property
    def key(self) -> str:
        """Another one for other photos."""
        digest = sha256()
        for pair in self.pairs:
            for one in pair:
                digest.update(f"{one.shape}".encode() + np.ascontiguousarray(one[::8, ::8]).tobytes())
        return digest.hexdigest()


def read_photos(folder: Path, goal: Goal, references: Path | None, smallest: int) -> Photos:
    """Every photo of ``folder``. Raises InputError: none, one that cannot be read, a reference that is missing or of
    another size."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder; give the folder of the photos to train on.")
    paths = [item.source for item in plan_work([str(folder)], f"{folder}-", Naming()).items]
    if references is not None and (missing := [one.name for one in paths if not (references / one.name).is_file()]):
        raise InputError(
            f"{references}: {len(missing)} of {len(paths)} photos have no reference there, such as {missing[0]!r}; "
            "give each the name of its photo, or leave those photos out."
        )
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda path: _pair(path, references), paths))
    pairs, left_out = [], []
    for path, (photo, reference) in zip(paths, read, strict=True):
        height, width, _ = photo.shape
        if min(height, width) < smallest:
            left_out.append(f"{path}: {width}x{height} pixels, smaller than a patch of {smallest}")
        else:
            pairs.append((photo, reference))
    if not pairs:
        raise InputError(
            f"{folder}: every photo ({len(paths)}) is smaller than a patch of {smallest} pixels; give larger ones, or "
            "a smaller --patch."
        )
    return Photos(goal, pairs, left_out)


def _pair(path: Path, references: Path | None) -> tuple[Pixels, Pixels]:
    photo = _read(path)
    reference = photo if references is None else _read(references / path.name)
    if reference.shape != photo.shape:
        sizes = " and ".join(f"{one.shape[1]}x{one.shape[0]}" for one in (photo, reference))
        raise InputError(f"{path} and its reference differ in size ({sizes}); give pairs of one size.")
    return photo, reference


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
    in the batch alone: a training that resumes sees the batches that it would have seen. Without references bright is
    dark."""

    def __init__(self, photos: Photos, seed: int) -> None:
        self._photos, self._seed = photos, seed

    def __getitem__(self, batch: Batch) -> tuple[Pixels, Pixels]:
        pairs = [self._pair(np.random.default_rng((self._seed, batch.iteration, k)), batch.side)
                 for k in range(batch.count)]  # fmt: skip
        dark, bright = (np.stack(one) for one in zip(*pairs, strict=True))
        return dark, bright

    def _pair(self, random: np.random.Generator, side: int) -> tuple[Pixels, Pixels]:
        pairs = self._photos.pairs
        photo, reference = pairs[random.integers(len(pairs))]
        crop = _Crop.draw(photo.shape, side, random)
        if self._photos.goal == "darkened":
            dark, target = darken(crop(photo), random)
            bright = (target * 255 + 0.5).astype(np.uint8)
        else:
            dark, bright = crop(photo), crop(reference)
        if random.random() < _PADDED:
            height, width = (int(random.integers(max(side // 2, side - 31), side)) for _ in range(2))
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
    """A worker has one thread. It leaves Ctrl-C and what ends the whole group to the process that started it, and ends
    with that process, at once where Linux does that: it has inherited the lock on the training's state."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
