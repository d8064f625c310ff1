"""The directories (IFDs) of EXIF and TIFF as bytes: tag, type, count and the value as it stands in the file.

Pillow reads values into Python's types and writes them back with types of its own; here nothing is interpreted, so a
text keeps its charset and a number its type. A tag that cannot be read costs that tag alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Literal, Union

EXIF, GPS, INTEROP = 34665, 34853, 40965
"""Tags whose value is another directory."""
MAKER_NOTE = 37500
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_LONG8, _SLONG8, _IFD8 = 16, 17, 18
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
"""Type -> bytes of one value; 129 is UTF-8 (EXIF 3)."""
_SIZES8 = {**SIZES, _LONG8: 8, _SLONG8: 8, _IFD8: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", _LONG8: "Q", _SLONG8: "q", _IFD8: "Q"}
_POINTERS = (EXIF, GPS, INTEROP)
_IFD_TYPES = (13, _IFD8)
_DEEPEST = 3
_PADDING = 16 * 2**10

Read = Callable[[int, int], bytes]
"""(offset, length) -> the bytes there, fewer at the end."""


@dataclass(frozen=True)
class Tag:
    """One tag of a directory."""

    type: int
    count: int
    value: bytes
    """``count`` values of ``type``, in the block's byte order."""


Directory = dict[int, Union[Tag, "Directory"]]
"""Tag number -> its value, or the directory behind it."""


@dataclass
class Block:
    """A TIFF structure: the first directory and those that it leads to."""

    order: Literal["<", ">"] = "<"
    """"<" or ">", as in struct."""
    tags: Directory = field(default_factory=dict)
    maker_note: int | None = None
    """Offset at which the maker note stood: what it holds may be counted from there."""
    lost: list[str] = field(default_factory=list)
    """What could not be read, with the reason."""

    def inside(self, pointer: int) -> Directory:
        """The directory behind ``pointer``; an empty one, which belongs to nothing, where there is none."""
        found = self.tags.get(pointer)
        return found if isinstance(found, dict) else {}

    def number(self, tag: Tag | Directory | None) -> int | float | None:
        """The value of a tag that holds exactly one number; None for every other."""
        if not isinstance(tag, Tag) or tag.count != 1:
            return None
        kind, value = tag.type, tag.value
        if kind in _INTEGERS:
            return int(struct.unpack(self.order + _INTEGERS[kind], value)[0])
        if kind in (5, 10):
            above, below = struct.unpack(self.order + ("2I" if kind == 5 else "2i"), value)
            return above / below if below else None
        if kind in (11, 12):
            number = float(struct.unpack(self.order + ("f" if kind == 11 else "d"), value)[0])
            return number if math.isfinite(number) else None
        return None

    def of(self, kind: int, *values: int) -> Tag:
        """A tag of BYTE, SHORT, LONG or RATIONAL (numerator and denominator in turn) with these values."""
        code = "I" if kind == RATIONAL else _INTEGERS[kind]
        data = struct.pack(f"{self.order}{len(values)}{code}", *values)
        return Tag(kind, len(data) // SIZES[kind], data)


def parse(read: Read, *, skip: Container[int] = (), most_bytes: int = 64 * 2**20) -> Block:
    """The block that begins at offset 0 of ``read``, without the tags ``skip`` of its first directory and without
    thumbnails (a second directory). TIFF and BigTIFF of either byte order. What does not fit into ``most_bytes`` in
    all is left out: values may share bytes, so that a small file could ask for any amount of memory.

    Raises ValueError where it is none. Damage within it costs the tags concerned: see ``Block.lost``.
    """
    head = read(0, 16)
    if head[:2] not in (b"II", b"MM") or len(head) < 8:
        raise ValueError("it does not begin like a TIFF structure")
    order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
    block = Block(order)
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 43 and len(head) == 16:
        _Reader(read, block, skip, "Q", most_bytes).directory(struct.unpack(order + "Q", head[8:])[0], block.tags, 0)
    elif version in (42, 0x55, 0x4F52, 0x5352):  # the last three: Panasonic and Olympus
        _Reader(read, block, skip, "I", most_bytes).directory(struct.unpack(order + "I", head[4:8])[0], block.tags, 0)
    else:
        raise ValueError(f"its version is {version}, not 42")
    return block


class _Reader:
    def __init__(self, read: Read, block: Block, skip: Container[int], word: str, most: int) -> None:
        self._read, self._block, self._skip = read, block, skip
        self._word, self._count = block.order + word, block.order + ("H" if word == "I" else "Q")
        self._entry = 12 if word == "I" else 20
        self._sizes = SIZES if word == "I" else _SIZES8
        self._seen: set[int] = set()
        self._left = most

    def directory(self, offset: int, into: Directory, depth: int) -> bool:
        """Read the directory at ``offset`` into ``into``; False where there is none or it was read before."""
        width = struct.calcsize(self._count)
        head = self._read(offset, width)
        if len(head) < width or offset < 8 or offset in self._seen or depth > _DEEPEST:
            return False
        self._seen.add(offset)
        entries = min(struct.unpack(self._count, head)[0], 65535)
        table = self._read(offset + width, entries * self._entry)
        for at in range(0, len(table) - self._entry + 1, self._entry):
            self._tag(table[at : at + self._entry], offset + width + at, into, depth)
        if len(table) < entries * self._entry:
            self._block.lost.append("tags behind the end of the EXIF data")
        return True

    def _tag(self, entry: bytes, at: int, into: Directory, depth: int) -> None:
        word = struct.calcsize(self._word)
        number, kind = struct.unpack(self._block.order + "HH", entry[:4])
        if depth == 0 and number in self._skip:
            return
        count, inline = struct.unpack(self._word, entry[4 : 4 + word])[0], entry[4 + word :]
        size = self._sizes.get(kind, 0) * count
        if kind not in self._sizes:
            return self._lose(number, f"its type {kind} is unknown")
        if size > word:
            (at,) = struct.unpack(self._word, inline)
            if size > self._left:
                return self._lose(number, f"it claims {size} bytes")
            value = self._read(at, size)
        else:
            at, value = at + 4 + word, inline[:size]
        if len(value) < size:
            return self._lose(number, "it lies behind the end of the EXIF data")
        self._left -= size
        if number in _POINTERS or kind in _IFD_TYPES:
            target = self._block.number(Tag(kind, count, value))
            inner: Directory = {}
            if number not in _POINTERS or not isinstance(target, int) or not self.directory(target, inner, depth + 1):
                return self._lose(number, "it leads to no directory")
            into[number] = inner
            return None
        if kind not in SIZES:
            return self._lose(number, f"its type {kind} is BigTIFF's")
        if number == MAKER_NOTE:
            self._block.maker_note = at
        into[number] = Tag(kind, count, value)
        return None

    def _lose(self, number: int, why: str) -> None:
        self._block.lost.append(f"EXIF tag {number:#06x} ({why})")


def encode(block: Block) -> bytes:
    """The bytes of ``block``: a classic TIFF structure in its byte order. The maker note stays at its offset, where
    that leaves no large gap, and everything else lies around it."""
    values: list[tuple[int, bytes]] = []
    room = _Room()
    note = block.inside(EXIF).get(MAKER_NOTE)
    fixed = None
    start = block.maker_note or 0
    if isinstance(note, Tag) and len(note.value) > 4 and 8 <= start <= _PADDING + _size(block.tags):
        fixed = room.reserve(start, len(note.value))

    def place(directory: Directory) -> int:
        offset = room.take(2 + 12 * len(directory) + 4)
        entries = [struct.pack(block.order + "H", len(directory))]
        for number, tag in sorted(directory.items()):
            if isinstance(tag, dict):
                kind, count, value = LONG, 1, struct.pack(block.order + "I", place(tag))
            else:
                kind, count, value = tag.type, tag.count, tag.value
            if len(value) > 4:
                at = fixed if tag is note and fixed is not None else room.take(len(value))
                values.append((at, value))
                value = struct.pack(block.order + "I", at)
            entries.append(struct.pack(block.order + "HHI", number, kind, count) + value.ljust(4, b"\0"))
        values.append((offset, b"".join(entries) + bytes(4)))
        return offset

    first = place(block.tags)
    out = bytearray(room.end)
    out[:8] = {"<": b"II", ">": b"MM"}[block.order] + struct.pack(block.order + "HI", 42, first)
    for at, value in values:
        out[at : at + len(value)] = value
    return bytes(out)


def _size(directory: Directory) -> int:
    inner = sum(_size(tag) if isinstance(tag, dict) else len(tag.value) for tag in directory.values())
    return 6 + 12 * len(directory) + inner


class _Room:
    """Where in the block there is room: before the maker note, and behind everything."""

    def __init__(self) -> None:
        self.end = 8
        self._hole = (0, 0)

    def reserve(self, offset: int, size: int) -> int:
        self._hole, self.end = (8, offset), offset + size + (offset + size) % 2
        return offset

    def take(self, size: int) -> int:
        """An even offset with ``size`` bytes that nothing else has."""
        start, stop = self._hole
        if start + size <= stop:
            self._hole = start + size + size % 2, stop
            return start
        offset = self.end
        self.end += size + size % 2
        return offset
