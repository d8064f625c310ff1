"""What a server was started with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineSettings:
    """What the engine worker is told, as JSON."""

    package: str
    backend: str = "onnxruntime"
    providers: tuple[str, ...] | None = None
    max_memory: str | None = None
    sampling: str = "published"
    """For requests that name none."""
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class Settings:
    """Of the server."""

    engine: EngineSettings
    host: str = "127.0.0.1"
    port: int = 8000
    """0: one that is free."""
    queue: int = 32
    """Requests at a time, from the first byte of their body to the answer; more are answered with 429."""
    max_body: int = 64 << 20
    """Bytes of a request's body."""
