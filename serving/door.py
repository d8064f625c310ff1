"""Around every request: its id, its line in the log, its count, and an answer that arrives although the body was not
read."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

REQUEST_ID = "x-request-id"
_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_UNREAD_BYTES, _UNREAD_S = 256 << 20, 3.0
_log = logging.getLogger("serving.access")


class Door:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get(REQUEST_ID, "")
        visit = _Visit(given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex, headers, receive, send)
        scope.setdefault("state", {}).update(request_id=visit.id, told=visit.told)
        try:
            await self._app(scope, visit.receive, visit.send)
        finally:
            seconds = time.perf_counter() - visit.started
            path = scope["path"] if scope["path"] in self._routes else "other"
            self._metrics.request(f"{scope['method']} {path}", visit.status, seconds)
            told = "".join(f" {name}={value}" for name, value in visit.told.items())
            _log.info("%s %s %s %d %.1f ms%s", visit.id, scope["method"], _shown(scope), visit.status,
                      1000 * seconds, told)  # fmt: skip


class _Visit:
    """One request."""

    def __init__(self, identity: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        self.id, self.started = identity, time.perf_counter()
        self.status = 500
        self.told: dict[str, object] = {}
        """What the log line says besides."""
        self._receive, self._send = receive, send
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        # A client that waits for "100 Continue" sends no body after another answer.
        self._unread = has_body and "expect" not in headers

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (REQUEST_ID.encode(), self.id.encode())]
        elif self._unread and not message.get("more_body", False):
            # Bytes that are left unread when a connection is closed turn the answer into a reset.
            await self._send({**message, "more_body": True})
            await self._read_on()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _read_on(self) -> None:
        async def rest() -> None:
            size = 0
            while self._unread and size < _UNREAD_BYTES:
                size += len((await self.receive()).get("body", b""))

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rest(), _UNREAD_S)


def _shown(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path = scope["path"] + (f"?{query}" if query else "")
    return "".join(one if one.isprintable() else "?" for one in path)
