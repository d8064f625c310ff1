"""EXIF: turn the photo upright, and keep what is still true of it afterwards."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import ifd
from .ifd import Block, Tag

XMP, IPTC, RESOURCES = 700, 33723, 34377
"""Tags of a TIFF, and from some programs of EXIF, that hold metadata of another kind."""
ORIENTATION = 274
_WIDTH, _HEIGHT = 40962, 40963
_X, _Y = 282, 283


def _tags(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(tag for first, last in ranges for tag in range(first, last + 1))


STORAGE = _tags(
    (254, 266), (273, 273), (277, 281), (284, 293), (297, 301), (317, 317), (320, 347), (512, 530), (532, 532),
    (34675, 34675), (37724, 37724),
)  # fmt: skip
"""Tags of a TIFF that say how it stored its pixels and its ICC profile, and of a thumbnail: untrue in a new file.
531, the position of subsampled colours, is not among them: EXIF asks for it, and nothing of ours is subsampled."""

PRINTED_SIZE = frozenset({ORIENTATION, _X, _Y, 296})
"""Tags that say nothing which an upright picture in a file with a resolution of its own lacks."""


def of_bytes(data: bytes, left_out: list[str]) -> Block | None:
    """The block of EXIF ``data``, which may begin with "Exif\\0\\0"; None, with a word in ``left_out``, where it is
    damaged from its beginning."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    if not data:
        return None
    try:
        block = ifd.parse(lambda at, size: data[at : at + size], skip=STORAGE, most_bytes=2 * len(data))
    except ValueError as error:
        left_out.append(f"EXIF data ({error})")
        return None
    left_out.extend(block.lost)
    return block


def orientation(block: Block | None) -> int | None:
    """1 to 8; None where the block has none that means one of these."""
    number = block and block.number(_first(block.tags.get(ORIENTATION)))
    return int(number) if number in (1, 2, 3, 4, 5, 6, 7, 8) else None


def _first(tag: Tag | ifd.Directory | None) -> Tag | None:
    """The first value of several: Pillow, which turns TIFFs itself, takes that one."""
    return Tag(tag.type, 1, tag.value[: ifd.SIZES[tag.type]]) if isinstance(tag, Tag) and tag.count else None


def upright(array: NDArray[Any], turn: int) -> NDArray[Any]:
    """``array``, (H, W) or (H, W, C), turned and mirrored as EXIF orientation ``turn`` asks; contiguous."""
    if turn in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        array = array[:, ::-1]
    if turn in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def turned(block: Block, turn: int) -> None:
    """Let ``block`` be that of a picture that was turned by ``turn``. An orientation that means none stays."""
    tag = block.tags.get(ORIENTATION)
    number = block.number(_first(tag))
    if isinstance(tag, Tag) and number is not None and number % 1 == 0:
        one = _one(block.order, tag.type)
        block.tags[ORIENTATION] = Tag(tag.type, tag.count, one + tag.value[len(one) :])
    if turn >= 5:
        x, y = block.tags.pop(_X, None), block.tags.pop(_Y, None)
        block.tags.update({number: tag for number, tag in ((_X, y), (_Y, x)) if tag is not None})


def sized(block: Block, width: int, height: int) -> bool:
    """Put the picture's size where EXIF tells one; whether that changed anything."""
    inside, changed = block.inside(ifd.EXIF), False
    for number, value in ((_WIDTH, width), (_HEIGHT, height)):
        tag = inside.get(number)
        if tag is None or block.number(tag) == value:
            continue
        short = isinstance(tag, Tag) and tag.type == ifd.SHORT and value < 2**16
        inside[number] = block.of(ifd.SHORT if short else ifd.LONG, value)
        changed = True
    return changed


def to_bytes(block: Block) -> bytes | None:
    """ "Exif\\0\\0" and the TIFF structure of ``block``; None where it is empty."""
    return b"Exif\0\0" + ifd.encode(block) if block.tags else None


def shrunk(block: Block, most: int) -> Iterable[str]:
    """Leave out the largest tags until ``to_bytes`` has at most ``most`` bytes; says which."""
    tags = [
        (len(tag.value), number, where)
        for where in (block.tags, *_inner(block.tags))
        for number, tag in where.items()
        if isinstance(tag, Tag)
    ]
    spare = most - len(to_bytes(block) or b"")
    for size, number, where in sorted(tags, key=lambda found: found[0], reverse=True):
        if spare >= 0:
            break
        del where[number]
        spare += 12 + (size + size % 2 if size > 4 else 0)
        yield f"EXIF tag {number:#06x} ({size} bytes, where all of EXIF may have {most})"
    if len(to_bytes(block) or b"") > most:
        block.maker_note = None  # the room in front of it could not be filled


def _inner(tags: ifd.Directory) -> Iterable[ifd.Directory]:
    for tag in tags.values():
        if isinstance(tag, dict):
            yield tag
            yield from _inner(tag)


def _one(order: str, kind: int) -> bytes:
    """The number 1 as a value of type ``kind``."""
    if kind in (5, 10):
        return struct.pack(order + "II", 1, 1)
    if kind in (11, 12):
        return struct.pack(order + ("f" if kind == 11 else "d"), 1.0)
    return (1).to_bytes(ifd.SIZES[kind], "little" if order == "<" else "big")
