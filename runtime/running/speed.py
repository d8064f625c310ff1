"""How fast this machine runs a package: a short measurement, kept in the user's cache folder."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..image import padded_size
from ..machine.cores import usable_cores
from ..machine.files import write_file
from ..names import LOOP, __version__
from ..package.reading import Package
from ..sampler import make_table
from .laps import Laps
from .program import Program, Steps

_SIDE = 512  # pixels
_log = logging.getLogger(__name__)


def speeds(backend: Backend[Any], package: Package) -> dict[str, float]:
    """FLOP a second, as the manifest counts them: ``denoiser``, and ``rest`` of the stages.

    Measured by one photo of 512x512, one step, the second of two; kept for everything that the key holds. Where the
    cache folder cannot be written it is measured every time.
    """
    key = {
        "package": package.sha256,
        "backend": backend.name,
        "runs_on": backend.runs_on,
        "cores": usable_cores(),
        "machine": platform.node(),
        "version": __version__,
    }
    folder = cache_folder()
    if folder is None:
        return measure(backend, package)
    path = folder / f"{sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
    try:
        kept = json.loads(path.read_bytes())
        found = {name: float(kept[name]) for name in ("denoiser", "rest")}
        if all(math.isfinite(value) and value > 0 for value in found.values()):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none there, or a damaged one: measured again
    found = measure(backend, package)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with write_file(path, overwrite=True, mode=0o600) as file:
            file.write(json.dumps(key | found).encode())
    except OSError as error:
        _log.info("the measured speed cannot be kept in %s (%s)", folder, error.strerror)
    return found


def cache_folder() -> Path | None:
    """None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "diffll" / "speeds"
    except RuntimeError:
        return None


def measure(backend: Backend[Any], package: Package) -> dict[str, float]:
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
    steps = Steps(backend, manifest, make_table(np.asarray(manifest.alphas_cumprod), 1))
    image = np.full((1, 3, side, side), 0.1, np.float32)
    noise = np.zeros((1, *manifest.noise_shape(side, side)), np.float32)
    program.run(image, noise, steps, Laps())
    laps = Laps()
    program.run(image, noise, steps, laps)
    return laps.ms
