"""A photo in strips, with the loop whole or on tiles: what a plan other than ``whole`` runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend, Form
from ..image import Pixels, padded_size
from ..package.manifest import Manifest
from ..planning.decide import Plan
from ..planning.windows import axis
from .loops import Sampler, TiledLoop, WholeLoop
from .program import Steps
from .strips import Strips


class Bounded:
    """Buffers and calls for photos of one size and plan. Beside them only the photo, its result and a few arrays of
    x_t's size are in memory, and one strip or window."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, plan: Plan) -> None:
        self._backend, self._manifest = backend, manifest
        rows, columns = (padded_size(side, manifest.pad_multiple) for side in (plan.height, plan.width))
        self.timings: dict[str, float] = {}
        """Milliseconds of the last photo: pad, upload, dwt, denoiser (all steps), hfrm0.., idwt (or ``graph`` for
        them), blend (of tiles), download, crop."""
        self._strip = min(plan.strip_height, rows), columns
        self._loop: Sampler
        form = Form(plan.key_stride, plan.lean)
        if plan.kind == "strips":
            self._loop = WholeLoop(backend, manifest, rows, columns, form=form)
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
                form=form,
            )

    @property
    def step_timings(self) -> list[float]:
        return self._loop.step_timings

    def run(self, photo: Pixels, noise: NDArray[np.float32], steps: Steps) -> Pixels:
        """photo: (H, W, 3) uint8 or uint16, RGB; noise: x_T, (3, Hp/4, Wp/4) float32 with two levels. Returns the
        restored photo, the same shape and dtype. Raises EngineError."""
        # made for each use: their buffers are not in memory while the loop runs
        strips = Strips(self._backend, self._manifest, *self._strip)
        x_cond = strips.x_cond(photo)
        timings = {"pad": 0.0, "upload": 0.0, **strips.timings}
        del strips
        x_0 = self._loop.run(x_cond, noise, steps)
        del x_cond
        strips = Strips(self._backend, self._manifest, *self._strip)
        result = strips.picture(photo, x_0)
        for part in (self._loop.timings, strips.timings):
            for name, milliseconds in part.items():
                timings[name] = timings.get(name, 0.0) + milliseconds
        self.timings = timings
        return result
