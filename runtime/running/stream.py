"""Frames in, frames out, one after the other: the host's share of a frame beside the engine's share of the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from ..errors import DiffLLError, InputError
from ..image import Pixels


class Slot(Protocol):
    """Room for one frame in flight, with buffers of its own."""

    def prepare(self, frame: Pixels) -> None:
        """The host's work before the engine's. The frame may be changed afterwards."""
        ...

    def submit(self) -> None:
        """The engine's work; may return before it is done. Called in another thread than the rest."""
        ...

    def collect(self) -> Pixels:
        """Wait for the engine, then the host's work after it."""
        ...

    def settle(self) -> None:
        """Wait for the engine; the result is not wanted."""
        ...


def stream(frames: Iterable[Any], check: Callable[[Any], Pixels], open_slot: Callable[[Pixels], Slot]) -> Iterator[Any]:
    """The result of every frame, in order. check: the frame, or InputError. open_slot: called twice, with the first
    frame.

    Two frames are in flight: while the engine works on one, the result of the one before is made and yielded, and the
    one after is taken from ``frames`` and prepared. ``frames`` is advanced here, in the caller's thread; what it
    raises comes out after the results of the frames before.
    """
    source, slots = iter(frames), deque[Slot]()
    pending: deque[tuple[Slot, Future[None]]] = deque()
    problem: Exception | None = None
    size: tuple[int, ...] = ()
    index = 0
    with ThreadPoolExecutor(1, "diffll-stream") as worker:
        try:
            while problem is None:
                try:
                    frame = next(source)
                except StopIteration:
                    break
                except Exception as error:
                    problem = error
                    break
                try:
                    photo = check(frame)
                    size = size or photo.shape
                    if photo.shape != size:
                        raise InputError(
                            f"it is {photo.shape[1]}x{photo.shape[0]} and the first was {size[1]}x{size[0]}; open a "
                            "stream for each size."
                        )
                    if len(slots) < 2:
                        slots.append(open_slot(photo))
                    else:
                        slots.rotate()
                    slot = slots[-1]
                    slot.prepare(photo)
                except InputError as error:
                    problem = InputError(f"frame {index}: {error}")
                    break
                except DiffLLError as error:
                    problem = error
                    break
                pending.append((slot, worker.submit(slot.submit)))
                index += 1
                if len(pending) == 2:
                    yield _result(*pending.popleft())
            while pending:
                yield _result(*pending.popleft())
            if problem is not None:
                raise problem
        finally:
            for slot, submitted in pending:
                if not submitted.cancel():
                    with suppress(DiffLLError):  # another error, or the caller's wish to stop, is on its way
                        submitted.result()
                        slot.settle()


def _result(slot: Slot, submitted: Future[None]) -> Pixels:
    submitted.result()
    return slot.collect()
