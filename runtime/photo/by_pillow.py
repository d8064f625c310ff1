"""Photo files that Pillow decodes: JPEG, PNG, TIFF, WebP, BMP and AVIF.

Pillow's plugin classes are used instead of ``Image.open``: they give the size of any photo, where ``Image.open`` raises
or warns by a limit of its own that only a process-wide setting moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import InputError
from . import avif, carry, colour, png_layout, tiff
from .opened import Opened, check_size
from .samples import colour_key, load_16bit, to_8bit

if TYPE_CHECKING:
    from PIL import ImageFile

_ORIENTATION = 274


def open_file(file: BinaryIO, path: Path, kind: str, max_pixels: int) -> Opened:
    """``file`` of the format ``kind``, not decoded yet; path: its name in a message. Raises InputError."""
    try:
        layout = png_layout.layout(file) if kind == "PNG" else None
    except InputError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    depth, pixels_of = 8, file
    if layout is not None:
        depth, pixels_of = layout.depth, png_layout.alone(file, layout)
    elif kind == "TIFF":
        depth = tiff.sample_bits(file, path)
    elif kind == "WEBP":
        check_size(_webp_size(file), path, max_pixels)
    if kind == "AVIF":
        image = _open(file, kind, 1)
        found, turn, own = avif.brought(file, image)
    else:
        found = carry.found(file, kind)
        turn = carry.orientation(found)
        image = _open(pixels_of, kind, turn)
    check_size(image.size, path, max_pixels)
    if getattr(image, "is_animated", False) or (layout is not None and layout.frames > 1):
        raise InputError(f"cannot read {path}: this {kind} holds several pictures; save the one you want alone")
    profile, chunks = colour.brought(file, kind, image.info.get("icc_profile"), layout, found.left_out)
    key = image.info.get("transparency")
    return Opened(
        size=_stored_size(image),
        depth=depth,
        load=lambda: load_16bit(image, _open(pixels_of, kind, turn), path) if depth == 16 else to_8bit(image, path),
        found=found,
        turn=turn,
        left=1 if kind == "TIFF" else turn,  # Pillow turns that
        profile=None if image.mode == "CMYK" else profile,  # whose samples become sRGB
        own=own if kind == "AVIF" else chunks,
        key=(lambda pixels: colour_key(pixels, key, depth))
        if kind == "PNG" and isinstance(key, (int, tuple))
        else None,
    )


def _open(file: BinaryIO, kind: str, turn: int) -> ImageFile.ImageFile:
    """Read the header with Pillow's plugin. The first picture of an MPO is its JPEG.

    From the open file, never by path: there Pillow (12.0 to 13.0) maps uncompressed TIFF pixels into memory by their
    turned size, and a photo with orientation 5 to 8 comes out scrambled. Pillow turns a TIFF itself when it loads it,
    here as ``turn`` says."""
    from PIL import (
        AvifImagePlugin,
        BmpImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "AVIF": AvifImagePlugin.AvifImageFile,
    }
    file.seek(0)
    image = plugins[kind](file)
    if kind == "TIFF":
        image.getexif()[_ORIENTATION] = turn
    return image


def _stored_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height as the file stores them: of a TIFF Pillow tells the size that it would give it."""
    tags = getattr(image, "tag_v2", {})
    width, height = image.size
    return (height, width) if tags.get(_ORIENTATION) in (5, 6, 7, 8) else (width, height)


def _webp_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height by the first 30 bytes: Pillow allocates the whole canvas before it tells the size."""
    file.seek(0)
    head = file.read(30)
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
        return width, height
    raise ValueError("no WebP picture follows the header")
