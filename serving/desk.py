"""Where requests wait for the engine worker: a bounded number, in their order. All of it runs on the event loop."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .frames import Header
from .refused import Refused

AT_WORK = 3  # requests that the worker has: one is read, one is in the engine, one is written
DOWN = "the engine is not running; it is being started."


@dataclass
class Job:
    """A request for the worker."""

    header: Header
    content: bytes
    answer: asyncio.Future[Reply]
    arrived: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    """Seconds until the worker got it."""


@dataclass(frozen=True)
class Reply:
    """What the worker made of a request."""

    header: Header
    content: bytes
    wait_ms: float


class Desk:
    """``send`` gives a message to the worker; it is None while no worker is ready."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        """Requests between their first byte and their answer."""
        self.waiting: OrderedDict[int, Job] = OrderedDict()
        self.at_work: dict[int, Job] = {}
        self.info: dict[str, Any] = {}
        """What the worker told of itself when it became ready."""
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._send: Callable[[Header, bytes], None] | None = None
        self._numbers = itertools.count(1)
        self._photo_s = 1.0  # seconds a photo, as of late

    @property
    def ready(self) -> bool:
        return self._send is not None and not self.draining

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held by a request from before its body is read. Raises Refused."""
        self.check()
        if self.taken >= self.places:
            soon = min(60, math.ceil(self._photo_s * max(1, len(self.waiting) // 2)))
            what = f"the server is busy: all {self.places} places are taken; try again in {soon} s."
            raise Refused(429, what, {"retry-after": str(soon)})
        self.taken += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.taken -= 1
            if not self.taken:
                self.idle.set()

    def check(self) -> None:
        """Raise Refused where no request is taken."""
        if self.draining:
            raise Refused(503, "the server is shutting down.", {"retry-after": "5"})
        if self._send is None:
            raise _down(DOWN)

    async def ask(self, header: Header, content: bytes) -> Reply:
        """The worker's answer. Raises Refused. Cancelled, it gives the place in the queue to the next."""
        if self._send is None:
            raise _down(DOWN)
        number = next(self._numbers)
        job = Job({**header, "id": number}, content, asyncio.get_running_loop().create_future())
        self.waiting[number] = job
        self._pass_on()
        try:
            return await job.answer
        finally:
            self.waiting.pop(number, None)
            if number in self.at_work and self._send is not None:
                self._send({"left": number}, b"")

    def connect(self, send: Callable[[Header, bytes], None], info: dict[str, Any]) -> None:
        """A worker is ready."""
        self._send, self.info = send, info
        self._pass_on()

    def disconnect(self, why: str) -> int:
        """It is gone: whoever waits is told ``why``. Returns how many there were."""
        self._send = None
        jobs = [*self.at_work.values(), *self.waiting.values()]
        self.at_work.clear()
        self.waiting.clear()
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(_down(why))
        return len(jobs)

    def answered(self, header: Header, content: bytes) -> None:
        """By the worker."""
        job = self.at_work.pop(header["id"])
        if "engine" in header["ms"]:
            self._photo_s += 0.2 * (header["ms"]["engine"] / 1000 - self._photo_s)
        if not job.answer.done():
            if "error" in header:
                job.answer.set_exception(Refused(header["status"], header["error"]))
            else:
                job.answer.set_result(Reply(header, content, 1000 * job.waited))
        self._pass_on()

    def _pass_on(self) -> None:
        while self._send is not None and self.waiting and len(self.at_work) < AT_WORK:
            number, job = self.waiting.popitem(last=False)
            self.at_work[number] = job
            job.waited = time.monotonic() - job.arrived
            self._send(job.header, job.content)
            job.content = b""


def _down(why: str) -> Refused:
    return Refused(503, why, {"retry-after": "3"})
