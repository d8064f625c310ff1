"""What a caller gives: photos, noise and a plan, checked and brought into one form."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend
from ..errors import InputError
from ..image import Pixels, array_text
from ..names import FAST, PUBLISHED
from ..package.manifest import Manifest
from ..package.sampling import Sampling
from ..photo.pillow import from_image, is_image
from ..planning.request import Plan, Request
from ..sampler import evenly_spaced

Back = Callable[[Pixels], Any]
"""From the pixels of a result to what the caller gets: an image for an image."""


def is_single(photo: Any) -> bool:
    return is_image(photo) or (isinstance(photo, np.ndarray) and photo.ndim == 3)


def as_batch(photo: Any) -> tuple[Pixels, Back]:
    """(B, H, W, 3) from what the caller gave, and what makes of a result of that shape what the caller gets. Raises
    InputError."""
    if isinstance(photo, (list, tuple)):
        if not photo:
            raise InputError("the batch holds no photo; give at least one.")
        photos, backs = zip(*map(_pixels, photo), strict=True)
        for one in photos:
            check_photo(one, (3,))
        sizes = {(one.shape, one.dtype) for one in photos}
        if len(sizes) > 1:
            shapes = ", ".join(sorted({f"{one.shape} {one.dtype}" for one in photos})[:4])
            raise InputError(f"the photos of a batch differ ({shapes}); enhance photos of other sizes one by one.")
        return np.stack(photos), lambda bright: [back(one) for back, one in zip(backs, bright, strict=True)]
    pixels, back = _pixels(photo)
    check_photo(pixels, (3, 4))
    return (pixels[None], lambda bright: back(bright[0])) if pixels.ndim == 3 else (pixels, back)


def _pixels(photo: Any) -> tuple[Any, Back]:
    return from_image(photo) if is_image(photo) else (photo, lambda bright: bright)


def check_photo(photo: Any, ranks: tuple[int, ...]) -> None:
    good = isinstance(photo, np.ndarray) and photo.dtype in (np.uint8, np.uint16) and photo.ndim in ranks
    if not good or photo.shape[-1] != 3 or 0 in photo.shape:
        raise InputError(
            f"the photo is {array_text(photo)}; wanted: a numpy array (height, width, 3), RGB, uint8 or uint16, "
            "a batch (batch, height, width, 3), or a Pillow image."
        )


def choose_sampling(manifest: Manifest, sampling: Any, steps: Any, sampler: Any) -> Sampling:
    """The package's ``sampling`` of this name, or ``steps`` evenly spaced ones of ``sampler``; without any of the three
    the published one. Raises InputError."""
    if sampling is None and steps is None and sampler in (None, "ddim"):
        sampling = PUBLISHED
    if sampling is None:
        count = manifest.num_inference_steps if steps is None else steps
        return evenly_spaced(np.asarray(manifest.alphas_cumprod), count, sampler or "ddim")
    if sampling not in list(manifest.samplings):  # what was given may be of any type
        names = ", ".join(manifest.samplings)
        make = " (`python -m calibration.sampling` finds one)" if sampling == FAST else ""
        raise InputError(f"this package has no sampling {sampling!r}{make}; use one that it has: {names}.")
    if steps is not None or sampler is not None:
        what = "steps" if steps is not None else "sampler"
        raise InputError(f"both sampling and {what} were given; the sampling {sampling!r} says both: leave {what} out.")
    return manifest.samplings[sampling]


def check_no_noise(sampling: Sampling, noise: Any, seed: Any) -> None:
    """Raise InputError where noise or a seed was given for a sampling that starts from zero."""
    if noise is not None or seed is not None:
        given = "seed" if noise is None else "noise"
        raise InputError(f"{given} was given, and the sampling {sampling.name!r} starts from zero; leave it out.")


def make_noise(
    noise: Any, seed: int | None, batch: int, shape: tuple[int, int, int], photo: str, *, alone: bool
) -> NDArray[np.float32]:
    """x_T, (batch, *shape) float32: ``noise``, checked, or the field of ``seed`` for every photo of the batch.

    photo: its size, for errors. alone: a single photo, whose noise has no batch axis. Raises InputError.
    """
    if noise is None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise InputError(f"seed is {seed!r}; a whole number from 0 up wanted.")
        field = _field(0 if seed is None else int(seed), shape)
        return np.ascontiguousarray(np.broadcast_to(field, (batch, *shape)))
    if seed is not None:
        raise InputError("both seed and noise were given; give one of them.")
    allowed = [shape] if alone else [shape, (batch, *shape)]
    if not isinstance(noise, np.ndarray) or noise.dtype != np.float32 or noise.shape not in allowed:
        raise InputError(
            f"noise is {array_text(noise)}; for a {photo} photo it is float32 of shape "
            f"{' or '.join(map(str, allowed))}."
        )
    if not np.isfinite(noise).all():
        raise InputError("noise holds NaN or infinity; draw it from a standard normal distribution.")
    return np.ascontiguousarray(np.broadcast_to(noise, (batch, *shape)))


@lru_cache(1)
def _field(seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Kept for the next photo of the size: to draw it takes 7 ms for one of 1920x1080, a third of a GPU's two calls."""
    field = np.random.default_rng(seed).standard_normal(shape, np.float32)
    field.flags.writeable = False
    return field


def check_plan(plan: Plan, request: Request, backend: Backend[Any]) -> None:
    """InputError where ``plan`` is not for these photos, or for another backend."""
    plan.check_request(request)
    traits = backend.traits
    if (plan.key_stride > 1 and not traits.key_stride) or (plan.low_memory and traits.live_low_memory is None):
        raise InputError(f"the plan {plan} is not for the backend {backend.name}; ask this enhancer for one.")


def checked_frames(frames: Iterable[Any], backs: deque[Back]) -> Iterator[Pixels]:
    """The frames of a stream; what makes of each one's result what the caller gets goes to the end of ``backs``. Raises
    InputError for one that is no photo, or of another size or depth than the first."""
    size: tuple[int, ...] = ()
    dtype = np.dtype(np.uint8)
    for index, given in enumerate(frames):
        try:
            frame, back = _pixels(given)
            check_photo(frame, (3,))
        except InputError as error:
            raise InputError(f"frame {index}: {error}") from error
        if not size:
            size, dtype = frame.shape, frame.dtype
        if frame.shape != size:
            raise InputError(
                f"frame {index}: it is {frame.shape[1]}x{frame.shape[0]} and the first was {size[1]}x{size[0]}; open a "
                "stream for each size."
            )
        if frame.dtype != dtype:
            raise InputError(f"frame {index}: it is {frame.dtype} and the first was {dtype}; open a stream for each.")
        backs.append(back)
        yield frame


def check_frames(frames: Any) -> None:
    """Raise InputError where ``frames`` is one photo, or nothing that frames can be taken from."""
    if is_single(frames) or not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        what = "one photo" if is_single(frames) else array_text(frames)
        raise InputError(f"the frames of a stream are {what}; give a list, a generator or a batch of photos.")
