"""How fast this machine runs a package, by a short measurement."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.base import Backend
from ..image import padded_size
from ..names import LOOP
from ..package.reading import Package
from ..sampler import evenly_spaced
from .laps import Laps
from .program import Program, Steps

_SIDE = 512  # pixels


def speeds(backend: Backend[Any], package: Package) -> dict[str, float]:
    """FLOP a second, as the manifest counts them: ``denoiser``, and ``rest`` of the stages.

    Measured by one photo of 512x512 and one step, in a second or two: nothing is kept that a new library, provider or
    neighbour on the machine could make wrong. Raises InputError or EngineError.
    """
    side = padded_size(_SIDE, package.manifest.pad_multiple)
    times = one_step(backend, package, side)
    flop = {name: cost.flop.at(side, side) for name, cost in package.manifest.cost.items()}
    if "graph" in times:  # one graph of everything: one speed
        return dict.fromkeys(("denoiser", "rest"), sum(flop.values()) / times["graph"] * 1e3)
    rest = sum(times[name] for name in flop if name != LOOP)
    return {
        "denoiser": flop.pop(LOOP) / max(times[LOOP], 1e-3) * 1e3,
        "rest": sum(flop.values()) / max(rest, 1e-3) * 1e3,
    }


def one_step(backend: Backend[Any], package: Package, side: int) -> dict[str, float]:
    """Milliseconds by part (``Laps.ms``) of a photo of ``side`` x ``side`` padded pixels and one step, the second of
    two."""
    manifest = package.manifest
    program = Program(backend, manifest, 1, side, side)
    steps = Steps(backend, manifest, evenly_spaced(np.asarray(manifest.alphas_cumprod), 1))
    image = np.full((1, 3, side, side), 0.1, np.float32)
    noise = np.zeros((1, *manifest.noise_shape(side, side)), np.float32)
    program.run(image, noise, steps, Laps())
    laps = Laps()
    program.run(image, noise, steps, laps)
    return laps.ms
