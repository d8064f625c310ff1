"""TensorRT-RTX compiles its kernels on the GPU that it meets; what it compiled is kept beside the engine.

The file is ours alone: it is signed by this user's key for the engine's bytes, and ignored when it is not. The library
checks on its own that GPU, driver and versions are those that it was made with.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ...engines.signed_file import read_signed, write_signed
from ...errors import EngineError

FILE = "runtime.cache"
_log = logging.getLogger(__name__)


class RuntimeCache:
    """The cache of one engine. engine_sha256: of its plan. cache: the library's ``IRuntimeCache``."""

    def __init__(self, folder: Path, engine_sha256: str, cache: Any) -> None:
        self._path = folder / FILE
        self._purpose = f"{FILE} {engine_sha256}"
        self.cache = cache
        self._on_disk = b""
        content = self._read()
        if content and not cache.deserialize(content):
            _log.info("%s: of another GPU, driver or version; it is made again.", self._path)
        else:
            self._on_disk = content

    def _read(self) -> bytes:
        """What was kept, or nothing: a cache that cannot be trusted is no error, it is made again."""
        try:
            return read_signed(self._path, self._purpose)
        except EngineError as error:
            _log.warning("%s. It is ignored: kernels are compiled again.", str(error).rstrip("."))
            return b""

    def save(self) -> None:
        """Write what the library holds now, whole or not at all; nothing where it is what was read. A folder that
        cannot be written costs the next start its time and is logged."""
        content = bytes(self.cache.serialize())
        if not content or content == self._on_disk:
            return
        try:
            write_signed(self._path, self._purpose, content)
            self._on_disk = content
        except (EngineError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            _log.warning("%s: cannot be written (%s); kernels are compiled again.", self._path, reason)
