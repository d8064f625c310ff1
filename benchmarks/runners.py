"""What can be timed, behind one face: a photo goes in, a photo comes out, and how long its parts took is kept."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .needs import package_bytes

Photo = NDArray[np.uint8]
SEED = 0  # of the noise x_T, for every configuration


@dataclass(frozen=True)
class Job:
    """What a worker is to run. kind: ``package``, ``pytorch`` or ``naive-onnx``.

    package: a directory. backend, provider: of a package. checkpoint, variant: of a baseline (a name of
    ``configs.VARIANTS``). traces: the folder of ``naive_trace``, for ``naive-onnx``.
    """

    kind: str
    package: str
    steps: int
    sampler: str
    backend: str = ""
    provider: str | None = None
    checkpoint: str = ""
    variant: str = ""
    traces: str = ""


class Runner(Protocol):
    """Something opened that brightens photos.

    name: what really runs (``auto`` chose a backend). why: of ``auto``, else "". plan: how the last photo was run
    where that was not whole, else "".
    stages: milliseconds of the last photo, by part, in running order. step_ms: of each denoiser step, where told.
    """

    name: str
    why: str
    plan: str
    stages: dict[str, float]
    step_ms: list[float]

    def run(self, photo: Photo) -> Photo:
        """(H, W, 3) uint8 RGB -> the same, with the noise of seed ``SEED``."""
        ...


def open_runner(job: Job) -> Runner:
    """Open what ``job`` names. Raises DiffLLError, or ImportError for a library that is missing."""
    if job.kind == "package":
        return PackageRunner(job)
    if job.kind == "pytorch":
        from .pytorch_runner import PyTorchRunner

        return PyTorchRunner(job)
    from .naive_runner import NaiveRunner

    return NaiveRunner(job)


class PackageRunner:
    """A package with one of the runtime's backends."""

    def __init__(self, job: Job) -> None:
        from runtime.enhancer import Enhancer

        self._enhancer = Enhancer.open(
            job.package, backend=job.backend, providers=[job.provider] if job.provider else None
        )
        self._steps, self._sampler = job.steps, job.sampler
        self.name, self.why = self._enhancer.backend.name, self._enhancer.backend.why
        self.plan = ""
        self.stages: dict[str, float] = {}
        self.step_ms: list[float] = []

    def needs(self, width: int, height: int) -> int:
        """Bytes of memory for a photo of this size, predicted: see needs.py."""
        return package_bytes(self._enhancer, width, height)

    def run(self, photo: Photo) -> Photo:
        bright: Photo = self._enhancer(photo, steps=self._steps, sampler=self._sampler, seed=SEED)
        self.stages, self.step_ms = self._enhancer.timings, self._enhancer.step_timings
        self.plan = self._enhancer.why
        return bright


class Laps:
    """Milliseconds between calls, by name."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._last = perf_counter_ns()

    def lap(self, name: str) -> None:
        now = perf_counter_ns()
        self.ms[name] = self.ms.get(name, 0.0) + (now - self._last) / 1e6
        self._last = now


def noise(levels: int, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """x_T, (1, 3, Hp/2^K, Wp/2^K) float32: the runtime's noise of ``SEED`` for an image (1, 3, Hp, Wp)."""
    shape = (3, image.shape[2] >> levels, image.shape[3] >> levels)
    return np.random.default_rng(SEED).standard_normal(shape, np.float32)[None]
