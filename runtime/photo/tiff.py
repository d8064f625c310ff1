"""TIFF by hand: which kinds are refused, and a writer, since Pillow writes no 16-bit colour.

The tags themselves are Pillow's work (``ImageFileDirectory_v2``); tifffile would be one more library on a device.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import InputError
from .exif import carried

_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_EXTRA, _FORMAT, _ICC, _DNG = 338, 339, 34675, 50706
_FORMATS = {1: "", 2: " signed", 3: " float"}


def sample_bits(file: BinaryIO, path: Path) -> int:
    """Bits of a sample in the first picture of a TIFF: 1, 2, 4, 8 or 16.

    Raises InputError for camera raw files, samples that are not unsigned integers of these sizes, and 16-bit layouts
    other than grey, RGB and RGBA stored pixel by pixel.
    """
    file.seek(0)
    head = file.read(16)
    tags = ImageFileDirectory_v2(head if head[2] == 43 else head[:8])
    file.seek(tags.next)
    tags.load(file)
    if _DNG in tags or tags.get(_SUBFILE, 0) & 1 or head[8:10] == b"CR":
        raise InputError(f"cannot read {path}: it is a camera raw file; develop it to TIFF or JPEG first")
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


def encode(samples: NDArray[Any], *, icc_profile: bytes | None, exif: bytes | None) -> bytes:
    """A TIFF file of ``samples``: (H, W, C), uint8 or uint16, C as 1 grey, 2 with alpha, 3 RGB, 4 RGBA.

    Lossless: deflate with horizontal differences, little-endian. EXIF becomes the file's own tags.
    """
    height, width, channels = samples.shape
    rows = max(1, 2**20 // samples[0].nbytes)
    strips = [_strip(samples[top : top + rows]) for top in range(0, height, rows)]
    counts = [len(strip) for strip in strips]

    tags = ImageFileDirectory_v2()
    tags[_WIDTH], tags[_LENGTH], tags[_SAMPLES] = width, height, channels
    tags[_BITS] = (8 * samples.dtype.itemsize,) * channels
    tags[_COMPRESSION], tags[_PREDICTOR], tags[_PLANAR] = 8, 2, 1
    tags[_PHOTOMETRIC] = 1 if channels < 3 else 2
    if channels in (2, 4):
        tags[_EXTRA] = (2,)
    # counted from the end of the tags: Pillow moves them when it writes the tags
    tags[_OFFSETS] = tuple(sum(counts[:i]) for i in range(len(counts)))
    tags[_ROWS], tags[_COUNTS] = rows, tuple(counts)
    if icc_profile:
        tags.tagtype[_ICC] = 7
        tags[_ICC] = icc_profile
    source = Image.Exif()
    source.load(exif or b"")
    tags.update(carried(source))
    file = io.BytesIO()
    tags.save(file)
    return b"".join([file.getvalue(), *strips])


def _strip(block: NDArray[Any]) -> bytes:
    difference = block.copy()
    difference[:, 1:] -= block[:, :-1]
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return deflate.compress(difference.astype(block.dtype.newbyteorder("<"), copy=False).data) + deflate.flush()
