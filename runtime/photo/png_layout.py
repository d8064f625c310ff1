"""A PNG's chunks: whether it is whole, what they say of its colours, and the file that Pillow is given.

Only critical chunks, and tRNS, reach Pillow. It would refuse a photo for the size of a text or a profile beside it, by
limits that move for the whole process alone, and it works for long on millions of small chunks.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from ..errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 200_000
_BLOCK = 2**20
_TAKEN = {b"iCCP": 2**25, b"cICP": 64, b"mDCV": 64, b"cLLI": 64, b"mDCv": 64, b"cLLi": 64, b"sRGB": 64, b"gAMA": 64}
_TAKEN |= {b"cHRM": 64, b"tRNS": 1024, b"acTL": 64}
"""Most bytes of the ancillary chunks that are looked at here."""
_KEY_BYTES = {0: 2, 2: 6, 3: 1}
"""Colour type to the least length of tRNS."""


@dataclass
class Layout:
    """What ``layout`` found."""

    depth: int = 0
    """Bits of a sample: 1, 2, 4, 8 or 16."""
    frames: int = 1
    """More than one in an animation."""
    colour: dict[bytes, bytes] = field(default_factory=dict)
    """Kind to data of the first iCCP, cICP, mDCV, cLLI, sRGB, gAMA and cHRM chunk, before the pixels."""
    damaged: list[str] = field(default_factory=list)
    """Chunks of these kinds and tRNS that are not usable, in words."""
    pieces: list[tuple[int, int]] = field(default_factory=list)
    """(first byte, byte behind the last) of what Pillow is given."""

    def add(self, start: int, end: int) -> None:
        if self.pieces and self.pieces[-1][1] == start:
            start = self.pieces.pop()[0]
        self.pieces.append((start, end))


def layout(file: BinaryIO) -> Layout:
    """Read the PNG ``file`` but for its pixels.

    Raises ValueError where it is cut short or a critical chunk's checksum is wrong, and InputError where it has more
    than ``MOST_CHUNKS`` chunks. Damage in every other chunk costs that chunk alone.
    """
    found, size = Layout(), file.seek(0, io.SEEK_END)
    position, colour_type, pixels = len(SIGNATURE), -1, False
    found.add(0, position)
    for _ in range(MOST_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the end of the PNG is missing")
        length, kind = struct.unpack(">I4s", head)
        start, position = position, position + 12 + length
        if position > size:
            raise ValueError(f"cut short in its {kind!r} part")
        if not kind[0] & 0x20:
            begin = _checked(file, kind, length)
            if begin is None:
                raise ValueError(f"wrong checksum in its {kind!r} part")
            found.add(start, position)
            if kind == b"IHDR" and not found.depth:
                found.depth, colour_type = begin[8], begin[9]
            pixels = pixels or kind == b"IDAT"
        elif kind in _TAKEN and not pixels and kind not in found.colour:
            data = _checked(file, kind, length) if length <= _TAKEN[kind] else None
            if data is None or (kind == b"tRNS" and length < _KEY_BYTES.get(colour_type, 0)):
                found.damaged.append(f"its {kind.decode()} chunk (it is damaged)")
            elif kind == b"tRNS":
                found.add(start, position)
            elif kind == b"acTL":
                frames = int.from_bytes(data[:4], "big")
                found.frames = frames if length == 8 and frames < 2**31 else 1
            else:
                found.colour[kind] = data
        if kind == b"IEND":
            return found
    raise InputError(f"it is a PNG of more than {MOST_CHUNKS:,} chunks; save it again from another program")


def _checked(file: BinaryIO, kind: bytes, length: int) -> bytes | None:
    """The data of the chunk where ``file`` stands, its first ``_BLOCK`` bytes if it is IDAT; None where its checksum
    is wrong."""
    most = _BLOCK if kind == b"IDAT" else length
    data = file.read(min(length, most))
    checksum, left = zlib.crc32(data, zlib.crc32(kind)), length - len(data)
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    return data if checksum == int.from_bytes(file.read(4), "big") else None


class _Pieces(io.RawIOBase):
    """Parts of a file as if they were all of it."""

    def __init__(self, file: BinaryIO, pieces: Sequence[tuple[int, int]]) -> None:
        self._file, self._pieces, self._position = file, pieces, 0
        self._starts, total = [], 0
        for start, end in pieces:
            self._starts.append(total)
            total += end - start
        self._size = total

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        if self._position >= self._size:
            return 0
        view = memoryview(buffer)
        number = bisect_right(self._starts, self._position) - 1
        start, end = self._pieces[number]
        at = start + self._position - self._starts[number]
        self._file.seek(at)
        data = self._file.read(min(len(view), end - at))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def alone(file: BinaryIO, found: Layout) -> BinaryIO:
    """``file`` with nothing but its pixels and what they need. Keep ``file`` open and in one thread with it."""
    return io.BufferedReader(_Pieces(file, found.pieces))
