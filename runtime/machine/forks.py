"""A process made by ``os.fork`` has its parent's objects and none of its threads: an engine that runs, closes or is
destroyed there waits for threads that do not exist."""

from __future__ import annotations

import ctypes
import os
from typing import TypeVar
from weakref import WeakSet

Native = TypeVar("Native")
_natives: WeakSet[object] = WeakSet()


class Origin:
    """The process that something was opened in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        return os.getpid() == self._pid

    def advice(self, what: str) -> str:
        """What an error says in a process that was forked since."""
        return (
            f"{what} in process {self._pid}, and this is process {os.getpid()}, forked from it, without the "
            "engine's threads; open an enhancer in the process that uses it, and start processes with "
            'multiprocessing.get_context("spawn") or "forkserver".'
        )


class Library:
    """An engine library whose threads and locks serve a whole process: a fork has the locks as they were at that
    moment, held ones too, and none of the threads, so that even objects of its own may wait there for ever."""

    def __init__(self) -> None:
        self._origin: Origin | None = None

    def use(self, what: str) -> str:
        """Before anything of the library is made: what an error says where it was used before a fork; else ""."""
        self._origin = self._origin or Origin()
        return "" if self._origin.is_here else self._origin.advice(what)


def keep_in_forks(native: Native) -> Native:
    """``native``, an engine's object with threads: in a forked process it is never destroyed, at its end neither."""
    _natives.add(native)
    return native


def _keep() -> None:
    for native in list(_natives):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)
