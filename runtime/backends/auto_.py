"""``auto``: open every backend that is here, time each on a small photo, keep the fastest and say why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import BackendUnavailableError, DiffLLError, InputError
from ..package import Package
from ..program import Program, Steps
from ..sampler import make_table
from . import CANDIDATES
from . import open_backend as open_named
from .base import Backend

_PROBE_SIDE = 256  # pixels, before padding: large enough that the convolutions count
_log = logging.getLogger(__name__)


def open_backend(package: Package, providers: Sequence[str] | None, *, frugal: bool = False) -> Backend[Any]:
    """The backend that ran one step on a small photo fastest, of those that open ``package`` here.

    What was tried, and how it went, is logged once (INFO) and kept in the backend's ``why``.
    Raises BackendUnavailableError when none opens it.
    """
    if providers is not None:
        raise InputError("providers= names a backend's own devices; ask for that backend instead of auto.")
    seconds: dict[str, float] = {}
    failures: dict[str, str] = {}
    kept: Backend[Any] | None = None
    for name in CANDIDATES:
        try:
            backend = open_named(name, package, None, frugal=frugal)
            elapsed = _probe(backend, package)
        except DiffLLError as error:
            failures[name] = str(error)
            _log.info("auto leaves out %s: %s", name, error)
            continue
        slower: Backend[Any] | None = backend
        if kept is None or elapsed < min(seconds.values()):
            slower, kept = kept, backend
        seconds[name] = elapsed
        if slower is not None:
            slower.close()
    if kept is None:
        tried = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise BackendUnavailableError(f"no backend opens {package.path} on this machine. {tried}")
    times = ", ".join(f"{name} {1000 * one:.0f} ms" for name, one in sorted(seconds.items(), key=lambda item: item[1]))
    absent = f"; not usable: {', '.join(failures)}" if failures else ""
    why = f"auto: {kept.name} is the fastest here ({_PROBE_SIDE}x{_PROBE_SIDE}, one step: {times}{absent})"
    kept.why = why
    _log.info(why)
    return kept


def _probe(backend: Backend[Any], package: Package) -> float:
    """Seconds of one photo with one step, the second of two."""
    manifest = package.manifest
    side = -(-_PROBE_SIDE // manifest.pad_multiple) * manifest.pad_multiple
    program = Program(backend, manifest, 1, side, side)
    steps = Steps(backend, manifest, make_table(np.asarray(manifest.alphas_cumprod), 1))
    image = np.full((1, 3, side, side), 0.1, np.float32)
    noise = np.zeros((1, 3, side >> manifest.levels, side >> manifest.levels), np.float32)
    elapsed = 0.0
    for _ in range(2):
        started = perf_counter()
        program.run(image, noise, steps)
        elapsed = perf_counter() - started
    return elapsed
