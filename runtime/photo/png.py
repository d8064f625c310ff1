"""A writer of PNG, since Pillow writes no 16-bit colour.

8-bit photos are written here too: filtering with numpy and run-length deflate takes a third of Pillow's
time at compression level 1 (0.7 s against 2.2 s for 24 megapixels), for a smaller file of a noisy photo.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .png_layout import SIGNATURE

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2


def encode(
    samples: NDArray[Any], *, icc_profile: bytes | None = None, chunks: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG file of ``samples``: (H, W, C), uint8 or uint16, C as 1 grey, 2 with alpha, 3 RGB, 4 RGBA.

    Lossless; filter Up in every row. chunks: (kind, data) of those that follow the profile.
    """
    height, width, channels = samples.shape
    depth = 8 * samples.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPE[channels], 0, 0, 0)
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if icc_profile:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)))
    parts.extend(_chunk(kind, data) for kind, data in chunks)
    parts.extend(_chunk(b"IDAT", data) for data in _deflated(samples) if data)
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def _deflated(samples: NDArray[Any]) -> Iterator[bytes]:
    row_bytes = samples[0].nbytes
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)  # noise repeats nothing that a longer search would find
    band = max(1, 2**20 // row_bytes)
    above = np.zeros((1, row_bytes), np.uint8)
    for top in range(0, len(samples), band):
        rows = samples[top : top + band].astype(samples.dtype.newbyteorder(">"), order="C")
        rows = rows.view(np.uint8).reshape(-1, row_bytes)
        filtered = np.empty((len(rows), 1 + row_bytes), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:]
        yield deflate.compress(filtered.data)
    yield deflate.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
