"""Files and folders that appear whole or not at all, after a power cut too, and the check that nobody else can write to
them.

Both get a name of their own beside their place (``leftovers``), are synced (``durable``) and renamed. Whatever
ends the block, an interrupt too, takes that name away; where a process was killed, the next one that writes into the
same folder does. Errors are OSError's: the caller knows what its user can do about them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .durable import sync, sync_folder, sync_tree
from .leftovers import claimed, lock, old_name, remove, tidy, unlock, work_name

_HERE, _NOREPLACE, _EXCHANGE = -100, 1, 2  # AT_FDCWD and flags of Linux's renameat2


@contextmanager
def write_file(path: Path, *, overwrite: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write into, which becomes ``path`` in one step when the block ends without an exception.

    overwrite: replace a file, or a symbolic link itself, that is there; else FileExistsError, also if it appeared
    a moment ago. mode: less the umask, as for ``open``.
    """

    def make(work: Path) -> BinaryIO:
        return open(work, "xb", opener=lambda name, flags: os.open(name, flags, mode))

    tidy(path.parent)
    with claimed(lambda: work_name(path), make) as (work, file):
        with file:
            yield file
            file.flush()
            sync(file.fileno())
        if overwrite:
            os.replace(work, path)
        else:
            _publish(work, path)
        sync_folder(path.parent)


@contextmanager
def write_folder(path: Path, *, overwrite: bool, mode: int = 0o777) -> Iterator[Path]:
    """An empty folder to write into, which becomes ``path`` when the block ends without an exception.

    overwrite: replace what is there; else FileExistsError. On Linux the two change names in one step. Elsewhere it
    takes two renames: a process that is killed between them leaves no ``path``, the old folder whole as
    ``.NAME.MARK.old`` and the new one whole as ``.NAME.MARK.part``; the next that writes beside them, or asks with
    ``tidy``, gives the new one its name. mode: less the umask, as for ``mkdir``.
    """
    tidy(path.parent)
    with claimed(lambda: work_name(path), lambda work: work.mkdir(mode)) as (work, _):
        yield work
        sync_tree(work)
        if overwrite:
            _exchange(work, path)
        elif os.path.lexists(path):
            raise FileExistsError(f"{path} exists already")
        else:
            os.rename(work, path)  # fails too where a folder with content appeared just now
        sync_folder(path.parent)  # before the old one is removed


def rewrite_file(path: Path, content: bytes) -> None:
    """Put ``content`` into a file, whole or not at all. A symbolic link stays one, and a file keeps its mode. Raises
    OSError."""
    target, mode = Path(os.path.realpath(path)), None
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(target.stat().st_mode)
        if not os.access(target, os.W_OK):  # a rename would not ask
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    with write_file(target, overwrite=True) as file:
        file.write(content)
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)


def only_ours(found: os.stat_result) -> bool:
    """Whether this user or root owns it and nobody else can write to it. Always on Windows: its modes do not tell."""
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return os.name != "posix" or (found.st_uid in (os.getuid(), 0) and not shared)


def _publish(work: Path, path: Path) -> None:
    """Give the finished file its name. Raises FileExistsError where the name is taken."""
    try:
        os.link(work, path)
    except OSError:  # it is taken, or exFAT and some network folders have no hard links
        if _rename(work, path, _NOREPLACE):
            return
        path.touch(exist_ok=False)  # reserve the name, then replace
        try:
            os.replace(work, path)
        except BaseException:
            path.unlink()
            raise


def _exchange(work: Path, path: Path) -> None:
    """Put ``work`` in the place of what is there; that is removed by the end of the caller's claim, or here."""
    held = _hold(path)  # the old one too: not to be taken for a leftover while its removal waits for the disk
    try:
        if _swap(work, path):
            sync_folder(path.parent)
            remove(work)
            return
        old = old_name(work)
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
                sync_folder(path.parent)
                remove(old)
    finally:
        unlock(held)


def _hold(path: Path) -> int | None:
    with suppress(OSError):
        return lock(path)
    return None


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the disk cannot, or a name is not there."""
    return _rename(one, other, _EXCHANGE)


def _rename(one: Path, other: Path, flag: int) -> bool:
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), flag) == 0)
