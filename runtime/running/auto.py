"""``auto``: open every backend that is here, time each on a small photo, keep the fastest and say why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..backends import instead_of
from ..backends import open_backend as open_named
from ..backends.base import Backend
from ..errors import BackendUnavailableError, DiffLLError, InputError
from ..image import padded_size
from ..names import BACKENDS, CANDIDATES
from ..package.reading import Package
from .speed import one_step

_SIDE = 256  # pixels, before padding: large enough that the convolutions count
_log = logging.getLogger(__name__)


def open_backend(
    name: str, package: Package, providers: str | Sequence[str] | None = None, *, low_memory: bool = False
) -> Backend[Any]:
    """The backend ``name``; for ``auto`` the backend that ran one step on a small photo fastest, of those that open
    ``package`` here.

    What was tried, and how it went, is logged once (INFO) and kept in the backend's ``why``.
    Raises BackendUnavailableError when none opens it; for a backend whose library is not here it names those that are.
    """
    if name != "auto":
        try:
            return open_named(name, package, providers, low_memory=low_memory)
        except BackendUnavailableError as error:
            if instead := instead_of(name, BACKENDS):
                raise BackendUnavailableError(f"{error} {instead}") from error
            raise
    if providers is not None:
        raise InputError("providers= names a backend's own devices; ask for that backend instead of auto.")
    side = padded_size(_SIDE, package.manifest.pad_multiple)
    times: dict[str, float] = {}
    failures: dict[str, str] = {}
    kept: Backend[Any] | None = None
    for candidate in CANDIDATES:
        try:
            backend = open_named(candidate, package, None, low_memory=low_memory)
            elapsed = sum(one_step(backend, package, side).values())
        except DiffLLError as error:
            failures[candidate] = str(error)
            _log.info("auto leaves out %s: %s", candidate, error)
            continue
        slower: Backend[Any] | None = backend
        if kept is None or elapsed < min(times.values()):
            slower, kept = kept, backend
        times[candidate] = elapsed
        if slower is not None:
            slower.close()
    if kept is None:
        tried = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise BackendUnavailableError(f"no backend opens {package.path} on this machine. {tried}")
    told = ", ".join(f"{name} {times[name]:.0f} ms" for name in sorted(times, key=times.__getitem__))
    absent = f"; not usable: {', '.join(failures)}" if failures else ""
    why = f"auto: {kept.name} is the fastest here ({_SIDE}x{_SIDE}, one step: {told}{absent})"
    kept.why = why
    _log.info(why)
    return kept
