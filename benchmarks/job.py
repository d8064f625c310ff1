"""What a worker is to run, what a runner is, and what all runners share."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
