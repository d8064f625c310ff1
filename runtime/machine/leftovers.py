"""What a process needs for a while, and how the next one knows that its maker is gone.

A file or folder that is not whole yet is called ``.NAME.KERNEL-RANDOM.part`` and stands beside its place; a scratch
folder is called ``diffll-NAME-KERNEL-RANDOM`` and stands among the temporary files. The maker holds a lock (flock) on
it for as long as it needs it, and the kernel takes the lock back when the process ends, however it ends. So what
another process can lock was left behind. Process ids would not tell that: two containers have the same ones.

Locks may not reach other kernels (a network folder, a virtual machine), so what another kernel made, or this one before
it was started again, is left alone for a day. Windows has no such lock: nothing is removed there.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from .durable import make_folder, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
_MARK = r"(?:(?P<kernel>[0-9a-f]{8})-)?[0-9a-f]{16}"
_WORK = re.compile(rf"\.(?P<name>.+)\.{_MARK}\.(?:part|old)", re.DOTALL)
_DAY = 86400.0
_NAME_BYTES = 200  # most disks end a file's name at 255
_tidied: set[str] = set()
_held: set[Path] = set()


def work_name(path: Path) -> Path:
    """A new name beside ``path`` for what is to become it."""
    name = path.name
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:40] + "~"  # a character takes up to 4 bytes
    return path.with_name(f".{name}.{_mark()}.part")


def old_name(work: Path) -> Path:
    """Where the folder goes for a moment that ``work`` replaces."""
    return work.with_suffix(".old")


@contextmanager
def claimed(name: Callable[[], Path], make: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """(the path of a new file or folder that is this block's alone, what ``make`` gave). Whatever has that name when
    the block ends is removed.

    name: gives a free name. make: makes it, and raises where it is there already. Raises OSError.
    """
    while True:
        path = name()
        _held.add(path)
        try:
            made = make(path)
            with suppress(BlockingIOError, FileNotFoundError):  # a cleaner came between the making and the lock
                descriptor = lock(path)
                break
        except BaseException:
            _drop(path)
            raise
        _held.discard(path)
    try:
        yield path, made
    finally:
        _drop(path)
        unlock(descriptor)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """An empty folder among the temporary files, removed when the block ends. Those of the same name that killed
    processes left go first. name: letters that say what it is for. Raises OSError."""
    place, start = Path(tempfile.gettempdir()), f"diffll-{name}-"
    _clean(place, re.compile(f"{re.escape(start)}{_MARK}"))
    with claimed(lambda: place / f"{start}{_mark()}", lambda path: path.mkdir(mode=0o700)) as (path, _):
        yield path


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made where it is missing; what was made and holds nothing goes when the block ends.
    Raises BlockingIOError where another process holds it, and OSError."""
    while True:
        made = make_folder(folder)
        with suppress(FileNotFoundError):  # its holder removed it just now
            descriptor = lock(folder)
            break
    try:
        yield
    finally:
        for one in made:
            with suppress(OSError):
                one.rmdir()
        unlock(descriptor)


def tidy(folder: Path) -> None:
    """Finish in ``folder`` what killed processes had begun, and remove what they left. Once a process and folder; where
    it cannot be done nothing happens."""
    _clean(folder, _WORK)


def remove_held() -> None:
    """Remove what this process works on: for one that leaves without ending its blocks."""
    for path in list(_held):
        remove(path)


def lock(path: Path) -> int | None:
    """Lock a file or folder until ``unlock``, or until the process ends. None: nobody can (Windows, disks without
    locks).

    Raises BlockingIOError where somebody holds it, FileNotFoundError where it is gone or another has its name.
    """
    if fcntl is None:
        return None
    found = os.lstat(path)
    access = os.O_RDWR if stat.S_ISREG(found.st_mode) else os.O_RDONLY  # network folders lock what can be written
    try:
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            raise FileNotFoundError(f"{path} is another one now")
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise
        return None
    return descriptor


def unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link itself, or a folder with its content; what cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def _drop(path: Path) -> None:
    remove(path)
    _held.discard(path)


def _clean(folder: Path, names: re.Pattern[str]) -> None:
    place = os.path.abspath(folder)
    if fcntl is None or place + names.pattern in _tidied:
        return
    _tidied.add(place + names.pattern)
    try:
        found = sorted(os.listdir(place))  # .old before .part
    except OSError:
        return
    for name in found:
        match = names.fullmatch(name)
        if match:
            path = Path(place, name)
            with suppress(OSError):
                descriptor = lock(path) if _is_left(path, match["kernel"]) else None
                try:
                    if descriptor is not None:
                        _finish(path, match.groupdict().get("name", ""))
                finally:
                    unlock(descriptor)


def _is_left(path: Path, kernel: str | None) -> bool:
    """Whether it may be looked at: this user's, no link, and made where our locks reach or long ago."""
    found = os.lstat(path)
    plain = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    here = kernel == _kernel() or time.time() - found.st_mtime > _DAY
    return plain and found.st_uid == os.geteuid() and here


def _finish(path: Path, name: str) -> None:
    """Remove what was left. But where a folder was being replaced in two renames and nothing has its name, the new one,
    which was whole, gets it, or else the old one."""
    if path.suffix == ".old" and not os.path.lexists(target := path.with_name(name)):
        if name.endswith("~"):
            return  # the name was cut: which one it was is not known
        work = path.with_suffix(".part")
        if not os.path.lexists(work):
            os.rename(path, target)
            return
        descriptor = lock(work)
        try:
            os.rename(work, target)
            sync_folder(path.parent)
        finally:
            unlock(descriptor)
    elif path.suffix == ".part" and os.path.lexists(path.with_suffix(".old")):
        return  # whose maker lives
    remove(path)


def _mark() -> str:
    return f"{_kernel()}-{secrets.token_hex(8)}"  # random, for two threads share a process id, and two containers


@functools.cache
def _kernel() -> str:
    """8 hex digits that stand for the running kernel: the same in all of its containers."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        text = os.uname().nodename if hasattr(os, "uname") else ""
    return sha256(text.encode()).hexdigest()[:8]
