"""A request's body, counted while it is read, and the work for it, given up when its client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from .refused import Refused

QUIET_S = 30.0  # without a byte
T = TypeVar("T")


async def read_body(request: Request, most: int) -> bytes:
    """Raises Refused (413, 408, 415) and ClientDisconnect."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Refused(415, f"the body is packed ({encoding}); send it as it is: photos are packed themselves.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    parts, size, more = [], 0, True
    while more:
        try:
            message = await asyncio.wait_for(request.receive(), QUIET_S)
        except asyncio.TimeoutError:
            raise Refused(408, f"the rest of the body did not come in {QUIET_S:g} s.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most:,} bytes, the limit of this server.")


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives. When the client goes away it is cancelled, and ClientDisconnect raised."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)
