"""DiffLL on a device: numpy and one inference engine. ``Enhancer`` is the way in; ``docs`` has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import BackendUnavailableError, DiffLLError, EngineError, InputError, PackageError
from .names import __version__

if TYPE_CHECKING:
    from .enhancer import Enhancer

__all__ = [
    "BackendUnavailableError",
    "DiffLLError",
    "EngineError",
    "Enhancer",
    "InputError",
    "PackageError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "Enhancer":  # numpy comes with it: a command's --help does not need it
        from .enhancer import Enhancer

        return Enhancer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
