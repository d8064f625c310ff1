"""The sampling loop for photos that are run in strips: whole, or on overlapping windows of x_t.

On windows the denoiser's results are blended at every step, with weights that sum to 1 at every place. x_next and
history_next are linear in eps, with the same factors everywhere: blending them is blending eps.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend, Form, Job
from ..package.manifest import Manifest
from ..planning.windows import Axis, Window, grid
from .program import Loop, Steps

Array = NDArray[np.float32]


class Sampler(Protocol):
    """x_0 from x_T."""

    timings: dict[str, float]
    """Milliseconds, added up: upload, denoiser (or ``graph``), download, blend."""
    step_timings: list[float]
    """Milliseconds of every step of the last photo; empty where the steps run as one graph."""

    def run(self, x_cond: Array, noise: Array, steps: Steps) -> Array:
        """x_cond, noise (x_T): (3, h, w) float32 of the whole photo. Returns x_0, the same shape, valid until the next
        run. Raises EngineError."""
        ...


class WholeLoop:
    """All steps on the whole of x_t, as one job. height, width: of the padded photo, in pixels."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, height: int, width: int, *, form: Form) -> None:
        self._backend, self._loop = backend, Loop(backend, manifest, 1, height, width, form=form)
        self._jobs: dict[Steps, Job] = {}
        self.timings: dict[str, float] = {}
        self.step_timings: list[float] = []

    def run(self, x_cond: Array, noise: Array, steps: Steps) -> Array:
        if steps not in self._jobs:
            self._jobs = {steps: self._backend.sequence(self._loop.parts(steps))}
        started = perf_counter_ns()
        self._backend.upload(self._loop.x_cond, x_cond[None])
        self._backend.upload(self._loop.x[0], noise[None])
        uploaded = perf_counter_ns()
        job = self._jobs[steps]
        job.submit()
        times = job.wait()
        done = perf_counter_ns()
        x_0: Array = self._backend.download(self._loop.x[len(steps.rows) % 2])
        self.timings = {"upload": (uploaded - started) / 1e6}
        for name, milliseconds in times:
            self.timings[name] = self.timings.get(name, 0.0) + milliseconds
        self.timings["download"] = (perf_counter_ns() - done) / 1e6
        self.step_timings = [milliseconds for name, milliseconds in times if name != "graph"]
        found: Array = x_0[0]
        return found


class TiledLoop:
    """One step after the other, each on all windows of x_t, ``batch`` windows at once.

    rows, columns: where the windows lie, in places of x_t.
    """

    def __init__(
        self, backend: Backend[Any], manifest: Manifest, rows: Axis, columns: Axis, *, batch: int, form: Form
    ) -> None:
        self._backend, self._batch = backend, batch
        self._rows, self._columns = rows, columns
        self._windows = list(grid(rows, columns))
        scale = 2**manifest.levels
        self._loop = Loop(backend, manifest, batch, rows.length * scale, columns.length * scale, form=form)
        shape = (batch, 3, rows.length, columns.length)
        self._cuts = [np.zeros(shape, np.float32) for _ in range(3)]  # x_cond, x_t, history
        self._jobs: dict[tuple[Steps, int, bool], Job] = {}
        self.timings: dict[str, float] = {}
        self.step_timings: list[float] = []

    def run(self, x_cond: Array, noise: Array, steps: Steps) -> Array:
        self.timings, self.step_timings = {}, []
        if self._jobs and next(iter(self._jobs))[0] is not steps:
            self._jobs.clear()
        x_t, history = np.array(noise), np.zeros_like(noise) if steps.multistep else None
        last_step = len(steps.rows) - 1
        for index in range(len(steps.rows)):
            started = perf_counter_ns()
            x_next = np.zeros_like(x_t)
            history_next = None if history is None else np.zeros_like(history)
            for first in range(0, len(self._windows), self._batch):
                group = self._windows[first : first + self._batch]
                last = index == last_step and first + self._batch >= len(self._windows)
                self._run(self._job(steps, index, last), group, x_cond, x_t, history)
                self._blend(group, x_next, history_next)
            x_t, history = x_next, history_next
            self.step_timings.append((perf_counter_ns() - started) / 1e6)
        return x_t

    def _job(self, steps: Steps, index: int, last: bool) -> Job:
        key = (steps, index, last)
        if key not in self._jobs:
            self._jobs[key] = self._backend.sequence([self._loop.step(steps.rows[index], last=last)])
        return self._jobs[key]

    def _run(self, job: Job, group: list[Window], x_cond: Array, x_t: Array, history: Array | None) -> None:
        started = perf_counter_ns()
        wholes = (x_cond, x_t) if history is None else (x_cond, x_t, history)
        for whole, cut, buffer in zip(
            wholes, self._cuts, (self._loop.x_cond, self._loop.x[0], self._loop.history[0]), strict=False
        ):
            for place, window in enumerate(group):  # places behind the group's end keep what they hold
                cut[place] = self._inside(whole, window)
            self._backend.upload(buffer, cut)
        if history is None:
            self._backend.upload(self._loop.history[0], self._cuts[2])  # zeros
        self._add("upload", started)
        job.submit()
        for name, milliseconds in job.wait():
            self.timings[name] = self.timings.get(name, 0.0) + milliseconds

    def _blend(self, group: list[Window], x_next: Array, history_next: Array | None) -> None:
        for whole, buffer in ((x_next, self._loop.x[1]), (history_next, self._loop.history[1])):
            if whole is None:
                continue
            started = perf_counter_ns()
            found: Array = self._backend.download(buffer)
            self._add("download", started)
            started = perf_counter_ns()
            for place, window in enumerate(group):
                inside = self._inside(whole, window)
                inside += window.weight * found[place]
            self._add("blend", started)

    def _inside(self, whole: Array, window: Window) -> Array:
        down = slice(window.top, window.top + self._rows.length)
        inside: Array = whole[:, down, window.left : window.left + self._columns.length]
        return inside

    def _add(self, name: str, started: int) -> None:
        self.timings[name] = self.timings.get(name, 0.0) + (perf_counter_ns() - started) / 1e6
