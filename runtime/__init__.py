"""DiffLL on a device: numpy and one inference engine. ``Enhancer`` is the way in; ``docs`` has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import BackendUnavailableError, DiffLLError, EngineError, InputError, PackageError

if TYPE_CHECKING:
    from .enhancer import Enhancer

__version__ = "0.1.0"
__all__ = ["BackendUnavailableError", "DiffLLError", "EngineError", "Enhancer", "InputError", "PackageError"]


def __getattr__(name: str) -> Any:
    if name == "Enhancer":  # numpy comes with it: a command's --help does not need it
        from .enhancer import Enhancer

        return Enhancer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
