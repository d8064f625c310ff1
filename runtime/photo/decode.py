"""Decode a photo file with Pillow: format, limits, depth, orientation, and every failure an InputError.

The plugin classes are used instead of ``Image.open``: they give the size of any photo, where
``Image.open`` raises or warns by a limit of its own that only a process-wide setting moves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray
from PIL import Image, ImageFile

from ..errors import InputError
from . import png, tiff
from .channels import colour_key, split, to_8bit
from .depth16 import load_16bit
from .exif import exif_bytes, orientation, upright
from .photo import Photo
from .webp import canvas_size

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"BM", "BMP"),
)
_OTHERS = ((b"GIF8", "a GIF"), (b"8BPS", "a Photoshop file"), (b"%PDF", "a PDF"), (b"\0\0\0\x0cjP", "a JPEG 2000"))


Check = Callable[[int, int, int], object]


def decode(file: BinaryIO, path: Path, *, max_pixels: int, check: Check | None = None) -> Photo:
    """Decode ``file``, open for reading at its start; ``path`` is for messages. Raises InputError only.

    check: see ``read_photo``.
    """
    try:
        head = file.read(32)
        kind = _format(head, path)
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and, in TIFF, of sizes below our own limit
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _decode(file, path, head, kind, max_pixels, check)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"cannot read {path}: not enough memory; resize it or close other programs") from None
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"cannot read {path}: the {kind} file is damaged, cut short or of an unusual kind ({detail}); "
            "copy it again, or save it again from another program"
        ) from error


def _decode(file: BinaryIO, path: Path, head: bytes, kind: str, max_pixels: int, check: Check | None) -> Photo:
    depth = 8
    if kind == "PNG":
        depth = head[24]
        png.check(file)
    elif kind == "TIFF":
        depth = tiff.sample_bits(file, path)
    elif kind == "WEBP":
        _check_size(canvas_size(head), path, max_pixels)
    image = _open(file, kind)
    _check_size(image.size, path, max_pixels)
    if getattr(image, "is_animated", False):
        raise InputError(f"cannot read {path}: this {kind} holds several pictures; save the one you want alone")
    if check is not None:
        # a PNG's orientation may come behind its pixels: asked for, Pillow would decode them
        turned = kind != "PNG" and orientation(image) >= 5
        width, height = image.size[::-1] if turned else image.size
        try:
            check(width, height, 16 if depth == 16 else 8)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    profile = image.info.get("icc_profile")
    samples: NDArray[Any]
    if depth == 16:
        samples = load_16bit(image, _open(file, kind), path)
    else:
        image.load()
        if image.mode == "CMYK":
            samples, profile = to_8bit(image, path), None
        else:
            samples = to_8bit(image, path)
    pixels, alpha, grey = split(samples)
    key = image.info.get("transparency")
    if alpha is None and kind == "PNG" and isinstance(key, (int, tuple)):
        alpha = colour_key(pixels, key, depth)

    turn = orientation(image)
    return Photo(
        pixels=upright(pixels, turn),
        alpha=None if alpha is None else upright(alpha, turn),
        grey=grey,
        icc_profile=profile if isinstance(profile, bytes) and profile else None,
        exif=exif_bytes(image, path),
        format=kind,
    )


def _format(head: bytes, path: Path) -> str:
    if not head:
        raise InputError(f"cannot read {path}: it is empty (0 bytes); copy it again")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    what = next((name for signature, name in _OTHERS if head.startswith(signature)), "not a known photo")
    if head[4:8] == b"ftyp":
        what = "a HEIC, an AVIF or a video"
    raise InputError(f"cannot read {path}: it is {what}; convert it to JPEG, PNG, TIFF, WebP or BMP")


def _open(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Read the header with Pillow's plugin. The first picture of an MPO is its JPEG.

    From the open file, never by path: there Pillow (12.0 to 13.0) maps uncompressed TIFF pixels into
    memory by their turned size, and a photo with orientation 5 to 8 comes out scrambled.
    """
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "TIFF": TiffImageFile,
        "WEBP": WebPImageFile,
        "BMP": BmpImageFile,
    }
    file.seek(0)
    return plugins[kind](file)


def _check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise InputError(
            f"cannot read {path}: it is {width} x {height} ({width * height / 1e6:.1f} megapixels), "
            f"above the limit of {limit / 1e6:.1f} megapixels; resize it first"
        )
