"""A small photo, on which many samplings are tried: what they have in common is computed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Backend
from runtime.image import to_tensor
from runtime.names import LOOP, Start
from runtime.package.manifest import Manifest
from runtime.package.sampling import Sampling
from runtime.running.program import Buffers, Loop, Stages
from runtime.sampler import make_table

_KEPT = 300  # outputs of the denoiser: the calls that many samplings begin with
_EPS = np.array([0, 1, 0, 0, 0], np.float32)  # coefficients that make x_next the network's eps

Array = NDArray[Any]


class SmallPhoto:
    """dwt, HFRMs and x_cond are the same for all samplings, and a call depends on the timesteps up to it alone.

    dark: (H, W, 3) uint8 or uint16, RGB. bright: its reference, float32, 0 to 255, or None. seed: of x_T.
    """

    def __init__(self, backend: Backend[Any], manifest: Manifest, dark: Array, bright: Array | None, seed: int) -> None:
        self._backend, self._manifest = backend, manifest
        image = to_tensor(dark[None], manifest.pad_multiple)
        self._size = dark.shape[:2]
        buffer = Buffers(backend, manifest, 1, *image.shape[2:])
        self._loop = Loop(buffer)
        self._stages = Stages(buffer, self._loop.x_cond)
        self._merge = self._stages.merge(self._loop.x[1])
        self._band: Array | None = None
        if bright is not None:
            self._split(to_tensor(np.round(bright * 257).astype(np.uint16)[None], manifest.pad_multiple))
            self._band = np.array(backend.download(self._loop.x_cond))
        self._split(image)
        for part in self._stages.restore():
            part.call()
        shape = manifest.noise_shape(*self._size)
        self._x_t = {
            "normal": np.random.default_rng(seed).standard_normal(shape, np.float32)[None],
            "zero": np.zeros((1, *shape), np.float32),
        }
        backend.upload(self._loop.history[0], self._x_t["zero"])
        self._kept: OrderedDict[tuple[Start, tuple[int, ...]], Array] = OrderedDict()
        self.runs = 0
        """Of the denoiser."""

    def band(self, published: Sampling) -> Array:
        """The low band x_0 that a sampling should end in: the reference's, else that of the published one."""
        return self._x_0(published) if self._band is None else self._band

    def picture(self, sampling: Sampling) -> Array:
        """(H, W, 3) float32, 0 to 255."""
        self._backend.upload(self._loop.x[1], np.ascontiguousarray(self._x_0(sampling), np.float32))
        self._merge.call()
        image: Array = self._backend.download(self._stages.output)
        height, width = self._size
        pixels: Array = np.ascontiguousarray(image[0].transpose(1, 2, 0)[:height, :width])
        return pixels * np.float32(255)

    def last(self, sampling: Sampling) -> tuple[Array, Array]:
        """x_t and eps of the last call."""
        return self._x(sampling.start, sampling.timesteps), self._eps(sampling.start, sampling.timesteps)

    def _split(self, image: Array) -> None:
        self._backend.upload(self._stages.image, image)
        self._stages.before.call()

    def _x_0(self, sampling: Sampling) -> Array:
        x_t, eps = self.last(sampling)
        c0, c1 = make_table(np.asarray(self._manifest.alphas_cumprod), sampling).coefficients[-1][:2]
        x_0: Array = c0 * x_t + c1 * eps
        return x_0

    def _x(self, start: Start, steps: tuple[int, ...]) -> Array:
        """x_t of the last of ``steps``, by DDIM."""
        before = steps[:-1]
        if not before:
            return self._x_t[start]
        table = make_table(np.asarray(self._manifest.alphas_cumprod), Sampling("", steps, start))
        c0, c1 = table.coefficients[len(before) - 1][:2]
        x_t: Array = c0 * self._x(start, before) + c1 * self._eps(start, before)
        return x_t

    def _eps(self, start: Start, steps: tuple[int, ...]) -> Array:
        """The network's output at the last of ``steps``."""
        key = start, steps
        if key not in self._kept:
            x_t = self._x(start, steps)
            specs = self._manifest.stage(LOOP).tensors
            row = {"timestep": np.array(steps[-1:], np.int32), "coefficients": _EPS}
            buffers = {name: self._backend.buffer(specs[name], value.shape) for name, value in row.items()}
            for name, value in row.items():
                self._backend.upload(buffers[name], value)
            self._backend.upload(self._loop.x[0], np.ascontiguousarray(x_t, np.float32))
            self._loop.step((buffers["timestep"], buffers["coefficients"]), last=True).call()
            self._kept[key] = np.array(self._backend.download(self._loop.x[1]))
            self.runs += 1
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
