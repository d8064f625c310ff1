"""The server's life: it listens, keeps its engine worker running, and drains when it is told to end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import uvicorn

from runtime.errors import InputError

from .app import App
from .desk import Desk
from .metrics import Metrics
from .settings import Settings
from .supervisor import Supervisor

_log = logging.getLogger("serving")


class _Server(uvicorn.Server):
    """Without uvicorn's own signals, which would end the process by them."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def run(settings: Settings) -> int:
    """Until SIGTERM or Ctrl-C; returns 0 after the requests at hand were answered. Raises InputError, EngineError."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    with _listen(settings.host, settings.port) as listener:
        desk = Desk(settings.queue)
        metrics = Metrics(desk)
        app = App(desk, metrics, settings.max_body).asgi()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", http="h11", server_header=False
        )
        config.load()
        server = _Server(config)
        _on_signals(server, desk)
        where, port = listener.getsockname()[:2]
        _log.info("listening on http://%s:%d/", f"[{where}]" if ":" in where else where, port)
        watching = asyncio.create_task(Supervisor(settings.engine, desk, metrics).run())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait({watching, serving}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        failed = watching.done()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching  # raises where the package cannot be opened
        assert not failed
        _log.info("ended; all requests were answered")
        return 0


def _on_signals(server: uvicorn.Server, desk: Desk) -> None:
    """The first one drains, and a second one ends at once."""

    async def drain() -> None:
        await desk.idle.wait()
        server.should_exit = True

    tasks = []

    def stop() -> None:
        if desk.draining:
            server.force_exit = server.should_exit = True
            return
        _log.info("shutting down: %d requests are finished first, and no other is taken", desk.taken)
        desk.draining = True
        tasks.append(asyncio.create_task(drain()))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _listen(host: str, port: int) -> socket.socket:
    """Raises InputError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port.") from error
