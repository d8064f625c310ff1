"""Files that a stranger may have put there, read safely: no link is followed, no pipe or device is waited for, and the
size is known before a byte is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file of at most ``limit`` bytes, and what the open file is, owner and mode too. follow: a
    symbolic link is taken for what it points to.

    Raises OSError; where the file is something else or larger, its ``strerror`` says so.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if not follow and stat.S_ISLNK(os.lstat(path).st_mode):
        raise OSError(0, "a symbolic link")
    place = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    with os.fdopen(place, "rb") as file:
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "no regular file")
        if found.st_size > limit:
            raise OSError(0, f"{found.st_size:,} bytes, and at most {limit:,} are read")
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew
        raise OSError(0, f"more than {limit:,} bytes")
    return content, found
