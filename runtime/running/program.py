"""The stages of one photo shape, wired once: buffers made, calls bound. The sampling loop is here and only here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import PLAIN, Backend, Call, Form, Job, Part
from ..names import LOOP
from ..package.manifest import Manifest, TensorSpec
from ..sampler import StepTable

_JOBS_KEPT = 4  # of different steps tables, a shape


class Steps:
    """A sampler's table on the device: one (timestep, coefficients) pair of buffers a step, shared by all shapes,
    so that the loop uploads nothing."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, table: StepTable) -> None:
        specs = manifest.stage(LOOP).tensors
        self.multistep = bool(table.coefficients[:, 2:].any())
        """Whether the sampler uses its history."""
        self.rows: list[tuple[Any, Any]] = []
        for timestep, coefficients in zip(table.timesteps, table.coefficients, strict=True):
            row = []
            for name, value in (("timestep", timestep.reshape(1)), ("coefficients", coefficients)):
                buffer = backend.buffer(specs[name], value.shape)
                backend.upload(buffer, value)
                row.append(buffer)
            self.rows.append((row[0], row[1]))


class Loop:
    """The sampling loop for one shape: x_cond, and two buffers each for x_t and the sampler's history, which it
    alternates between. height, width: of the padded photo (or of the window's part of it), in pixels. form: of
    the denoiser."""

    def __init__(
        self, backend: Backend[Any], manifest: Manifest, batch: int, height: int, width: int, *, form: Form = PLAIN
    ) -> None:
        self._backend, self._form = backend, form
        specs = manifest.stage(LOOP).tensors

        def buffer(name: str) -> Any:
            return backend.buffer(specs[name], specs[name].resolve(batch, height, width))

        self.x_cond = buffer("x_cond")
        self.x = (buffer("x_t"), buffer("x_next"))
        """x_T goes into the first; ``x[len(steps.rows) % 2]`` is x_0."""
        self.history = (buffer("history"), buffer("history_next"))

    def parts(self, steps: Steps) -> list[Part]:
        """All steps, one after the other."""
        last = len(steps.rows) - 1
        return [
            # Nothing came before the first step. Its factor is 0, but 0 times whatever an old buffer holds may
            # be NaN, so the first step is given the noise, which is finite.
            Part(LOOP, self._step(index, row, self.history[index % 2] if index else self.x[0], last=index == last))
            for index, row in enumerate(steps.rows)
        ]

    def step(self, row: tuple[Any, Any], *, last: bool) -> Part:
        """One step alone, from ``x[0]`` and ``history[0]`` to ``x[1]`` and ``history[1]``."""
        return Part(LOOP, self._step(0, row, self.history[0], last=last))

    def _step(self, index: int, row: tuple[Any, Any], history: Any, *, last: bool) -> Call:
        now, then = index % 2, (index + 1) % 2
        tensors: Mapping[str, Any] = {
            "x_t": self.x[now],
            "x_cond": self.x_cond,
            "history": history,
            "timestep": row[0],
            "coefficients": row[1],
            "x_next": self.x[then],
            "history_next": self.history[then],
        }
        return self._backend.bind(LOOP, tensors, last=last, form=self._form)


class Program:
    """All calls for a batch of padded photos of one size.

    dwt -> hfrm0 .. hfrm(K-1) -> denoiser S times -> idwt. Everything but the loop's buffers is written once. The
    backend gets the whole sequence at once, one a steps table.
    """

    def __init__(self, backend: Backend[Any], manifest: Manifest, batch: int, height: int, width: int) -> None:
        self._backend = backend
        self.timings: dict[str, float] = {}
        """Milliseconds of the last photo: upload, a key a stage (denoiser: all steps) or ``graph`` for all of them,
        download."""
        self.step_timings: list[float] = []
        """Milliseconds of every denoiser step of the last photo; empty where all stages run as one graph."""
        levels = range(manifest.levels)
        specs: dict[str, TensorSpec] = {}
        for stage in manifest.stages:
            specs |= stage.tensors

        def buffer(name: str) -> Any:
            return backend.buffer(specs[name], specs[name].resolve(batch, height, width))

        self._loop = Loop(backend, manifest, batch, height, width)
        self._image, self._output = buffer("image"), buffer("image")
        details = {f"details{k}": buffer(f"details{k}") for k in levels}
        restored = {f"restored{k}": buffer(f"restored{k}") for k in levels}
        split = {"image": self._image, "x_cond": self._loop.x_cond, **details}
        self._before = [Part("dwt", backend.bind("dwt", split))]
        for k in levels:
            tensors = {f"details{k}": details[f"details{k}"], f"restored{k}": restored[f"restored{k}"]}
            self._before.append(Part(f"hfrm{k}", backend.bind(f"hfrm{k}", tensors), concurrent=True))
        self._after = [
            Part("idwt", backend.bind("idwt", {"x_0": x, **restored, "image": self._output})) for x in self._loop.x
        ]
        self._jobs: OrderedDict[Steps, Job] = OrderedDict()
        self._running: Job | None = None
        self._upload_ms = 0.0

    def _job(self, steps: Steps) -> Job:
        job = self._jobs.pop(steps, None)
        if job is None:
            while len(self._jobs) >= _JOBS_KEPT:
                self._jobs.popitem(last=False)
            after = self._after[len(steps.rows) % 2]
            job = self._backend.sequence([*self._before, *self._loop.parts(steps), after])
        self._jobs[steps] = job
        return job

    def submit(self, image: NDArray[np.float32], noise: NDArray[np.float32], steps: Steps) -> None:
        """image: (B, 3, Hp, Wp) float32 in [0, 1]; noise: (B, 3, h, w) float32, x_T; both may be changed afterwards.
        May return before the work is done; :meth:`collect` comes next. Raises EngineError."""
        self.settle()
        job = self._job(steps)
        started = perf_counter_ns()
        self._backend.upload(self._image, image)
        self._backend.upload(self._loop.x[0], noise)
        self._upload_ms = (perf_counter_ns() - started) / 1e6
        self._running = job
        job.submit()

    def collect(self) -> NDArray[np.float32]:
        """The restored image of the last :meth:`submit`, (B, 3, Hp, Wp) float32, valid until the next one. May be
        called from another thread than submit. Raises EngineError."""
        assert self._running is not None, "collect comes after submit"
        job, self._running = self._running, None
        times = job.wait()
        started = perf_counter_ns()
        output = self._backend.download(self._output)
        download_ms = (perf_counter_ns() - started) / 1e6
        timings = {"upload": self._upload_ms}
        for name, milliseconds in times:
            timings[name] = timings.get(name, 0.0) + milliseconds
        self.timings = {**timings, "download": download_ms}
        self.step_timings = [milliseconds for name, milliseconds in times if name == LOOP]
        return output

    def settle(self) -> None:
        """Wait for a photo that was submitted and will not be collected. Raises EngineError."""
        if self._running is not None:
            job, self._running = self._running, None
            job.wait()

    def run(self, image: NDArray[np.float32], noise: NDArray[np.float32], steps: Steps) -> NDArray[np.float32]:
        """:meth:`submit`, then :meth:`collect`."""
        self.submit(image, noise, steps)
        return self.collect()
