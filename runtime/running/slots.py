"""Room for a frame of a stream in flight: the engine whole and beside the host, or as a call runs it."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OutOfMemoryError
from ..image import Pixels, padded_size, to_tensor
from .program import Program, Steps
from .stream import Slot

if TYPE_CHECKING:
    from ..enhancer import Enhancer


_FRAMES = 2  # of a stream that are in memory at once


def open_slot(enhancer: Enhancer, photo: Pixels, x_t: NDArray[np.float32], steps: int, sampler: str) -> Slot:
    """Room for frames of the size and dtype of ``photo`` (H, W, 3). The enhancer is locked by the caller.

    Raises InputError where not even one frame fits into the memory budget.
    """
    enhancer._check_open()
    enhancer.why = ""
    if enhancer._promised:
        enhancer._drop_buffers()  # what they keep was not planned for
    table = enhancer._table(steps, sampler)
    height, width = photo.shape[:2]
    try:
        plan = enhancer.plan(width, height, steps=steps, batch=_FRAMES, dtype=photo.dtype)
    except InputError:
        plan = enhancer.plan(width, height, steps=steps, dtype=photo.dtype)
    planned = PlannedSlot(enhancer, x_t, steps, sampler)
    if plan.kind != "whole":
        return planned
    rows, columns = (padded_size(side, enhancer.manifest.pad_multiple) for side in (height, width))
    try:
        program = Program(enhancer.backend, enhancer.manifest, 1, rows, columns)
    except (OutOfMemoryError, MemoryError):
        return planned
    return WholeSlot(enhancer, program, x_t, table, planned)


class WholeSlot:
    """One frame of a stream in flight. instead: runs the frame that memory ran out for, and those after it."""

    def __init__(
        self, enhancer: Enhancer, program: Program, x_t: NDArray[np.float32], table: Steps, instead: PlannedSlot
    ) -> None:
        self._enhancer, self._x_t, self._table, self._instead = enhancer, x_t, table, instead
        self._program: Program | None = program
        self._frame: Pixels
        self._image: NDArray[np.float32]
        self._pad_ms = 0.0

    def prepare(self, frame: Pixels) -> None:
        if self._program is None:
            self._instead.prepare(frame)
            return
        started = perf_counter_ns()
        self._frame = frame[None]
        self._image = to_tensor(self._frame, self._enhancer.manifest.pad_multiple)
        self._pad_ms = (perf_counter_ns() - started) / 1e6

    def submit(self) -> None:
        if self._program is None:
            self._instead.submit()
            return
        try:
            with self._enhancer._lock:
                self._enhancer._check_open()
                self._program.submit(self._image, self._x_t, self._table)
        except (OutOfMemoryError, MemoryError):
            self._run_instead()

    def collect(self) -> Pixels:
        if self._program is not None:
            try:
                with self._enhancer._collecting:
                    self._enhancer._check_open()
                    output = self._program.collect()
                photo: Pixels = self._enhancer._pixels(self._program, output, self._frame, self._pad_ms)[0]
                return photo
            except (OutOfMemoryError, MemoryError):
                self._run_instead()
        return self._instead.collect()

    def settle(self) -> None:
        if self._program is not None:
            self._program.settle()

    def _run_instead(self) -> None:
        self._program = None  # its buffers go back first
        self._instead.prepare(self._frame[0])
        self._instead.submit()


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
