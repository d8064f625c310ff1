"""Messages between the server and its engine worker: a JSON object and bytes, over pipes."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

Header = dict[str, Any]
_HEAD = struct.Struct("<IQ")  # bytes of the object, and of what follows it


def head(header: Mapping[str, Any], size: int = 0) -> bytes:
    """What stands before the ``size`` bytes of a message."""
    text = json.dumps(header).encode()
    return _HEAD.pack(len(text), size) + text


def read(file: BinaryIO) -> tuple[Header, bytes] | None:
    """The next message; None where the other end was closed."""
    sizes = file.read(_HEAD.size)
    if len(sizes) < _HEAD.size:
        return None
    text, size = _HEAD.unpack(sizes)
    header, content = file.read(text), file.read(size)
    return (json.loads(header), content) if len(content) == size else None


async def receive(stream: asyncio.StreamReader) -> tuple[Header, bytes]:
    """The next message. Raises IncompleteReadError where the other end was closed."""
    text, size = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    return json.loads(await stream.readexactly(text)), await stream.readexactly(size)
