"""What each layer costs, and each call of the denoiser: measured one at a time on small pieces of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.cli.progress import Progress
from runtime.names import LOOP
from runtime.package.reading import Package

from .collect import denoiser_calls
from .layers import Layer
from .quantise import quantise
from .variants import Judge

Array = NDArray[Any]


@dataclass(frozen=True)
class Sensitivity:
    """Mean squared errors (photo range [0, 1], mean over the pieces and samplings) with only that part in int8."""

    layers: dict[tuple[str, str], float]
    """(stage, layer) -> error."""
    calls: dict[tuple[str, int], float]
    """(sampling, timestep) -> error with the denoiser in int8 at that call alone, in running order."""
    stages: dict[str, float]
    """Stage -> error with all of its layers in int8."""


def measure(
    package: Package,
    models: Mapping[str, onnx.ModelProto],
    layers: Mapping[str, Sequence[Layer]],
    limits: Mapping[str, Mapping[str, float]],
    pieces: Sequence[Array],
    progress: Progress,
) -> Sensitivity:
    """pieces: (H, W, 3) each, of photos; those of one size run as a batch, as small ones cost mostly calls."""
    same: dict[tuple[tuple[int, ...], str], list[Array]] = {}
    for piece in pieces:
        same.setdefault((piece.shape, str(piece.dtype)), []).append(piece)
    judge = Judge(package, [np.stack(batch) for batch in same.values()])

    def error(graphs: Mapping[str, bytes], at: tuple[str, set[int]] | None = None) -> float:
        return float(np.mean(list(judge.errors(judge.pictures(graphs, at)).values())))

    costs, calls, whole = {}, {}, {}
    shortest = min(package.manifest.samplings.values(), key=lambda sampling: sampling.calls)
    for stage, found in layers.items():
        # Outside the loop int8 errs by the same in every sampling: the one with the fewest calls tells it.
        at = None if stage == LOOP else (shortest.name, set(shortest.timesteps))
        with progress.task(f"what each of {len(found)} layers of {stage} costs"):
            for layer in found:
                costs[stage, layer.name] = error({stage: quantise(models[stage], [layer], limits[stage])}, at)
            full = quantise(models[stage], found, limits[stage])
            whole[stage] = error({stage: full}, at)
        if stage == LOOP:
            for sampling, timestep in denoiser_calls(package.manifest):
                calls[sampling, timestep] = error({stage: full}, (sampling, {timestep}))
    judge.close()
    return Sensitivity(costs, calls, whole)
