"""The thread that an NVIDIA provider's sessions are opened and run in.

onnxruntime keeps captured CUDA graphs, cuBLAS and cuDNN handles a thread: runs from many threads would capture anew in
each and keep all of it. And it captures in CUDA's global mode, in which a copy or an allocation of another thread fails
and spoils the capture; so copies wait until a capture is over. Replays need no such care.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..base import Job, Times

Result = TypeVar("Result")


class Owner:
    """One thread, and the lock of what no other thread may do while it captures."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "diffll-onnxruntime", initializer=self._remember)
        self._thread = 0
        self.capturing = threading.Lock()
        """Held by a run that captures, and by every copy and allocation."""

    def _remember(self) -> None:
        self._thread = threading.get_ident()

    def run(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns or raises, in the thread."""
        if threading.get_ident() == self._thread:
            return work()
        return self._pool.submit(work).result()

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        self._pool.shutdown()


class OwnedJob:
    """A job that is submitted in the owner's thread."""

    def __init__(self, job: Job, owner: Owner) -> None:
        self._job, self._owner = job, owner

    def submit(self) -> None:
        self._owner.run(self._job.submit)

    def wait(self) -> Times:
        return self._job.wait()
