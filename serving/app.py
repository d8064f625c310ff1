"""The routes of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from runtime import __version__
from runtime.errors import InputError

from . import model, page
from .body import read_body, while_there
from .desk import Desk, Reply
from .door import Door
from .metrics import Metrics
from .options import NAMES, photo_options
from .refused import Refused, refusal

_PHOTO_TYPES = ("application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")  # curl's
_CLIENT_GONE = 499  # as nginx has it in its log: nobody gets it
HEADER_LENGTH = "inference-header-content-length"


class App:
    """What the routes share."""

    def __init__(self, desk: Desk, metrics: Metrics, max_body: int) -> None:
        self._desk, self._metrics, self._max_body = desk, metrics, max_body

    def asgi(self) -> ASGIApp:
        models = f"/v2/models/{model.NAME}"
        routes = [
            Route("/", page.answer),
            Route("/metrics", self.metrics),
            Route("/v1/enhance", self.enhance, methods=["POST"]),
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]
        for path in (models, f"{models}/versions/{model.VERSION}"):
            routes.append(Route(path, self.model))
            routes.append(Route(f"{path}/ready", self.ready))
            routes.append(Route(f"{path}/infer", self.infer, methods=["POST"]))
        handlers: Mapping[Any, Any] = {
            Refused: _refused,
            InputError: _refused,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
        }
        app = Starlette(routes=routes, exception_handlers=handlers)
        return Door(app, self._metrics, frozenset(route.path for route in routes))

    async def enhance(self, request: Request) -> Response:
        """Photo in, photo out."""
        media = request.headers.get("content-type", _PHOTO_TYPES[0]).partition(";")[0].strip().lower()
        if not media.startswith("image/") and media not in _PHOTO_TYPES:
            cure = "send the photo itself as the body, as `curl --data-binary @photo.jpg` does"
            raise Refused(415, f"a body of the type {media!r} is not read; {cure}.")
        unknown = [name for name in request.query_params if name not in NAMES]
        if unknown:
            raise Refused(400, f"the parameter {unknown[0]!r} is not known; use {', '.join(NAMES)}.")
        with self._desk.place():
            info = self._desk.info
            options = photo_options(request.query_params, info["samplings"], info["sampling"])
            return await self._ask(request, {"task": "photo", "options": vars(options)})

    async def infer(self, request: Request) -> Response:
        """The Open Inference Protocol's request: the engine worker reads it, so that no body holds up the others."""
        length = request.headers.get(HEADER_LENGTH)
        if length is not None and not (length.isdecimal() and len(length) < 16):
            raise Refused(400, f"Inference-Header-Content-Length is {length!r}; a number of bytes is wanted.")
        with self._desk.place():
            return await self._ask(request, {"task": "infer", "json_bytes": None if length is None else int(length)})

    async def _ask(self, request: Request, header: dict[str, Any]) -> Response:
        body = await read_body(request, self._max_body)
        header["request_id"] = request.state.request_id
        reply = await while_there(request, self._desk.ask(header, body))
        self._metrics.reply(reply)
        parts = {"queue": reply.wait_ms, **reply.header["ms"]}
        request.state.told.update({name: f"{value:.1f}" for name, value in parts.items()})
        request.state.told["megapixels"] = f"{reply.header['pixels'] / 1e6:.2f}"
        return Response(reply.content, headers={**reply.header["headers"], "server-timing": _timing(reply)})

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """After the package's photo has run in the engine worker, and until the server begins to shut down."""
        return JSONResponse({"ready": self._desk.ready}, 200 if self._desk.ready else 503)

    async def server(self, request: Request) -> Response:
        return JSONResponse({"name": "diffll", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model(self, request: Request) -> Response:
        self._desk.check()
        return JSONResponse(model.metadata(self._desk.info))

    async def metrics(self, request: Request) -> Response:
        content, media = self._metrics.text()
        return Response(content, headers={"content-type": media})


def _timing(reply: Reply) -> str:
    parts = {"queue": reply.wait_ms, **reply.header["ms"]}
    return ", ".join(f"{name};dur={milliseconds:.2f}" for name, milliseconds in parts.items())


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    refused = refusal(error)
    request.state.told["error"] = repr(refused.message)
    return _error(refused.status, refused.message, refused.headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    message = {
        404: f"there is nothing at {request.url.path}; see docs/serving.md for the routes.",
        405: f"{request.method} is not answered at {request.url.path}.",
    }.get(error.status_code, error.detail)
    return _error(error.status_code, message, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)
