"""Real photos through the fp32 package: what every stage sees, at every call of every sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.cli.progress import Progress
from runtime.enhancer import Enhancer
from runtime.errors import EngineError
from runtime.names import LOOP
from runtime.package.manifest import Manifest
from runtime.package.reading import Package

from .extremes import WatchedBackend
from .layers import Layer, with_outputs
from .observe import Observed
from .photos import Source, enhance_whole
from .state import State

Array = NDArray[Any]


def empty(package: Package, layers: Mapping[str, Sequence[Layer]]) -> dict[str, Observed]:
    """Stage -> nothing seen yet, of all tensors that its layers read and write."""
    count = len(denoiser_calls(package.manifest))
    return {stage: Observed(_tensors(found), count if stage == LOOP else 1) for stage, found in layers.items()}


def denoiser_calls(manifest: Manifest) -> list[tuple[str, int]]:
    """(sampling, timestep) of every call that a photo is collected from, in running order: an extreme each."""
    return [(one.name, timestep) for one in manifest.samplings.values() for timestep in one.timesteps]


def collect(
    package: Package,
    models: Mapping[str, onnx.ModelProto],
    layers: Mapping[str, Sequence[Layer]],
    photos: Sequence[Source],
    smallest: int,
    state: State,
    progress: Progress,
) -> dict[str, Observed]:
    """Run ``photos`` one after the other, each by every sampling and with its own noise (its place in the list is the
    seed).

    Goes on where ``state`` ends and saves it after every photo; the result does not depend on that. Raises EngineError
    where a tensor holds NaN or infinity, InputError where the state cannot be written.
    """
    observed = empty(package, layers)
    done = state.load(observed, progress)
    if done:
        progress.note(f"{done} of {len(photos)} photos were collected before; going on from there")
    where = ""

    def watch(stage: str, step: int, seen: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        if stage != LOOP and step > 0:
            return  # outside the loop the next sampling of a photo sees what the first one saw
        for name, values in seen.items():
            if not observed[stage].add(name, step, values):
                raise EngineError(_not_finite(package, where, stage, step, name))
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise EngineError(_not_finite(package, where, stage, step, name))

    graphs = {
        stage: (with_outputs(models[stage], observed[stage].tensors), observed[stage].tensors) for stage in layers
    }
    backend = WatchedBackend(package, graphs, watch)
    with Enhancer(package, backend) as enhancer:
        for seed in range(done, len(photos)):
            where = str(photos[seed].path)
            with progress.task(f"photo {seed + 1} of {len(photos)}: {photos[seed].path.name}"):
                backend.next_photo()
                for sampling in package.manifest.samplings.values():
                    enhance_whole(enhancer, photos[seed].pixels(smallest), seed, sampling)
                state.save(observed, seed + 1)
    return observed


def _tensors(layers: Sequence[Layer]) -> list[str]:
    return list(dict.fromkeys(name for layer in layers for name in layer.tensors))


def _not_finite(package: Package, photo: str, stage: str, step: int, tensor: str) -> str:
    place = f"stage {stage}"
    if stage == LOOP:
        sampling, timestep = denoiser_calls(package.manifest)[step]
        steps = package.manifest.samplings[sampling].timesteps
        place += f", sampling {sampling}, step {steps.index(timestep) + 1} of {len(steps)} (timestep {timestep})"
    return (
        f"{photo}: {place}: {tensor} holds NaN or infinity in the fp32 package; its weights are damaged or this photo "
        "is beyond them. Leave the photo out or build the package again."
    )
