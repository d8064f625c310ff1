"""What comes before and after the loop, in full-width strips of the photo: x_cond, and the picture from x_0.

The wavelet transform of a strip is the strip of the transform. An HFRM reaches 13 rows up and down (its attention
stays within a row, so a strip must be as wide as the photo): with that many rows more on both sides, 13 * 2^K of the
photo at the level of the smallest band, what a strip keeps is what the whole photo would give.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend, Job, Part
from ..errors import EngineError
from ..image import Pixels, padded_size, to_pixels, to_tensor
from ..package.manifest import Manifest, TensorSpec
from ..planning.strips import Strip, halo, strips


class Strips:
    """Buffers and calls for strips of one height of photos of one width, both padded, in pixels."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, height: int, width: int) -> None:
        self._backend, self._manifest, self._height = backend, manifest, height
        self.timings: dict[str, float] = {}
        """Milliseconds, added up: pad, upload, a key a stage (or ``graph``), download, crop."""
        levels = range(manifest.levels)
        specs: dict[str, TensorSpec] = {}
        for stage in manifest.stages:
            specs |= stage.tensors

        def buffer(name: str) -> Any:
            return backend.buffer(specs[name], specs[name].resolve(1, height, width))

        self._image, self._output = buffer("image"), buffer("image")
        self._x_cond, self._x_0 = buffer("x_cond"), buffer("x_0")
        details = {f"details{k}": buffer(f"details{k}") for k in levels}
        restored = {f"restored{k}": buffer(f"restored{k}") for k in levels}
        split = Part("dwt", backend.bind("dwt", {"image": self._image, "x_cond": self._x_cond, **details}))
        self._split = backend.sequence([split])

        def restore(last: bool) -> Job:
            parts = [split]
            for k in levels:
                tensors = {f"details{k}": details[f"details{k}"], f"restored{k}": restored[f"restored{k}"]}
                parts.append(Part(f"hfrm{k}", backend.bind(f"hfrm{k}", tensors, last=last), concurrent=True))
            merge = {"x_0": self._x_0, **restored, "image": self._output}
            return backend.sequence([*parts, Part("idwt", backend.bind("idwt", merge, last=last))])

        self._restore = {last: restore(last) for last in (False, True)}

    def x_cond(self, photo: Pixels) -> NDArray[np.float32]:
        """The smallest average band of a photo (H, W, 3) uint8 or uint16, RGB: (3, Hp/2^K, Wp/2^K) float32."""
        scale = 2**self._manifest.levels
        found: NDArray[np.float32] | None = None
        rows = padded_size(photo.shape[0], self._manifest.pad_multiple)
        for strip in strips(rows, self._height, 0):
            self._upload_strip(photo, strip)
            self._run(self._split)
            band = self._download(self._x_cond)[0]
            if found is None:
                found = np.empty((3, rows // scale, band.shape[2]), np.float32)
            found[:, strip.top // scale : strip.bottom // scale] = band
        assert found is not None
        return found

    def picture(self, photo: Pixels, x_0: NDArray[np.float32]) -> Pixels:
        """The restored photo, shape and dtype of ``photo``, from what the loop made of its average band."""
        manifest = self._manifest
        scale, height = 2**manifest.levels, photo.shape[0]
        result = np.empty(photo.shape, photo.dtype)
        todo = list(strips(padded_size(height, manifest.pad_multiple), self._height, halo(manifest.levels)))
        for strip in todo:
            self._upload_strip(photo, strip)
            self._upload(self._x_0, x_0[None, :, strip.top // scale : strip.bottom // scale])
            self._run(self._restore[strip is todo[-1]])
            output = self._download(self._output)[:, :, strip.first - strip.top : strip.end - strip.top]
            started = perf_counter_ns()
            if not np.isfinite(output).all():
                raise EngineError(
                    f"rows {strip.first} to {strip.end} of a {photo.shape[1]}x{height} photo came out as NaN or "
                    f"infinity ({manifest.precision} package, backend {self._backend.name}); use an fp32 or bf16 "
                    "package."
                )
            rows = min(strip.end, height) - strip.first
            if rows > 0:
                result[strip.first : strip.first + rows] = to_pixels(output, rows, photo.shape[1], photo.dtype)[0]
            self._add("crop", started)
        return result

    def _upload_strip(self, photo: Pixels, strip: Strip) -> None:
        started = perf_counter_ns()
        image = to_tensor(photo[None], self._manifest.pad_multiple, top=strip.top, bottom=strip.bottom)
        self._add("pad", started)
        self._upload(self._image, image)

    def _upload(self, buffer: Any, array: NDArray[np.float32]) -> None:
        started = perf_counter_ns()
        self._backend.upload(buffer, np.ascontiguousarray(array))
        self._add("upload", started)

    def _download(self, buffer: Any) -> NDArray[np.float32]:
        started = perf_counter_ns()
        array: NDArray[np.float32] = self._backend.download(buffer)
        self._add("download", started)
        return array

    def _run(self, job: Job) -> None:
        job.submit()
        for name, milliseconds in job.wait():
            self.timings[name] = self.timings.get(name, 0.0) + milliseconds

    def _add(self, name: str, started: int) -> None:
        self.timings[name] = self.timings.get(name, 0.0) + (perf_counter_ns() - started) / 1e6
