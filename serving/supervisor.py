"""Keeps one engine worker running: starts it, notices that it ended or hangs, and starts another."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from runtime.errors import EngineError

from . import frames
from .desk import Desk
from .metrics import Metrics
from .settings import EngineSettings

SILENT_S = 6.0  # a worker that is ready says every second that it lives
OPEN_S = 900.0  # to load engines, and for `auto` to time them
_LONGEST_PAUSE_S = 30.0
_PIPE_BYTES = 1 << 20
# The server's sys.path goes along: the worker then sees the very same libraries.
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from serving.worker import main; main()"
_log = logging.getLogger("serving")


class Supervisor:
    """One worker at a time for ``desk``."""

    def __init__(self, settings: EngineSettings, desk: Desk, metrics: Metrics) -> None:
        self._settings, self._desk, self._metrics = settings, desk, metrics
        self._process: Process | None = None

    async def run(self) -> None:
        """For ever. Raises EngineError where the first worker says that it cannot open the package."""
        pause, first = 0.0, True
        while True:
            process = await self._start()
            ready, failure = False, ""
            try:
                failure = await self._first_word(process)
                ready = not failure
                if ready:
                    await self._listen(process)
            except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError) as error:
                if isinstance(error, asyncio.TimeoutError):
                    _log.error("engine worker %d gives no sign of life; it is killed", process.pid)
            finally:
                await _end(process)
                how = _how(process.returncode)
                lost = self._desk.disconnect(f"the engine ended ({how}) while requests waited; it is being started.")
                self._metrics.engine_ended(ready)
            if failure and first:
                raise EngineError(failure)
            _log.error("engine worker %d ended (%s); %d requests are answered with 503; another is started",
                       process.pid, failure or how, lost)  # fmt: skip
            first, pause = False, 0.0 if ready else min(_LONGEST_PAUSE_S, 2 * pause or 1.0)
            await asyncio.sleep(pause)

    async def _start(self) -> Process:
        words = [sys.executable, "-c", _CHILD, json.dumps(sys.path), json.dumps(asdict(self._settings))]
        self._process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, limit=_PIPE_BYTES)
        return self._process

    async def _first_word(self, process: Process) -> str:
        """Empty when it is ready, else why it is not."""
        assert process.stdout is not None
        header, _ = await asyncio.wait_for(frames.receive(process.stdout), OPEN_S)
        if header["event"] == "failed":
            return str(header["error"])
        info = header["info"]
        self._desk.connect(lambda message, content: _send(process, message, content), info)
        self._metrics.engine_ready(info)
        what = f"{info['backend']}, {info['precision']}, sampling {info['sampling']}"
        _log.info("engine worker %d is ready: %s%s", process.pid, what, f" ({info['why']})" if info["why"] else "")
        return ""

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        while True:
            header, content = await asyncio.wait_for(frames.receive(process.stdout), SILENT_S)
            if header.get("event") == "alive":
                self._metrics.alive(header["resident_bytes"])
            else:
                self._desk.answered(header, content)


def _send(process: Process, header: dict[str, Any], content: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(frames.head(header, len(content)))
    if content:
        process.stdin.write(content)


async def _end(process: Process) -> None:
    """A worker whose stdin is closed ends by itself; one that does not is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 0.5)
    except asyncio.TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
    return f"exit code {code}"
