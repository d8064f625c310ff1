"""Requests that are answered with an error: its code, and one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.errors import DiffLLError, InputError, OutOfMemoryError, TooLargeError, UnsupportedFormatError, one_line


class Refused(Exception):
    """A request is answered with ``status`` and the sentence ``message``."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


_STATUS: tuple[tuple[type[DiffLLError], int], ...] = (
    (TooLargeError, 413),
    (OutOfMemoryError, 413),
    (UnsupportedFormatError, 415),
    (InputError, 400),
)


def refusal(error: Exception) -> Refused:
    """What a client is told of ``error``."""
    if isinstance(error, Refused):
        return error
    if not isinstance(error, DiffLLError):
        return Refused(500, f"the server failed: {type(error).__name__}; its log has more.")
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return Refused(status, one_line(error, 1000))
