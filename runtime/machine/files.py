"""Files and folders that appear whole or not at all, and the check that nobody else can write to them.

Both are written under a name of their own beside their place, ``.NAME.RANDOM.part``, and renamed when they are whole;
whatever ends the block, an interrupt too, takes them away. Only a process that is killed leaves that name behind.
Nothing is flushed to the disk: this protects from a killed process, not from a power cut. Errors are OSError's:
the caller knows what its user can do about them.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_HERE, _RENAME_EXCHANGE = -100, 2  # AT_FDCWD and a flag of Linux's renameat2


@contextmanager
def write_file(path: Path, *, overwrite: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write into, which becomes ``path`` in one step when the block ends without an exception.

    overwrite: replace a file, or a symbolic link itself, that is there; else FileExistsError, also if it appeared
    a moment ago. mode: less the umask, as for ``open``.
    """
    work = _beside(path, "part")
    try:
        with open(work, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
        if overwrite:
            os.replace(work, path)
        else:
            _publish(work, path)
    finally:
        with suppress(OSError):
            work.unlink()


@contextmanager
def write_folder(path: Path, *, overwrite: bool, mode: int = 0o777) -> Iterator[Path]:
    """An empty folder to write into, which becomes ``path`` when the block ends without an exception.

    overwrite: replace what is there; else FileExistsError. On Linux the two change names in one step. Elsewhere it
    takes two renames: a process that is killed between them leaves no ``path``, the old folder whole as
    ``.NAME.RANDOM.old`` and the new one whole as ``.NAME.RANDOM.part``. mode: less the umask, as for ``mkdir``.
    """
    work = _beside(path, "part")
    try:
        work.mkdir(mode)
        yield work
        if overwrite:
            _exchange(work, path)
        elif os.path.lexists(path):
            raise FileExistsError(f"{path} exists already")
        else:
            os.rename(work, path)  # fails too where a folder with content appeared just now
    finally:
        _remove(work)


def only_ours(found: os.stat_result) -> bool:
    """Whether this user or root owns it and nobody else can write to it. Always on Windows: its modes do not tell."""
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return os.name != "posix" or (found.st_uid in (os.getuid(), 0) and not shared)


def _beside(path: Path, ending: str) -> Path:
    # random, for two threads share a process id; cut, for a file's name ends at 255 bytes and a character takes up to 4
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.{ending}")


def _publish(work: Path, path: Path) -> None:
    """Give the finished file its name. Raises FileExistsError where the name is taken."""
    try:
        os.link(work, path)
    except OSError:  # it is taken, or exFAT and some network folders have no hard links: reserve the name, then replace
        path.touch(exist_ok=False)
        try:
            os.replace(work, path)
        except BaseException:
            path.unlink()
            raise


def _exchange(work: Path, path: Path) -> None:
    if _swap(work, path):
        return
    old = _beside(path, "old")
    try:
        with suppress(FileNotFoundError):
            os.rename(path, old)
        os.rename(work, path)
    except BaseException:
        with suppress(OSError):  # there was no old one, or an interrupt came when the new one was in place
            os.rename(old, path)
        raise
    finally:
        if os.path.lexists(path):
            _remove(old)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the disk cannot, or a name is not there."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # a symbolic link, which the old place may have been
        folder.unlink()
