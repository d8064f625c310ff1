"""What runs photos on one engine, within memory: the one owner of buffers, bindings and steps tables."""

from __future__ import annotations

import logging
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend
from ..errors import EngineError, InputError, OutOfMemoryError
from ..image import Pixels, padded_size, to_tensor
from ..machine.forks import Origin
from ..machine.host import free_memory_bytes, resident_bytes
from ..package.reading import Package
from ..package.sampling import Sampling
from ..planning.decide import Planner
from ..planning.memory import parse_size
from ..planning.request import MARGIN_BYTES, Memory, Plan, Request
from .laps import Laps, Outcome, to_photos
from .program import Program, Steps
from .tiled import StripRunner

_SHAPES_KEPT = 2  # programs (buffers and bindings) kept for photo shapes that come again
_TABLES_KEPT = 8  # of steps, on the device
_FREE = 0.85  # of the machine's free memory that is taken where no budget is given
_PROCESS = 200 << 20  # bytes, where the system does not tell
_NOISE = 16 << 20  # bytes that a process grows and shrinks by on its own; planning has a margin for it
_log = logging.getLogger(__name__)


class Runner:
    """Calls from several threads are safe and run one after the other."""

    def __init__(self, package: Package, backend: Backend[Any], max_memory: int | str | None) -> None:
        self.backend, self.manifest = backend, package.manifest
        self.origin = Origin()
        self.lock = Lock()
        """The engine's: one call, or one frame's submit, at a time."""
        self.collecting = Lock()
        """A stream takes a result while the engine runs: only closing has to wait for it."""
        self.programs: OrderedDict[tuple[int, ...], Program] = OrderedDict()
        self.has_budget = max_memory is not None
        """Whether the caller gave one: what is kept of earlier photos then goes before the next."""
        self._planner = Planner(package.manifest, backend.traits)
        self._opened_bytes = resident_bytes() or _PROCESS
        self._kept_bytes = 0
        if max_memory is not None:
            self.budget: int | None = parse_size(max_memory)
        else:
            # told once: the same photo is planned in the same way whatever else the machine does meanwhile
            free = free_memory_bytes()
            self.budget = None if free is None else self._opened_bytes + int(_FREE * free)
        self._strips: StripRunner | None = None
        self._tables: OrderedDict[Sampling, Steps] = OrderedDict()
        self.closed = False

    def plan(self, request: Request, *, after: Plan | None = None, held_bytes: int = 0) -> Plan:
        """How the photos of ``request`` are run now; ``Planner.decide`` says what ``after`` and the errors are.
        held_bytes: of photos that are in memory already."""
        memory = Memory(self._base_bytes(held_bytes), self.budget, tiles=self.has_budget)
        return self._planner.decide(request, memory, after=after)

    def run(
        self,
        photos: Pixels,
        x_t: NDArray[np.float32] | None,
        request: Request,
        sampling: Sampling,
        *,
        plan: Plan | None = None,
        first: Plan | None = None,
    ) -> Outcome:
        """Run a batch (B, H, W, 3) from the noise (B, 3, h, w), or None where ``sampling`` starts from zero.

        By ``plan``; or by ``first`` (default: made here) and then smaller ones where memory runs out.
        Raises InputError or EngineError."""
        self.check_process()
        with self.lock:
            self.check_open()
            steps, before = self.steps(sampling), resident_bytes()
            chosen = plan or first or self.plan(request, held_bytes=photos.nbytes)
            note, reason, given = "" if chosen.kind == "whole" else str(chosen), "", 0
            try:
                while True:
                    try:
                        laps = Laps()
                        pixels = self._run(chosen, photos, x_t, steps, laps)
                        given = pixels.nbytes
                        return Outcome(pixels, laps, chosen, note)
                    except (OutOfMemoryError, MemoryError) as error:
                        reason = why_no_memory(error)
                    except InputError as error:
                        if not reason:
                            raise
                        # a smaller plan that the engines here cannot run
                        raise OutOfMemoryError(f"out of memory ({reason}); {chosen} cannot be run: {error}") from error
                    self.drop_buffers()
                    if plan is not None:
                        raise OutOfMemoryError(
                            f"out of memory with the plan {plan} ({reason}); without one a smaller one is looked for."
                        )
                    self.count_kept(before, chosen)  # what the failed run left behind is not the app's
                    before, chosen = resident_bytes(), self.smaller(request, chosen, reason)
                    note = f"out of memory ({reason}); then {chosen}"
                    _log.warning(note)
            finally:
                self.count_kept(before, chosen, given)

    def smaller(self, request: Request, plan: Plan, reason: str) -> Plan:
        """The next one to try. Raises OutOfMemoryError where none is left."""
        try:
            return self.plan(request, after=plan)
        except InputError as error:
            raise OutOfMemoryError(
                f"out of memory with the plan {plan} ({reason}); no smaller one is left: resize the photo"
                + ("." if self.has_budget else ", or give max_memory, with which tiles are tried (another picture).")
            ) from error

    def _run(self, plan: Plan, photos: Pixels, x_t: NDArray[np.float32] | None, steps: Steps, laps: Laps) -> Pixels:
        if plan.kind == "whole":
            self._strips = None
            if self.backend.converts:
                bright: Pixels = self._program(photos.shape, photos.dtype).run(photos, x_t, steps, laps)
                return bright
            with laps.part("pad"):
                image = to_tensor(photos, self.manifest.pad_multiple)
            output = self._program(photos.shape, photos.dtype).run(image, x_t, steps, laps)
            with laps.part("crop"):
                return to_photos(output, photos.shape[1:3], photos.dtype, self.backend)
        self.programs.clear()  # what they keep was not planned for
        if self._strips is None or self._strips.plan != plan:
            self._strips = None
            self._strips = StripRunner(self.backend, self.manifest, plan)
        pixels = np.empty(photos.shape, photos.dtype)
        fields = [None] * len(photos) if x_t is None else x_t
        for photo, noise, result in zip(photos, fields, pixels, strict=True):
            result[...] = self._strips.run(photo, noise, steps, laps)
        return pixels

    def make_program(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Program:
        """For photos of this ``shape`` (B, H, W, 3) and dtype. The caller holds the lock."""
        height, width = (padded_size(side, self.manifest.pad_multiple) for side in shape[1:3])
        photos = (shape, dtype) if self.backend.converts else None
        return Program(self.backend, self.manifest, shape[0], height, width, photos)

    def _program(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Program:
        multiple = self.manifest.pad_multiple
        padded = (shape[0], *(padded_size(side, multiple) for side in shape[1:3]))
        key = (*shape, dtype.itemsize) if self.backend.converts else padded
        program = self.programs.pop(key, None)
        if program is None:
            while len(self.programs) >= (1 if self.has_budget else _SHAPES_KEPT):
                self.programs.popitem(last=False)
            program = self.make_program(shape, dtype)
        self.programs[key] = program
        return program

    def steps(self, sampling: Sampling) -> Steps:
        """The sampling's table on the device. The caller holds the lock."""
        steps = self._tables.pop(sampling, None)
        if steps is None:
            while len(self._tables) >= _TABLES_KEPT:
                self._tables.popitem(last=False)
            steps = Steps(self.backend, self.manifest, sampling)
        self._tables[sampling] = steps
        return steps

    def drop_buffers(self) -> None:
        self.programs.clear()
        self._strips = None

    def check_process(self) -> None:
        """Before a lock is taken: a thread that is not here may hold it. Raises EngineError in a forked process."""
        if not self.origin.is_here:
            raise EngineError(self.origin.advice("this enhancer was opened"))

    def check_open(self) -> None:
        if self.closed:
            raise EngineError("this enhancer was closed; open the package again.")

    def close(self) -> None:
        if not self.origin.is_here:
            return  # nothing of it can be given back here
        with self.lock, self.collecting:
            if not self.closed:
                self.closed = True
                self.drop_buffers()
                self._tables.clear()
                self.backend.close()

    def _base_bytes(self, held_bytes: int) -> int:
        """Of the process without a photo: as it was when it was opened, and what the app took since."""
        growth = (resident_bytes() or 0) - self._opened_bytes - self._kept_bytes - held_bytes
        return self._opened_bytes + (growth if growth > _NOISE else 0)

    def count_kept(self, before: int | None, plan: Plan, given_bytes: int = 0) -> None:
        """Note what the process took while photos were run (its memory was ``before``) and is kept for the next; the
        plan was for no more. given_bytes: of results, which are the caller's."""
        grown = (resident_bytes() or 0) - (before or 0) - given_bytes
        most = max(plan.photo_bytes + MARGIN_BYTES, self._kept_bytes)
        self._kept_bytes = max(0, min(self._kept_bytes + grown, most))


def why_no_memory(error: BaseException) -> str:
    return " ".join(str(error).split()) or "not enough memory"
