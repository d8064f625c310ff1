"""A photo in strips, with the loop whole or on tiles: what a plan other than ``whole`` runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.base import Backend
from .image import Pixels, padded_size
from .loops import Sampler, TiledLoop, WholeLoop
from .package import Manifest
from .planning import Plan
from .program import Steps
from .strips import Strips
from .windows import axis


class Bounded:
    """Buffers and calls for photos of one size and plan. Beside them only the photo, its result and a few arrays of
    x_t's size are in memory, and one strip or window."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, plan: Plan) -> None:
        rows, columns = (padded_size(side, manifest.pad_multiple) for side in (plan.height, plan.width))
        self.timings: dict[str, float] = {}
        """Milliseconds of the last photo: pad, upload, dwt, denoiser (all steps), hfrm0.., idwt (or ``graph`` for them),
        blend (of tiles), download, crop."""
        self._strips = Strips(backend, manifest, min(plan.strip_height, rows), columns)
        self._loop: Sampler
        if plan.kind == "strips":
            self._loop = WholeLoop(backend, manifest, rows, columns, key_stride=plan.key_stride)
        else:
            scale, unit = 2**manifest.levels, manifest.pad_multiple // 2**manifest.levels
            width, height = plan.window
            overlap = plan.overlap // scale
            self._loop = TiledLoop(
                backend,
                manifest,
                axis(rows // scale, height // scale, overlap, unit),
                axis(columns // scale, width // scale, overlap, unit),
                batch=plan.batch,
                key_stride=plan.key_stride,
            )

    @property
    def step_timings(self) -> list[float]:
        return self._loop.step_timings

    def run(self, photo: Pixels, noise: NDArray[np.float32], steps: Steps) -> Pixels:
        """photo: (H, W, 3) uint8 or uint16, RGB; noise: x_T, (3, Hp/4, Wp/4) float32 with two levels. Returns the
        restored photo, the same shape and dtype. Raises EngineError."""
        self._strips.timings = {"pad": 0.0, "upload": 0.0}
        x_0 = self._loop.run(self._strips.x_cond(photo), noise, steps)
        for name, milliseconds in self._loop.timings.items():
            self._strips.timings[name] = self._strips.timings.get(name, 0.0) + milliseconds
        result = self._strips.picture(photo, x_0)
        self.timings = dict(self._strips.timings)
        return result
