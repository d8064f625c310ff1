"""What a native library writes to stderr by itself, kept from there."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_one = threading.Lock()  # two that exchange it at once would put the other's file back in its place


@contextmanager
def held_stderr() -> Iterator[list[str]]:
    """What is written to the process's stderr inside the block goes, a line each, into the list when the block ends.
    It is the whole process's: a line that another thread writes in that time is held too, so keep the block short."""
    lines: list[str] = []
    with _one, ExitStack() as stack:
        before = -1
        with suppress(OSError):  # stderr is closed, or there is no place for temporary files: then nothing is held
            file = stack.enter_context(tempfile.TemporaryFile())
            before = os.dup(2)
        if before < 0:
            yield lines
            return
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
