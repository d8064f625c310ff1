"""The stages of one photo shape, wired once: buffers made, calls bound. The sampling loop is here and only here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import PLAIN, Backend, Call, Form, Job, Part
from ..names import LOOP
from ..package.manifest import Manifest
from ..package.sampling import Sampling
from ..sampler import make_table
from .laps import Laps, not_finite

_JOBS_KEPT = 4  # of different steps tables, a shape


class Steps:
    """A sampling's table on the device: one (timestep, coefficients) pair of buffers a step, shared by all shapes,
    so that the loop uploads nothing."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, sampling: Sampling) -> None:
        specs = manifest.stage(LOOP).tensors
        table = make_table(np.asarray(manifest.alphas_cumprod), sampling)
        self.from_zero = sampling.start == "zero"
        """Whether x_T is zero, and not the caller's."""
        self.multistep = bool(table.coefficients[:, 2:].any())
        """Whether the sampler uses its history."""

        def uploaded(name: str, value: NDArray[Any]) -> Any:
            buffer = backend.buffer(specs[name], value.shape)
            backend.upload(buffer, value)
            return buffer

        self.rows: list[tuple[Any, Any]] = [
            (uploaded("timestep", timestep.reshape(1)), uploaded("coefficients", coefficients))
            for timestep, coefficients in zip(table.timesteps, table.coefficients, strict=True)
        ]


class Buffers:
    """Makes the buffers for a batch of padded photos, or of parts of them, of ``height`` x ``width`` pixels."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, batch: int, height: int, width: int) -> None:
        self.backend, self.levels, self._shape = backend, range(manifest.levels), (batch, height, width)
        self._specs = {name: spec for stage in manifest.stages for name, spec in stage.tensors.items()}

    def __call__(self, name: str) -> Any:
        """A new one for the tensor ``name``."""
        return self.backend.buffer(self._specs[name], self._specs[name].resolve(*self._shape))

    def zeros(self, name: str) -> Any:
        """A new one for the tensor ``name``, filled with zeros."""
        buffer = self(name)
        self.backend.upload(buffer, np.zeros(self._specs[name].resolve(*self._shape), np.float32))
        return buffer


class Stages:
    """What comes before and after the loop. x_cond: the buffer that the smallest average band goes into."""

    def __init__(self, buffer: Buffers, x_cond: Any) -> None:
        self._bind, self._levels = buffer.backend.bind, buffer.levels
        self.image, self.output = buffer("image"), buffer("image")
        self._details = {f"details{k}": buffer(f"details{k}") for k in self._levels}
        self._restored = {f"restored{k}": buffer(f"restored{k}") for k in self._levels}
        split = {"image": self.image, "x_cond": x_cond, **self._details}
        self.before = Part("dwt", self._bind("dwt", split))

    def restore(self, *, last: bool = True) -> list[Part]:
        """The high-frequency restoration modules. last: of this photo's strips."""
        parts = []
        for k in self._levels:
            tensors = {f"details{k}": self._details[f"details{k}"], f"restored{k}": self._restored[f"restored{k}"]}
            parts.append(Part(f"hfrm{k}", self._bind(f"hfrm{k}", tensors, last=last), concurrent=True))
        return parts

    def merge(self, x_0: Any, *, last: bool = True) -> Part:
        """The picture, from x_0 and the restored bands."""
        return Part("idwt", self._bind("idwt", {"x_0": x_0, **self._restored, "image": self.output}, last=last))


class Loop:
    """The sampling loop for one shape: x_cond, and two buffers each for x_t and the sampler's history, which it
    alternates between. form: of the denoiser."""

    def __init__(self, buffer: Buffers, form: Form = PLAIN) -> None:
        self._buffer, self._bind, self._form = buffer, buffer.backend.bind, form
        self.x_cond = buffer("x_cond")
        self.x = (buffer("x_t"), buffer("x_next"))
        """x_T goes into the first, unless it is zero; :meth:`result` is x_0."""
        self.history = (buffer("history"), buffer("history_next"))

    @cached_property
    def _zeros(self) -> Any:
        """x_T of a start of zero: a buffer of its own, which no step writes, so it is uploaded once and for all."""
        return self._buffer.zeros("x_t")

    def parts(self, steps: Steps) -> list[Part]:
        """All steps, one after the other."""
        last, parts = len(steps.rows) - 1, []
        for index, row in enumerate(steps.rows):
            x_t, history = self.x[index % 2], self.history[index % 2]
            if index == 0:
                # Nothing came before the first step. Its factor is 0, but 0 times whatever an old buffer holds may
                # be NaN, so the first step is given x_T, which is finite.
                x_t = history = self._zeros if steps.from_zero else self.x[0]
            parts.append(Part(LOOP, self._step(index, row, x_t, history, last=index == last)))
        return parts

    def result(self, steps: Steps) -> Any:
        """Where x_0 is after all steps."""
        return self.x[len(steps.rows) % 2]

    def step(self, row: tuple[Any, Any], *, last: bool) -> Part:
        """One step alone, from ``x[0]`` and ``history[0]`` to ``x[1]`` and ``history[1]``."""
        return Part(LOOP, self._step(0, row, self.x[0], self.history[0], last=last))

    def _step(self, index: int, row: tuple[Any, Any], x_t: Any, history: Any, *, last: bool) -> Call:
        then = (index + 1) % 2
        tensors: Mapping[str, Any] = {
            "x_t": x_t,
            "x_cond": self.x_cond,
            "history": history,
            "timestep": row[0],
            "coefficients": row[1],
            "x_next": self.x[then],
            "history_next": self.history[then],
        }
        return self._bind(LOOP, tensors, last=last, form=self._form)


class Program:
    """All calls for a batch of padded photos of one size.

    dwt -> hfrm0 .. hfrm(K-1) -> denoiser S times -> idwt. Everything but the loop's buffers is written once. The
    backend gets the whole sequence at once, one a steps table. photos: the shape (B, H, W, 3) and dtype of photos that
    the backend converts itself; then they take the images' place in what goes in and comes out.
    """

    def __init__(
        self, backend: Backend[Any], manifest: Manifest, batch: int, height: int, width: int,
        photos: tuple[tuple[int, ...], np.dtype[Any]] | None = None,
    ) -> None:  # fmt: skip
        self._backend = backend
        buffer = Buffers(backend, manifest, batch, height, width)
        self._loop = Loop(buffer)
        self._stages = Stages(buffer, self._loop.x_cond)
        self._before = [self._stages.before, *self._stages.restore()]
        self._after = [[self._stages.merge(x)] for x in self._loop.x]
        self._io = None
        if photos is not None:
            self._io = backend.photo_io(*photos, self._stages.image, self._stages.output)
            self._before.insert(0, Part("pad", self._io.pad))
            for parts in self._after:
                parts.append(Part("crop", self._io.crop))
        self._jobs: OrderedDict[Steps, Job] = OrderedDict()
        self._running: tuple[Job, Laps] | None = None

    def _job(self, steps: Steps) -> Job:
        job = self._jobs.pop(steps, None)
        if job is None:
            while len(self._jobs) >= _JOBS_KEPT:
                self._jobs.popitem(last=False)
            after = self._after[len(steps.rows) % 2]
            job = self._backend.sequence([*self._before, *self._loop.parts(steps), *after])
        self._jobs[steps] = job
        return job

    def submit(self, image: NDArray[Any], noise: NDArray[np.float32] | None, steps: Steps, laps: Laps) -> None:
        """image: (B, 3, Hp, Wp) float32 in [0, 1]; noise: (B, 3, h, w) float32, x_T, or None
        where the steps start from zero; both may be changed afterwards.
        laps: gets upload, a key a stage (denoiser: all steps) or ``graph`` for all of them, and download.
        May return before the work is done; :meth:`collect` comes next. Raises EngineError."""
        self.settle()
        job = self._job(steps)
        with laps.part("upload"):
            if self._io:
                self._io.upload(image)
            else:
                self._backend.upload(self._stages.image, image)
            if noise is not None:
                self._backend.upload(self._loop.x[0], noise)
        self._running = job, laps
        job.submit()

    def collect(self) -> NDArray[Any]:
        """The restored image of the last :meth:`submit`, (B, 3, Hp, Wp) float32, valid until the next one. May be
        called from another thread than submit. Raises EngineError."""
        assert self._running is not None, "collect comes after submit"
        (job, laps), self._running = self._running, None
        laps.add(job.wait())
        with laps.part("download"):
            if not self._io:
                output: NDArray[Any] = self._backend.download(self._stages.output)
                return output
            photos, finite = self._io.download()
        if not finite:
            raise not_finite(photos.shape[2], photos.shape[1], self._backend)
        return photos

    def settle(self) -> None:
        """Wait for a photo that was submitted and will not be collected. Raises EngineError."""
        if self._running is not None:
            (job, _), self._running = self._running, None
            job.wait()

    def run(self, image: NDArray[Any], noise: NDArray[np.float32] | None, steps: Steps, laps: Laps) -> NDArray[Any]:
        """:meth:`submit`, then :meth:`collect`."""
        self.submit(image, noise, steps, laps)
        return self.collect()
