"""HEIC, read and written by pillow-heif (libheif), which is imported by the first one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedFormatError
from . import exif, signatures
from .colour import Colour, of_nclx
from .metadata import Found
from .opened import Opened
from .samples import unpremultiplied

BITS = 10
"""Of a sample in a HEIC that is written of 16 bits."""


def open_file(file: BinaryIO, path: Path) -> Opened:
    """``file``, not decoded yet; path: its name in a message. Raises UnsupportedFormatError
    without pillow-heif.

    libheif turns the picture by the boxes irot and imir. EXIF's orientation does not count (ISO/IEC 23008-12), and is 1
    in what is written.
    """
    file.seek(0)
    heif = _library(f"cannot read {path}: it is {signatures.other(file.read(signatures.HEAD_BYTES))}, or")
    image = heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    one = image[image.primary_index]
    layout, _, bits = one.mode.partition(";")
    info = one.info
    found = Found(xmp=(info.get("xmp") or b"").rstrip(b"\0") or None)
    if info.get("exif"):
        found.exif = exif.of_bytes(info["exif"], found.left_out)
    if len(image) > 1:
        found.left_out.append(f"{len(image) - 1} other picture{'s' * (len(image) > 2)} of the file")
    nclx = info.get("nclx_profile") or {}
    own = of_nclx(nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else Colour()

    def load() -> NDArray[Any]:
        samples: NDArray[Any] = np.asarray(one)
        samples = samples[..., None] if samples.ndim == 2 else samples
        if bits and int(bits) < 16:  # all ones stay all ones
            samples = samples << np.uint16(16 - int(bits)) | samples >> np.uint16(2 * int(bits) - 16)
        return unpremultiplied(samples) if layout.endswith("a") else samples

    return Opened(one.size, 16 if bits else 8, load, found, profile=info.get("icc_profile") or None, own=own)


def encode(
    samples: NDArray[Any], *, quality: int, icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> bytes:
    """A HEIC of ``samples``, (H, W, 3) or (H, W, 4) uint8, or uint16, of which 10 bits are kept; chroma of half the
    size, which is what every decoder reads. Raises UnsupportedFormatError without pillow-heif."""
    heif = _library("cannot write a HEIC: write JPEG, or")
    height, width, channels = samples.shape
    mode = ("RGB" if channels == 3 else "RGBA") + (";16" if samples.dtype == np.uint16 else "")
    image = heif.from_bytes(mode, (width, height), samples.tobytes())
    if icc_profile:
        image.info["icc_profile"], image.info["icc_profile_type"] = icc_profile, "prof"
    stream = io.BytesIO()
    image.save(stream, quality=quality, exif=exif, xmp=xmp)
    return stream.getvalue()


def _library(begin: str) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormatError(f"{begin} run: pip install pillow-heif") from error
    return pillow_heif
