"""Frames in, frames out, one after the other: the host's share of a frame beside the engine's share of the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DiffLLError, InputError, OutOfMemoryError
from ..image import Pixels, to_pixels, to_tensor
from ..machine.host import resident_bytes
from ..package.sampling import Sampling
from ..planning.request import Plan, Request
from .laps import Laps, Outcome, to_photos
from .program import Program, Steps
from .runner import Runner, why_no_memory

_FRAMES = 2  # that are in memory at once
_NO_MEMORY = (OutOfMemoryError, MemoryError)
Pending = deque[tuple["Slot", "Future[None]"]]


class Stream:
    """Runs frames (H, W, 3) of one size, all from the same noise x_t (1, 3, h, w), or None
    where ``sampling`` starts from zero.

    Two frames are in flight where both fit whole: while the engine works on one, the result of the one before is made
    and yielded, and the one after is taken and prepared. Where they do not fit, or memory runs out, frames are run one
    by one as a call runs them, and none is lost.
    """

    def __init__(self, runner: Runner, request: Request, x_t: NDArray[np.float32] | None, sampling: Sampling) -> None:
        self._runner, self._request, self._x_t, self._sampling = runner, request, x_t, sampling
        self._slots: deque[Slot] = deque()
        self._plan: Plan | None = None
        self._reason = ""  # why memory ran out
        runner.check_process()
        with runner.lock:
            runner.check_open()
            self._before = resident_bytes()
            if runner.has_budget:
                runner.drop_buffers()  # what they keep was not planned for
            steps = runner.steps(sampling)
            with suppress(InputError, *_NO_MEMORY):  # one frame may fit where two do not
                if runner.plan(replace(request, batch=_FRAMES)).kind == "whole":
                    self._plan = plan = runner.plan(request)
                    dtype = np.dtype(np.uint8 if request.depth == 1 else np.uint16)
                    self._slots = deque([Slot(runner, plan, dtype, x_t, steps) for _ in range(_FRAMES)])

    def outcomes(self, frames: Iterable[Pixels]) -> Generator[Outcome, None, None]:
        """One a frame, in order. What ``frames`` raises comes out after the outcomes of the frames before."""
        slot: Slot | None = None
        pending: Pending = deque()
        problem: list[Exception] = []
        with ThreadPoolExecutor(1, "diffll-stream") as worker:
            try:
                for frame in _until(frames, problem):
                    if not self._slots:
                        yield self._outcome(frame)
                        continue
                    slot = self._slots[0]
                    self._slots.rotate()
                    try:
                        slot.prepare(frame)
                    except _NO_MEMORY as error:
                        yield from self._go_on_one_by_one(error, [*_settled(pending), frame])
                        continue
                    pending.append((slot, worker.submit(slot.submit)))
                    if len(pending) == _FRAMES:
                        yield from self._next(pending)
                while pending:
                    yield from self._next(pending)
                if problem:
                    raise problem[0]
            finally:
                here = self._runner.origin.is_here
                for slot, submitted in pending if here else ():
                    if not submitted.cancel():
                        with suppress(DiffLLError):  # another error, or the caller's wish to stop, is on its way
                            submitted.result()
                            slot.settle()
                if self._slots and self._plan is not None and here:
                    slot = None
                    self._slots.clear()
                    self._runner.count_kept(self._before, self._plan)

    def _next(self, pending: Pending) -> Iterator[Outcome]:
        slot, submitted = pending.popleft()
        try:
            submitted.result()
            outcome = slot.collect()
        except _NO_MEMORY as error:
            yield from self._go_on_one_by_one(error, [slot, *_settled(pending)])
        else:
            yield outcome

    def _go_on_one_by_one(self, error: BaseException, items: list[Item]) -> Iterator[Outcome]:
        """The outcomes of these, and the end of frames in flight; their buffers go back first."""
        self._reason = why_no_memory(error)
        self._slots.clear()
        for item in items:
            if isinstance(item, Slot):
                item.program = None
        if self._plan is not None:
            self._runner.count_kept(self._before, self._plan)
        for item in items:
            yield self._outcome(item)

    def _outcome(self, item: Item) -> Outcome:
        if isinstance(item, Exception):
            raise item
        if isinstance(item, Outcome):
            return item
        runner, frame = self._runner, item.frame() if isinstance(item, Slot) else item
        if self._reason and self._plan is not None and self._plan.kind == "whole":
            self._plan = runner.smaller(self._request, self._plan, self._reason)
        # the caller's frame and the result before are there too
        request = replace(self._request, reserve_bytes=2 * frame.nbytes)
        outcome = runner.run(frame[None], self._x_t, request, self._sampling, first=self._plan)
        if self._reason and outcome.plan == self._plan:
            outcome = replace(outcome, note=f"out of memory ({self._reason}); then {outcome.note}")
        self._plan = outcome.plan
        return outcome


class Slot:
    """Room for one frame in flight, with buffers of its own."""

    def __init__(
        self, runner: Runner, plan: Plan, dtype: np.dtype[Any], x_t: NDArray[np.float32] | None, steps: Steps
    ) -> None:
        self._runner, self._plan, self._dtype, self._x_t, self._steps = runner, plan, dtype, x_t, steps
        self.program: Program | None = runner.make_program((1, plan.height, plan.width, 3), dtype)
        self._image: NDArray[Any]  # or the frame itself, where the engine converts it
        self._laps = Laps()

    def prepare(self, frame: Pixels) -> None:
        """The host's work before the engine's. The frame may be changed afterwards."""
        self._laps = Laps()
        if self._runner.backend.converts:
            self._image = np.array(frame[None])
            return
        with self._laps.part("pad"):
            self._image = to_tensor(frame[None], self._runner.manifest.pad_multiple)

    def submit(self) -> None:
        """The engine's work; may return before it is done. Called in another thread than the rest."""
        assert self.program is not None
        with self._runner.lock:
            self._runner.check_open()
            self.program.submit(self._image, self._x_t, self._steps, self._laps)

    def collect(self) -> Outcome:
        """Wait for the engine, then the host's work after it."""
        assert self.program is not None
        with self._runner.collecting:
            self._runner.check_open()
            output = self.program.collect()
        if self._runner.backend.converts:
            return Outcome(output, self._laps, self._plan, "")
        with self._laps.part("crop"):
            size = self._plan.height, self._plan.width
            pixels = to_photos(output, size, self._dtype, self._runner.backend)
        return Outcome(pixels, self._laps, self._plan, "")

    def settle(self) -> None:
        """Wait for the engine; the result is not wanted."""
        if self.program is not None:
            self.program.settle()

    def frame(self) -> Pixels:
        """The frame that was prepared, exactly: the caller's array may hold another one by now."""
        if self._runner.backend.converts:
            kept: Pixels = self._image[0]
            return kept
        frame: Pixels = to_pixels(self._image, self._plan.height, self._plan.width, self._dtype)[0]
        return frame


Item = Outcome | Slot | Pixels | Exception


def _settled(pending: Pending) -> Iterator[Item]:
    """Each outcome; the slot where memory ran out too; the error where the engine failed otherwise."""
    while pending:
        slot, submitted = pending.popleft()
        try:
            submitted.result()
            yield slot.collect()
        except _NO_MEMORY:
            yield slot
        except DiffLLError as error:
            yield error


def _until(frames: Iterable[Pixels], problem: list[Exception]) -> Iterator[Pixels]:
    """The frames up to an exception, which goes into ``problem``."""
    try:
        yield from frames
    except Exception as error:
        problem.append(error)
