"""The fp32 package with other graphs in some places of the loop, run by the runtime and compared with itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends import open_backend
from runtime.backends.base import PLAIN, Backend, Call, Form
from runtime.enhancer import Enhancer
from runtime.names import LOOP
from runtime.package.reading import Package
from runtime.package.sampling import Sampling

from .photos import enhance_whole

Array = NDArray[Any]
Pictures = dict[str, list[Array]]
"""Sampling -> the result of each photo, uint16."""
_PEAK = 65535


@dataclass(frozen=True)
class Variant(Package):
    """Some stages of a package, whose graphs are in memory."""

    graphs: Mapping[str, bytes]
    """Stage -> its graph."""

    def graph(self, stage: str) -> bytes:
        return self.graphs[stage]


class SwitchBackend:
    """``base`` with its buffers, but ``other`` for the stages that it has;
    for the denoiser only at the timesteps ``at`` (None: all)."""

    name = "onnxruntime"
    why = ""

    def __init__(self, base: Backend[Any], other: Backend[Any], stages: set[str], at: set[int] | None) -> None:
        self._base, self._other, self._stages, self._at = base, other, stages, at
        self.traits = base.traits
        self.buffer, self.upload, self.download, self.sequence = base.buffer, base.upload, base.download, base.sequence
        self.converts, self.photo_io = base.converts, base.photo_io

    def bind(self, stage: str, tensors: Mapping[str, Any], *, last: bool = True, form: Form = PLAIN) -> Call:
        chosen = stage in self._stages
        if chosen and self._at is not None and stage == LOOP:
            chosen = int(self._base.download(tensors["timestep"])[0]) in self._at
        return (self._other if chosen else self._base).bind(stage, tensors, last=last, form=form)

    def close(self) -> None:
        """Only ``other``: the base is used again."""
        self._other.close()


class Judge:
    """Compares variants of a package with the package itself by every sampling, with the same noise.

    photos: (H, W, 3) or batches (B, H, W, 3), uint8 or uint16.
    """

    def __init__(self, package: Package, photos: Sequence[Array]) -> None:
        self._package = package
        self._base = open_backend("onnxruntime", package, None)
        self._photos = [sixteen_bits(photo) for photo in photos]
        self._samplings = package.manifest.samplings
        self._expected = self._run(self._base, self._samplings.values())

    def pictures(self, graphs: Mapping[str, bytes], at: tuple[str, set[int]] | None = None) -> Pictures:
        """The photos' results with ``graphs`` (stage -> graph) in their places.

        at: one sampling, the only one then, and the timesteps at which the denoiser of ``graphs`` runs in it, the float
        one at the others.
        """
        manifest = self._package.manifest
        stages = tuple(stage for stage in manifest.stages if stage.name in graphs)
        variant = Variant(self._package.path, replace(manifest, stages=stages), graphs)
        other = open_backend("onnxruntime", variant, None)
        switch = SwitchBackend(self._base, other, set(graphs), at[1] if at else None)
        found = self._run(switch, [self._samplings[at[0]]] if at else self._samplings.values())
        switch.close()
        return found

    def errors(self, pictures: Pictures) -> dict[str, list[float]]:
        """Sampling -> the mean squared error of each photo (range [0, 1])."""
        return {
            sampling: [mean_squared_error(a, b) for a, b in zip(self._expected[sampling], found, strict=True)]
            for sampling, found in pictures.items()
        }

    def worst_pieces(self, pictures: Pictures, height: int, width: int) -> list[Array]:
        """Of each photo (H, W, 3) the piece whose results are worst, at most ``height`` x ``width``."""
        maps = [
            [np.square(a.astype(np.float64) - b).sum(axis=2) for a, b in zip(self._expected[name], found, strict=True)]
            for name, found in pictures.items()
        ]
        return [
            _worst_piece(photo, reduce(np.add, errors), height, width)
            for photo, *errors in zip(self._photos, *maps, strict=True)
        ]

    def close(self) -> None:
        self._base.close()

    def _run(self, backend: Backend[Any], samplings: Iterable[Sampling]) -> Pictures:
        enhancer = Enhancer(self._package, backend)
        return {
            one.name: [enhance_whole(enhancer, photo, seed, one) for seed, photo in enumerate(self._photos)]
            for one in samplings
        }


def mean_squared_error(reference: Array, other: Array) -> float:
    """Of two uint16 photos, in parts of their range."""
    return float(np.mean((reference.astype(np.float64) - other) ** 2)) / _PEAK**2


def _worst_piece(photo: Array, errors: Array, height: int, width: int) -> Array:
    """errors: (H, W). Windows are tried a quarter of their size apart."""
    rows, columns = (max(1, size // 4) for size in (height, width))
    tops = range(0, max(1, photo.shape[0] - height + 1), rows)
    lefts = range(0, max(1, photo.shape[1] - width + 1), columns)
    top, left = max(
        ((top, left) for top in tops for left in lefts),
        key=lambda place: float(errors[place[0] : place[0] + height, place[1] : place[1] + width].sum()),
    )
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def sixteen_bits(photo: Array) -> Array:
    """The same values with 16 bits: an error that 8 bits would round away still shows."""
    return photo if photo.dtype == np.uint16 else photo.astype(np.uint16) * np.uint16(257)
