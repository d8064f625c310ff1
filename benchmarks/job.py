"""What a worker is to run, what it opens, and the noise of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
TF32 = "eager tf32"  # eager mode in float32, whose products a GPU forms of 10-bit mantissas
VARIANTS = {
    "pytorch": ("eager fp32", TF32, "eager bf16", "eager fp16", "compile fp32"),
    "naive-onnx": ("stages", "unrolled"),
}
SEED = 0  # of the noise x_T, for every configuration


@dataclass(frozen=True)
class Loop:
    """How the denoiser is called for a photo."""

    calls: int
    sampler: str
    sampling: str = ""
    """Of the package, by name; "": evenly spaced steps of ``sampler``, as many as calls."""

    @property
    def words(self) -> str:
        """Such as ``fast``, ``5 steps`` or ``5 steps of dpmpp-2m``."""
        return self.sampling or f"{self.calls} steps{'' if self.sampler == 'ddim' else f' of {self.sampler}'}"


@dataclass(frozen=True)
class Job:
    """What a worker is to run."""

    kind: str
    """``package``, ``pytorch`` or ``naive-onnx``."""
    package: str
    """A directory; of a baseline one that was built from its checkpoint."""
    steps: int
    """Calls of the denoiser."""
    sampler: str
    backend: str = ""
    provider: str | None = None
    checkpoint: str = ""
    """Of a baseline."""
    variant: str = ""
    """Of a baseline: a name of ``VARIANTS``."""
    traces: str = ""
    """The folder of ``naive_trace``, for ``naive-onnx``."""
    sampling: str = ""
    """Of the package, by name; "": evenly spaced steps of ``sampler``."""

    @property
    def loop(self) -> Loop:
        return Loop(self.steps, self.sampler, self.sampling)


class Timed(Protocol):
    """Something opened that brightens photos."""

    name: str
    """What really runs: ``auto`` chose a backend."""
    why: str
    """Of ``auto``, else ""."""
    plan: str
    """How the last photo was run where that was not whole, else ""."""
    stages: dict[str, float]
    """Milliseconds of the last photo, by part, in running order."""
    step_ms: list[float]
    """Of each denoiser step, where told."""

    def run(self, photo: Photo) -> Photo:
        """(H, W, 3) uint8 RGB -> the same, with the noise of seed ``SEED``."""
        ...


def noise(levels: int, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """x_T, (1, 3, Hp/2^K, Wp/2^K) float32: the runtime's noise of ``SEED`` for an image (1, 3, Hp, Wp)."""
    shape = (3, image.shape[2] >> levels, image.shape[3] >> levels)
    return np.random.default_rng(SEED).standard_normal(shape, np.float32)[None]
