"""TIFF by hand: which kinds are refused, and a writer, since Pillow writes no 16-bit colour.

tifffile would be one more library on a device.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import InputError
from . import ifd
from .exif import STORAGE
from .metadata import Found
from .signatures import raw, raw_of_make

_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_EXTRA, _FORMAT, _ICC, _DNG, _MAKE = 338, 339, 34675, 50706, 271
_MOSAICS = (32803, 34892)  # photometrics of a sensor's samples
_FORMATS = {1: "", 2: " signed", 3: " float"}


def sample_bits(file: BinaryIO, path: Path) -> int:
    """Bits of a sample in the first picture of a TIFF: 1, 2, 4, 8 or 16.

    Raises InputError for samples that are not unsigned integers of these sizes, and 16-bit layouts
    other than grey, RGB and RGBA stored pixel by pixel.
    """
    tags = _first_tags(file)
    bits = set(tags.get(_BITS, (1,)))
    formats = set(tags.get(_FORMAT, (1,)))
    if len(bits) != 1 or not bits <= {1, 2, 4, 8, 16} or formats != {1}:
        kind = "/".join(f"{b}-bit{_FORMATS.get(f, ' unknown')}" for b in sorted(bits) for f in sorted(formats))
        raise InputError(f"cannot read {path}: a TIFF of {kind} samples; save it with 8 or 16 bit integers")
    depth = int(bits.pop())
    layout = tags.get(_PHOTOMETRIC), tags.get(_SAMPLES, 1)
    if depth == 16 and (layout not in ((1, 1), (2, 3), (2, 4)) or (tags.get(_PLANAR) == 2 and layout[1] > 1)):
        raise InputError(
            f"cannot read {path}: a 16-bit TIFF with photometric {layout[0]}, {layout[1]} samples and planar "
            f"configuration {tags.get(_PLANAR, 1)}; save it as 16-bit RGB, RGBA or grey, interleaved"
        )
    return depth


def raw_format(file: BinaryIO) -> str | None:
    """What a TIFF of a sensor's samples is, in words; None for one of a picture."""
    tags = _first_tags(file)
    if _DNG in tags or tags.get(_SUBFILE, 0) & 1 or tags.get(_PHOTOMETRIC) in _MOSAICS:
        return raw("Adobe DNG" if _DNG in tags else raw_of_make(str(tags.get(_MAKE))))
    return None


def _first_tags(file: BinaryIO) -> ImageFileDirectory_v2:
    file.seek(0)
    head = file.read(16)
    tags = ImageFileDirectory_v2(head if head[2] == 43 else head[:8])
    first = tags.next
    file.seek(first)
    tags.load(file)
    if tags.next == first:  # Pillow goes on from here at the end of the tags alone
        raise ValueError("cut short in its tags")
    return tags


def found(file: BinaryIO) -> Found:
    """What the TIFF ``file`` brings: its own tags, but for those of its pixels."""

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    all_of = Found()
    try:
        all_of.exif = ifd.parse(read, skip=STORAGE)
    except (OSError, OverflowError, ValueError) as error:
        all_of.left_out.append(f"its tags ({error})")
    else:
        all_of.left_out.extend(all_of.exif.lost)
    return all_of


def encode(samples: NDArray[Any], *, icc_profile: bytes | None, block: ifd.Block) -> bytes:
    """A TIFF file of ``samples``: (H, W, C), uint8 or uint16, C as 1 grey, 2 with alpha, 3 RGB, 4 RGBA.

    Lossless: deflate with horizontal differences, in the byte order of ``block``, which has the file's other tags.
    """
    height, width, channels = samples.shape
    rows = max(1, 2**20 // samples[0].nbytes)
    strips = [_strip(samples[top : top + rows], block.order) for top in range(0, height, rows)]
    counts = [len(strip) for strip in strips]

    def short(*values: int) -> ifd.Tag:
        return block.of(ifd.SHORT, *values)

    def long(*values: int) -> ifd.Tag:
        return block.of(ifd.LONG, *values)

    tags: ifd.Directory = {
        _WIDTH: long(width), _LENGTH: long(height), _BITS: short(*[8 * samples.dtype.itemsize] * channels),
        _COMPRESSION: short(8), _PHOTOMETRIC: short(1 if channels < 3 else 2), _OFFSETS: long(*counts),
        _SAMPLES: short(channels), _ROWS: long(rows), _COUNTS: long(*counts), _PLANAR: short(1), _PREDICTOR: short(2),
    }  # fmt: skip
    if channels in (2, 4):
        tags[_EXTRA] = short(2)
    if icc_profile:
        tags[_ICC] = ifd.Tag(ifd.UNDEFINED, len(icc_profile), icc_profile)
    whole = replace(block, tags={**block.tags, **tags})
    begin = len(ifd.encode(whole))  # the strips' own offsets, in the tags, take the same room whatever they are
    if begin + sum(counts) >= 2**32:
        raise ValueError("a TIFF ends at 4 GiB")
    whole.tags[_OFFSETS] = long(*(begin + sum(counts[:i]) for i in range(len(counts))))
    return b"".join([ifd.encode(whole), *strips])


def _strip(block: NDArray[Any], order: Literal["<", ">"]) -> bytes:
    difference = block.copy()
    difference[:, 1:] -= block[:, :-1]
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return deflate.compress(difference.astype(block.dtype.newbyteorder(order), copy=False).data) + deflate.flush()
