"""How fast this machine runs a package: a short probe, kept in the user's cache folder."""

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
from ..names import LOOP, __version__
from ..package.reading import Package
from ..sampler import make_table
from .program import Program, Steps

_SIDE = 512  # pixels
_log = logging.getLogger(__name__)


def speeds(backend: Backend[Any], package: Package) -> dict[str, float]:
    """FLOP a second, as the manifest counts them: ``denoiser``, and ``rest`` of the stages.

    Measured by one photo of 512x512, one step, the second of two; kept for this package, backend, processor count
    and version. Where the cache folder cannot be written it is measured every time.
    """
    key = {
        "package": package.sha256,
        "backend": backend.name,
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
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(key | found))
        os.replace(temporary, path)
    except OSError as error:
        _log.info("the probe's result cannot be kept in %s (%s)", path.parent, error.strerror)
    return found


def cache_folder() -> Path | None:
    """None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "diffll" / "probes"
    except RuntimeError:
        return None


def measure(backend: Backend[Any], package: Package) -> dict[str, float]:
    manifest = package.manifest
    side = padded_size(_SIDE, manifest.pad_multiple)
    times = one_step(backend, package, side)
    flop = {name: cost.flop.at(side, side) for name, cost in manifest.cost.items()}
    if "graph" in times:  # one graph of everything: one speed
        speed = sum(flop.values()) / times["graph"] * 1e3
        return {"denoiser": speed, "rest": speed}
    rest = sum(times[name] for name in flop if name != LOOP)
    return {
        "denoiser": flop.pop(LOOP) / max(times[LOOP], 1e-3) * 1e3,
        "rest": sum(flop.values()) / max(rest, 1e-3) * 1e3,
    }


def one_step(backend: Backend[Any], package: Package, side: int) -> dict[str, float]:
    """Milliseconds by part (``Program.timings``) of a photo of ``side`` x ``side`` padded pixels and one step, the
    second of two."""
    manifest = package.manifest
    program = Program(backend, manifest, 1, side, side)
    steps = Steps(backend, manifest, make_table(np.asarray(manifest.alphas_cumprod), 1))
    image = np.full((1, 3, side, side), 0.1, np.float32)
    noise = np.zeros((1, 3, side >> manifest.levels, side >> manifest.levels), np.float32)
    for _ in range(2):
        program.run(image, noise, steps)
    return program.timings
