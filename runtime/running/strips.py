"""What comes before and after the loop, in full-width strips of the photo: x_cond, and the picture from x_0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend, Job
from ..image import Pixels, padded_size, to_tensor
from ..package.manifest import Manifest
from ..planning.strips import Strip, halo, strips
from .laps import Laps, to_photos
from .program import Buffers, Stages


class Strips:
    """Buffers and calls for strips of one height of photos of one width, both padded, in pixels.

    laps: gets pad, upload, a key a stage (or ``graph``), download, crop."""

    def __init__(self, backend: Backend[Any], manifest: Manifest, height: int, width: int, laps: Laps) -> None:
        self._backend, self._manifest, self._height, self._laps = backend, manifest, height, laps
        buffer = Buffers(backend, manifest, 1, height, width)
        self._x_cond, self._x_0 = buffer("x_cond"), buffer("x_0")
        self._stages = Stages(buffer, self._x_cond)
        self._split = backend.sequence([self._stages.before])
        self._restore = {last: self._restoring(last=last) for last in (False, True)}

    def _restoring(self, *, last: bool) -> Job:
        stages = self._stages
        return self._backend.sequence([stages.before, *stages.restore(last=last), stages.merge(self._x_0, last=last)])

    def x_cond(self, photo: Pixels) -> NDArray[np.float32]:
        """The smallest average band of a photo (H, W, 3) uint8 or uint16, RGB: (3, Hp/2^K, Wp/2^K) float32."""
        manifest = self._manifest
        found = np.empty(manifest.noise_shape(*photo.shape[:2]), np.float32)
        for strip in strips(padded_size(photo.shape[0], manifest.pad_multiple), self._height, 0):
            self._run(self._split, photo, strip)
            found[:, strip.top >> manifest.levels : strip.bottom >> manifest.levels] = self._download(self._x_cond)[0]
        return found

    def picture(self, photo: Pixels, x_0: NDArray[np.float32]) -> Pixels:
        """The restored photo, shape and dtype of ``photo``, from what the loop made of its average band."""
        manifest = self._manifest
        scale, height = 2**manifest.levels, photo.shape[0]
        result = np.empty(photo.shape, photo.dtype)
        todo = list(strips(padded_size(height, manifest.pad_multiple), self._height, halo(manifest.levels)))
        for strip in todo:
            with self._laps.part("upload"):
                band = np.ascontiguousarray(x_0[None, :, strip.top // scale : strip.bottom // scale])
                self._backend.upload(self._x_0, band)
            self._run(self._restore[strip is todo[-1]], photo, strip)
            output = self._download(self._stages.output)[:, :, strip.first - strip.top : strip.end - strip.top]
            with self._laps.part("crop"):
                part = result[strip.first : strip.end]
                part[...] = to_photos(output, part.shape[:2], photo.dtype, self._backend)[0]
        return result

    def _run(self, job: Job, photo: Pixels, strip: Strip) -> None:
        with self._laps.part("pad"):
            image = to_tensor(photo[None], self._manifest.pad_multiple, top=strip.top, bottom=strip.bottom)
        with self._laps.part("upload"):
            self._backend.upload(self._stages.image, image)
        job.submit()
        self._laps.add(job.wait())

    def _download(self, buffer: Any) -> NDArray[np.float32]:
        with self._laps.part("download"):
            array: NDArray[np.float32] = self._backend.download(buffer)
        return array
