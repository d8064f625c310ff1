"""``auto``: open every backend that is here, time each on a small photo, keep the fastest and say why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..errors import BackendUnavailableError, DiffLLError, InputError
from ..image import padded_size
from ..package import Package
from ..probe import one_step
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
    """Seconds of one photo with one step."""
    side = padded_size(_PROBE_SIDE, package.manifest.pad_multiple)
    return sum(one_step(backend, package, side).values()) / 1000
