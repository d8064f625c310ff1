"""The stages of one photo shape, wired once: buffers made, calls bound. The sampling loop is here and only here."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.base import Backend, Call
from .package import Manifest, TensorSpec
from .sampler import StepTable


class Steps:
    """A sampler's table on the device: one (timestep, coefficients) pair of buffers a step, shared by all shapes,
    so that the loop uploads nothing."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, table: StepTable) -> None:
        specs = manifest.stage("denoiser").tensors
        self.rows: list[tuple[Any, Any]] = []
        for timestep, coefficients in zip(table.timesteps, table.coefficients, strict=True):
            row = []
            for name, value in (("timestep", timestep.reshape(1)), ("coefficients", coefficients)):
                buffer = backend.buffer(specs[name], value.shape)
                backend.upload(buffer, value)
                row.append(buffer)
            self.rows.append((row[0], row[1]))


class Program:
    """All calls for a batch of padded photos of one size.

    dwt -> hfrm0 .. hfrm(K-1) -> denoiser S times -> idwt. x_t and the sampler's history alternate between two
    buffers each; everything else is written once.
    """

    def __init__(self, backend: Backend[Any], manifest: Manifest, batch: int, height: int, width: int) -> None:
        self._backend = backend
        levels = range(manifest.levels)
        specs: dict[str, TensorSpec] = {}
        for stage in manifest.stages:
            specs |= stage.tensors

        def buffer(name: str) -> Any:
            return backend.buffer(specs[name], specs[name].resolve(batch, height, width))

        self._image, self._x_cond, self._output = buffer("image"), buffer("x_cond"), buffer("image")
        details = {f"details{k}": buffer(f"details{k}") for k in levels}
        restored = {f"restored{k}": buffer(f"restored{k}") for k in levels}
        self._x = (buffer("x_t"), buffer("x_next"))
        self._history = (buffer("history"), buffer("history_next"))
        self._before: list[tuple[str, Call]] = [
            ("dwt", backend.bind("dwt", {"image": self._image, "x_cond": self._x_cond, **details}))
        ]
        for k in levels:
            tensors = {f"details{k}": details[f"details{k}"], f"restored{k}": restored[f"restored{k}"]}
            self._before.append((f"hfrm{k}", backend.bind(f"hfrm{k}", tensors)))
        self.step_timings: list[float] = []
        """Milliseconds of each denoiser step of the last run."""
        self._after = [backend.bind("idwt", {"x_0": x, **restored, "image": self._output}) for x in self._x]
        self._loops: dict[int, list[Call]] = {}

    def _loop(self, steps: Steps) -> list[Call]:
        calls = self._loops.get(id(steps))
        if calls is None:
            last = len(steps.rows) - 1
            calls = [self._step(index, *row, last=index == last) for index, row in enumerate(steps.rows)]
            self._loops[id(steps)] = calls
        return calls

    def _step(self, index: int, timestep: Any, coefficients: Any, *, last: bool) -> Call:
        now, then = index % 2, (index + 1) % 2
        tensors: Mapping[str, Any] = {
            "x_t": self._x[now],
            "x_cond": self._x_cond,
            # Nothing came before the first step. Its factor is 0, but 0 times whatever an old buffer holds may
            # be NaN, so the first step is given the noise, which is finite.
            "history": self._history[now] if index else self._x[0],
            "timestep": timestep,
            "coefficients": coefficients,
            "x_next": self._x[then],
            "history_next": self._history[then],
        }
        return self._backend.bind("denoiser", tensors, last=last)

    def run(
        self, image: NDArray[np.float32], noise: NDArray[np.float32], steps: Steps, timings: dict[str, float]
    ) -> NDArray[np.float32]:
        """image: (B, 3, Hp, Wp) float32 in [0, 1]; noise: (B, 3, h, w) float32, x_T. Returns the restored image,
        valid until the next run. Adds the milliseconds of each part to ``timings``."""
        clock = _Clock(timings)
        self._backend.upload(self._image, image)
        self._backend.upload(self._x[0], noise)
        clock.lap("upload")
        for name, call in self._before:
            call()
            clock.lap(name)
        self.step_timings = []
        for call in self._loop(steps):
            call()
            self.step_timings.append(clock.lap("denoiser"))
        self._after[len(steps.rows) % 2]()
        clock.lap("idwt")
        output = self._backend.download(self._output)
        clock.lap("download")
        return output


class _Clock:
    def __init__(self, timings: dict[str, float]) -> None:
        self._timings, self._last = timings, perf_counter_ns()

    def lap(self, name: str) -> float:
        """Add the milliseconds since the last lap to ``name``; return them."""
        now = perf_counter_ns()
        elapsed = (now - self._last) / 1e6
        self._timings[name] = self._timings.get(name, 0.0) + elapsed
        self._last = now
        return elapsed
