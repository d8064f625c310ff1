"""On the disk, not in the system's memory alone: what is synced here is still there after a power cut.

A rename that is on the disk before the content that it names leaves a file of 0 bytes, and a new name is lost with the
folder that was not synced. So the order is: the content, the folders that hold it, the rename, the folder of the name.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS)


def sync(descriptor: int) -> None:
    """Write what the system holds of an open file to the disk. Raises OSError where the disk does not take it."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync leaves it in the disk's own memory
    if full is not None:
        with suppress(OSError):  # a network disk
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """The content of a file. Raises OSError."""
    access = os.O_RDWR if os.name == "nt" else os.O_RDONLY
    descriptor = os.open(path, access | getattr(os, "O_NOFOLLOW", 0))
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """The names in a folder. Nothing on a system or disk that cannot (Windows, some network folders), and in a folder
    that may not be read. Raises OSError where the disk fails."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        sync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Every file in a folder and below, and their names. Raises OSError."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                sync_file(path)
        sync_folder(Path(place))


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it that are missing, and put their names on the disk; those that were made, the
    deepest first. Raises OSError."""
    missing = []
    for one in (path, *path.parents):
        if one.is_dir():
            break
        missing.append(one)
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)
    return missing
