"""A photo in strips, with the loop whole or on overlapping windows of x_t: what a plan other than ``whole`` runs.

On windows the denoiser's results are blended at every step, with weights that sum to 1 at every position. x_next and
history_next are linear in eps, with the same factors everywhere: blending them is blending eps.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend, Form, Job
from ..image import Pixels, padded_size
from ..package.manifest import Manifest
from ..planning.request import Plan
from ..planning.windows import Window, axis, grid
from .laps import Laps
from .program import Buffers, Loop, Steps
from .strips import Strips

Array = NDArray[np.float32]


class StripRunner:
    """Buffers and calls for photos of one size and plan. Beside them only the photo, its result and a few arrays of
    x_t's size are in memory, and one strip or window."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, plan: Plan) -> None:
        self.plan = plan
        self._backend, self._manifest = backend, manifest
        rows, columns = (padded_size(side, manifest.pad_multiple) for side in (plan.height, plan.width))
        self._strip = min(plan.strip_height, rows), columns
        kind = WholeLoop if plan.kind == "strips" else TiledLoop
        self._loop = kind(backend, manifest, plan, rows, columns)

    def run(self, photo: Pixels, noise: Array | None, steps: Steps, laps: Laps) -> Pixels:
        """photo: (H, W, 3) uint8 or uint16, RGB; noise: x_T, (3, Hp/4, Wp/4) float32 with two levels, or None where the
        steps start from zero. laps: gets pad,
        upload, dwt, denoiser (all steps), hfrm0.., idwt (or ``graph`` for them), blend (of tiles), download, crop.
        Returns the restored photo, the same shape and dtype. Raises EngineError."""
        # made for each use: their buffers are not in memory while the loop runs
        x_cond = Strips(self._backend, self._manifest, *self._strip, laps).x_cond(photo)
        x_0 = self._loop.run(x_cond, noise, steps, laps)
        del x_cond
        return Strips(self._backend, self._manifest, *self._strip, laps).picture(photo, x_0)


class WholeLoop:
    """All steps on the whole of x_t, as one job. rows, columns: of the padded photo, in pixels."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, plan: Plan, rows: int, columns: int) -> None:
        form = Form(plan.key_stride, plan.low_memory)
        self._backend, self._loop = backend, Loop(Buffers(backend, manifest, 1, rows, columns), form)
        self._jobs: dict[Steps, Job] = {}

    def run(self, x_cond: Array, noise: Array | None, steps: Steps, laps: Laps) -> Array:
        """x_cond, noise (x_T; None where the steps start from zero): (3, h, w) float32 of the whole photo. Returns x_0,
        the same shape, valid until the next run. Raises EngineError."""
        if steps not in self._jobs:
            self._jobs = {steps: self._backend.sequence(self._loop.parts(steps))}
        with laps.part("upload"):
            self._backend.upload(self._loop.x_cond, x_cond[None])
            if noise is not None:
                self._backend.upload(self._loop.x[0], noise[None])
        job = self._jobs[steps]
        job.submit()
        laps.add(job.wait())
        with laps.part("download"):
            x_0: Array = self._backend.download(self._loop.result(steps))[0]
        return x_0


class TiledLoop:
    """One step after the other, each on all windows of x_t, one by one."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, plan: Plan, rows: int, columns: int) -> None:
        self._backend = backend
        scale, unit = 2**manifest.levels, manifest.pad_multiple // 2**manifest.levels
        down, across = (
            axis(size // scale, length // scale, plan.overlap // scale, unit)
            for size, length in ((rows, plan.window[1]), (columns, plan.window[0]))
        )
        self._windows, self._shape = list(grid(down, across)), (down.length, across.length)
        buffer = Buffers(backend, manifest, 1, down.length * scale, across.length * scale)
        self._loop = Loop(buffer, Form(plan.key_stride, plan.low_memory))
        self._zeros = np.zeros((1, 3, *self._shape), np.float32)
        self._jobs: dict[tuple[Steps, int, bool], Job] = {}

    def run(self, x_cond: Array, noise: Array | None, steps: Steps, laps: Laps) -> Array:
        """As :meth:`WholeLoop.run`."""
        if self._jobs and next(iter(self._jobs))[0] is not steps:
            self._jobs.clear()
        x_t = np.zeros_like(x_cond) if noise is None else np.array(noise)
        history = np.zeros_like(x_t) if steps.multistep else None
        for index in range(len(steps.rows)):
            started = perf_counter_ns()
            x_next = np.zeros_like(x_t)
            history_next = None if history is None else np.zeros_like(history)
            for window in self._windows:
                last = index == len(steps.rows) - 1 and window is self._windows[-1]
                self._run(self._job(steps, index, last), window, (x_cond, x_t, history), laps)
                self._blend(window, self._loop.x[1], x_next, laps)
                self._blend(window, self._loop.history[1], history_next, laps)
            x_t, history = x_next, history_next
            laps.steps.append((perf_counter_ns() - started) / 1e6)
        return x_t

    def _job(self, steps: Steps, index: int, last: bool) -> Job:
        key = (steps, index, last)
        if key not in self._jobs:
            self._jobs[key] = self._backend.sequence([self._loop.step(steps.rows[index], last=last)])
        return self._jobs[key]

    def _run(self, job: Job, window: Window, wholes: tuple[Array | None, ...], laps: Laps) -> None:
        with laps.part("upload"):
            for whole, buffer in zip(wholes, (self._loop.x_cond, self._loop.x[0], self._loop.history[0]), strict=True):
                cut = self._zeros if whole is None else np.ascontiguousarray(self._inside(whole, window))[None]
                self._backend.upload(buffer, cut)
        job.submit()
        laps.add(job.wait(), steps=False)

    def _blend(self, window: Window, buffer: Any, whole: Array | None, laps: Laps) -> None:
        if whole is None:
            return
        with laps.part("download"):
            found: Array = self._backend.download(buffer)
        with laps.part("blend"):
            inside = self._inside(whole, window)
            inside += window.weight * found[0]

    def _inside(self, whole: Array, window: Window) -> Array:
        inside: Array = whole[:, window.top : window.top + self._shape[0], window.left : window.left + self._shape[1]]
        return inside
