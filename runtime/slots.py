"""Room for a frame of a stream in flight: the engine whole and beside the host, or as a call runs it."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .image import Pixels, to_tensor
from .program import Program, Steps

if TYPE_CHECKING:
    from .enhancer import Enhancer


class WholeSlot:
    """One frame of a stream in flight."""

    def __init__(self, enhancer: Enhancer, program: Program, x_t: NDArray[np.float32], table: Steps) -> None:
        self._enhancer, self._program, self._x_t, self._table = enhancer, program, x_t, table
        self._frame: Pixels
        self._image: NDArray[np.float32]
        self._pad_ms = 0.0

    def prepare(self, frame: Pixels) -> None:
        started = perf_counter_ns()
        self._frame = frame[None]
        self._image = to_tensor(self._frame, self._enhancer.manifest.pad_multiple)
        self._pad_ms = (perf_counter_ns() - started) / 1e6

    def submit(self) -> None:
        with self._enhancer._lock:
            self._enhancer._check_open()
            self._program.submit(self._image, self._x_t, self._table)

    def collect(self) -> Pixels:
        with self._enhancer._collecting:
            self._enhancer._check_open()
            output = self._program.collect()
        photo: Pixels = self._enhancer._pixels(self._program, output, self._frame, self._pad_ms)[0]
        return photo

    def settle(self) -> None:
        self._program.settle()


class PlannedSlot:
    """One frame of a stream that is run as a call runs it."""

    def __init__(self, enhancer: Enhancer, x_t: NDArray[np.float32], steps: int, sampler: str) -> None:
        self._enhancer, self._x_t, self._steps, self._sampler = enhancer, x_t, steps, sampler
        self._frame: Pixels | None = None
        self._result: tuple[Pixels, dict[str, float], list[float]] | None = None

    def prepare(self, frame: Pixels) -> None:
        self._frame = frame[None].copy()

    def submit(self) -> None:
        enhancer, frame = self._enhancer, self._frame
        assert frame is not None
        self._frame = None
        with enhancer._lock:
            # the caller's frame and the other slot's result are there too
            photo = enhancer._run(frame, self._x_t, self._steps, self._sampler, held_bytes=2 * frame.nbytes)
            self._result = photo, enhancer.timings, enhancer.step_timings

    def collect(self) -> Pixels:
        enhancer = self._enhancer
        with enhancer._collecting:
            enhancer._check_open()
            assert self._result is not None
            photos, enhancer.timings, enhancer.step_timings = self._result
            self._result = None
        photo: Pixels = photos[0]
        return photo

    def settle(self) -> None:
        self._result = None
