"""TensorRT-RTX compiles its kernels on the GPU that it meets; what it compiled is kept beside the engine.

The file is ours alone: it is bound to the engine's bytes by a hash and ignored when it is anything else. The library
checks on its own that GPU, driver and versions are those that it was made with.
"""

from __future__ import annotations

import logging
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...machine.files import only_ours, write_file

FILE = "runtime.cache"
_LIMIT = 1 << 30
_HASH = 32
_log = logging.getLogger(__name__)


class RuntimeCache:
    """The cache of one engine. engine_sha256: of its plan. cache: the library's ``IRuntimeCache``."""

    def __init__(self, folder: Path, engine_sha256: str, cache: Any) -> None:
        self._path = folder / FILE
        self._engine = engine_sha256.encode()
        self.cache = cache
        self._on_disk = b""
        content = self._read()
        if content and not cache.deserialize(content):
            _log.info("%s: of another GPU, driver or version; it is made again.", self._path)
        else:
            self._on_disk = content

    def _seal(self, content: bytes) -> bytes:
        return sha256(self._engine + content).digest()

    def _read(self) -> bytes:
        """What was kept, or nothing: a cache that cannot be trusted is no error, it is made again."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
                found = os.fstat(file.fileno())
                content = file.read(_LIMIT) if only_ours(found) and stat.S_ISREG(found.st_mode) else b""
        except FileNotFoundError:
            return b""
        except OSError as error:
            _log.warning("%s: cannot be read (%s); kernels are compiled again.", self._path, error.strerror)
            return b""
        seal, content = content[:_HASH], content[_HASH:]
        if seal != self._seal(content):
            _log.warning("%s: damaged or foreign; it is ignored and made again.", self._path)
            return b""
        return content

    def save(self) -> None:
        """Write what the library holds now, whole or not at all; nothing where it is what was read. A folder that
        cannot be written costs the next start its time and is logged."""
        content = bytes(self.cache.serialize())
        if not content or content == self._on_disk:
            return
        try:
            with write_file(self._path, overwrite=True, mode=0o600) as file:
                file.write(self._seal(content) + content)
            self._on_disk = content
        except OSError as error:
            _log.warning("%s: cannot be written (%s); kernels are compiled again.", self._path, error.strerror)
