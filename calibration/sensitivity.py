"""What each layer costs, and each step of the loop: measured one at a time on small pieces of calibration photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.package import Package
from runtime.progress import Progress
from runtime.sampler import timesteps

from .layers import Layer
from .quantise import quantise
from .variants import Judge, sixteen_bits

Array = NDArray[Any]
_HEIGHT, _WIDTH = 96, 128  # of a piece, in pixels


@dataclass(frozen=True)
class Sensitivity:
    """Mean squared errors (photo range [0, 1], mean over the pieces) with only that part in int8.

    layers: (stage, layer) -> error. timesteps: timestep -> error with the denoiser in int8 at that step alone, in
    running order. stages: stage -> error with all of its layers in int8.
    """

    layers: dict[tuple[str, str], float]
    timesteps: dict[int, float]
    stages: dict[str, float]


def measure(
    package: Package,
    models: Mapping[str, onnx.ModelProto],
    layers: Mapping[str, Sequence[Layer]],
    limits: Mapping[str, Mapping[str, float]],
    photos: Sequence[Array],
    progress: Progress,
) -> Sensitivity:
    """photos: (H, W, 3) each; of each a piece is used, in turns from its centre and around its brightest spot."""
    pieces: dict[tuple[int, ...], list[Array]] = {}
    for index, photo in enumerate(photos):
        piece = sixteen_bits(_piece(photo, brightest=index % 2 == 1))
        pieces.setdefault(piece.shape, []).append(piece)
    judge = Judge(package, [np.stack(same) for same in pieces.values()])  # as batches: small pieces cost mostly calls

    def error(graphs: Mapping[str, bytes], at: set[int] | None = None) -> float:
        return float(np.mean(judge.errors(graphs, at)))

    costs, steps, whole = {}, {}, {}
    for stage, found in layers.items():
        with progress.task(f"what each of {len(found)} layers of {stage} costs"):
            for layer in found:
                costs[stage, layer.name] = error({stage: quantise(models[stage], [layer], limits[stage])})
            full = quantise(models[stage], found, limits[stage])
            whole[stage] = error({stage: full})
        if stage == "denoiser":
            manifest = package.manifest
            for t in map(int, timesteps(manifest.num_train_timesteps, manifest.num_inference_steps)):
                steps[t] = error({stage: full}, {t})
    judge.close()
    return Sensitivity(costs, steps, whole)


def _piece(photo: Array, *, brightest: bool) -> Array:
    """The centre, or what is around the brightest spot: where the largest values come from, and are clipped."""
    height, width, _ = photo.shape
    row, column = height // 2, width // 2
    if brightest:
        row, column = map(int, np.unravel_index(int(photo.sum(axis=2, dtype=np.int64).argmax()), (height, width)))
    top = min(max(0, row - _HEIGHT // 2), max(0, height - _HEIGHT))
    left = min(max(0, column - _WIDTH // 2), max(0, width - _WIDTH))
    return photo[top : top + _HEIGHT, left : left + _WIDTH]
