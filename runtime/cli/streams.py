"""stdin, stdout and stderr as a command has them, whoever started it: closed, full, or a pipe that nobody reads.

What is said on stderr may be lost, and the work goes on. stdout carries a product: where it cannot be written, the
command fails, and says so.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

_CLEAR = b"\r\x1b[2K"  # to the line's begin; erase it


def open_standard_streams() -> None:
    """Once, as a command begins. Streams that were put in place of the process's own (by a test, say) are kept."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Closed. The next file that is opened would take its number, and a library's log would be written into it.
            # It opens at the lowest number that is free, this one; for reading, so that a product fails to be written.
            os.open(os.devnull, os.O_RDONLY)
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is sys.__stderr__:
        told: Any = sys.stderr
        buffer = io.BufferedWriter(_Stderr(2, "wb", closefd=False))
        encoding = getattr(told, "encoding", None) or "utf-8"
        sys.stderr = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)


def tell(line: object) -> None:
    """A line on stdout that says where the work is: it may be lost, the work is done."""
    try:
        print(line, flush=True)
    except OSError:
        drop_stdout()


def drop_stdout() -> None:
    """After it failed: what it still holds goes nowhere, in place of failing once more as the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class _Stderr(io.FileIO):
    """Loses what cannot be written. In a terminal what comes after a line that is rewritten (a progress bar) takes its
    place."""

    _rewritten = False

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        begin = _CLEAR if self._rewritten and not content.startswith(b"\r") else b""
        if self.isatty():
            self._rewritten = content.startswith(b"\r") and not content.endswith((b"\n", _CLEAR))
        try:
            written: int | None = super().write(begin + content)
        except OSError:
            written = None
        return len(content) if written is None else max(0, written - len(begin))
