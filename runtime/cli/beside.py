"""Work beside the engine: items are made ready ahead of it, and results are put away behind it, both in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], size: int, stop: Callable[[], None] | None = None) -> Generator[T, None, None]:
    """The same items, taken in a thread of their own, at most ``size`` before they are wanted.

    What the iterable raises comes out in its place. stop: called when the generator is closed early, so that the
    thread, which may wait for an item, comes to its end.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "diffll-ahead") as worker:
        waiting: deque[Future[Any]] = deque(worker.submit(next, source, end) for _ in range(size))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(worker.submit(next, source, end))
                yield item
        finally:
            if stop is not None:
                stop()
            for one in waiting:
                one.cancel()


class Behind:
    """Calls made in a thread of their own, in the order in which they were given; at most ``size`` wait."""

    def __init__(self, size: int) -> None:
        self._size, self._waiting = size, deque[Future[Any]]()
        self._worker = ThreadPoolExecutor(1, "diffll-behind")

    def submit(self, call: Callable[..., object], *args: object) -> None:
        """Raises what an earlier call raised."""
        self._waiting.append(self._worker.submit(call, *args))
        if len(self._waiting) > self._size:
            self._waiting.popleft().result()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for all calls; after an error drop those that have not begun."""
        try:
            while self._waiting:
                one = self._waiting.popleft()
                if kind is None:
                    one.result()
                else:
                    one.cancel()
        finally:
            self._worker.shutdown(wait=True, cancel_futures=True)
