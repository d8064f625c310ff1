"""Read a photo file: format, limits, depth, orientation, and every failure an InputError.

Pillow is imported by the first photo. Its plugin classes are used instead of ``Image.open``: they give the size of
any photo, where ``Image.open`` raises or warns by a limit of its own that only a process-wide setting moves.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, TooLargeError, UnsupportedFormatError, one_line
from . import bounds, png_layout, signatures
from .formats import FORMATS, check_colours, check_holds, check_photo, written_to
from .photo import Photo

if TYPE_CHECKING:
    from PIL import ImageFile

_ORIENTATION = 274
SizeCheck = Callable[[int, int, int], object]


def read_photo(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    max_pixels: int = 100_000_000,
    check: SizeCheck | None = None,
    into: str | os.PathLike[str] | None = None,
) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP or BMP file, told by its content and not by its name.

    source: its path, its bytes, or an open binary file, which is read from where it stands to its end.
    into: the file that it is to be written to, or a format such as "JPEG": what that cannot hold is refused.

    Returns an upright ``Photo``; its pixels are uint16 where the file holds 16-bit samples, else uint8. Before it is
    decoded, ``max_pixels`` (at most 178 megapixels, where Pillow refuses) is checked, and ``check`` is called with
    width, height and bits a sample (8 or 16); what that raises as InputError goes on with the path (or "the photo") in
    front.

    EXIF (byte for byte), XMP, IPTC, resolution, comments and text come along, with orientation 1 and the picture's own
    size; not thumbnails and what says how the pixels were stored. What of it is damaged is left out, and named when the
    photo is written.

    Raises InputError for every other file: missing, a folder, unreadable, empty, another format
    (UnsupportedFormatError), too large (TooLargeError), damaged or cut short, with several pictures, or of a kind that
    8 or 16 bit RGB does not hold (float, 32 bit, 16-bit CMYK).
    Raises it too where ``into`` does not hold its 16 bits, its transparency, its size or its colours.
    """
    path, kind = Path(source if isinstance(source, (str, os.PathLike)) else "the photo"), ""
    try:
        with _opened(source) as file, warnings.catch_warnings():
            # Pillow warns of odd metadata and, in TIFF, of sizes below our own limit
            warnings.filterwarnings("ignore", module=r"PIL\.")
            kind = _format(file.read(signatures.HEAD_BYTES), path)
            return _photo(file, path, kind, max_pixels, check, into)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: it does not exist; check the name") from None
    except PermissionError:
        raise InputError(f"cannot read {path}: permission denied; change its permissions") from None
    except ImportError as error:
        raise InputError(f"cannot read {path}: {error}; run: pip install pillow") from error
    except MemoryError:
        raise InputError(f"cannot read {path}: not enough memory; resize it or close other programs") from None
    except Exception as error:  # Pillow raises almost anything on damaged bytes
        if not kind:
            raise InputError(f"cannot read {path}: {error}; check the name and the disk") from error
        raise InputError(
            f"cannot read {path}: the {kind} file is damaged, cut short or of an unusual kind "
            f"({one_line(error, 120) or type(error).__name__}); copy it again, or save it again from another program"
        ) from error


def _opened(source: object) -> BinaryIO:
    """``source`` as a file that can seek. Raises InputError and OSError."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {path}: it is a folder; name a photo in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"cannot read {path}: it is not a regular file; save it to one first")
        return path.open("rb")
    given = type(source).__name__
    if hasattr(source, "read"):
        source = source.read()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise InputError(
            f"cannot read a photo from a {given}; give a path, bytes or a file opened for reading in binary"
        )
    return io.BytesIO(source)


def _format(head: bytes, path: Path) -> str:
    if not head:
        raise InputError(f"cannot read {path}: it is empty (0 bytes); copy it again")
    kind = signatures.kind_of(head)
    if kind is None:
        if what := signatures.other(head):
            raise UnsupportedFormatError(f"cannot read {path}: it is {what}")
        raise InputError(f"cannot read {path}: it is not a known photo; {signatures.CONVERT}")
    return kind


def _photo(
    file: BinaryIO,
    path: Path,
    kind: str,
    max_pixels: int,
    check: SizeCheck | None,
    into: str | os.PathLike[str] | None,
) -> Photo:
    from . import carry, colour, tiff
    from .exif import upright
    from .samples import colour_key, load_16bit, says_nothing, to_8bit

    try:
        if kind in bounds.CHECKS:
            bounds.CHECKS[kind](file)
        layout = png_layout.layout(file) if kind == "PNG" else None
    except InputError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    depth, pixels_of = 8, file
    if layout is not None:
        depth, pixels_of = layout.depth, png_layout.alone(file, layout)
    elif kind == "TIFF":
        depth = tiff.sample_bits(file, path)
    elif kind == "WEBP":
        _check_size(_webp_size(file), path, max_pixels)
    found = carry.found(file, kind)
    turn = carry.orientation(found)
    image = _open(pixels_of, kind, turn)
    _check_size(image.size, path, max_pixels)
    if getattr(image, "is_animated", False) or (layout is not None and layout.frames > 1):
        raise InputError(f"cannot read {path}: this {kind} holds several pictures; save the one you want alone")
    profile, own = colour.brought(file, kind, image.info.get("icc_profile"), layout, found.left_out)
    if into is not None:  # refused before it is decoded, where its header tells
        where, target = _target(into, kind)
        check_colours(where, target, profile, own)
        check_holds(where, target, *image.size, deep=depth == 16, alpha=False)
    if check is not None:
        width, height = _stored_size(image)[:: -1 if turn >= 5 else 1]
        try:
            check(width, height, 16 if depth == 16 else 8)
        except InputError as error:
            raise type(error)(f"{path}: {error}") from error

    samples: NDArray[Any]
    samples = load_16bit(image, _open(pixels_of, kind, turn), path) if depth == 16 else to_8bit(image, path)
    if image.mode == "CMYK":
        profile = None  # the samples are sRGB
    channels = samples.shape[2]
    grey, alpha = channels < 3, samples[..., -1] if channels in (2, 4) else None
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else samples[..., :3]
    key = image.info.get("transparency")
    if alpha is None and kind == "PNG" and isinstance(key, (int, tuple)):
        alpha = colour_key(pixels, key, depth)
    if alpha is not None and says_nothing(alpha, kind):
        alpha = None

    left = 1 if kind == "TIFF" else turn  # Pillow has turned that
    pixels = upright(pixels, left)
    exif, metadata = carry.upright(found, turn, pixels.shape[1], pixels.shape[0])
    photo = Photo(
        pixels=pixels,
        alpha=None if alpha is None else upright(alpha, left),
        grey=grey,
        icc_profile=profile,
        exif=exif,
        format=kind,
        metadata=metadata,
        colour=own,
    )
    if into is not None:
        check_photo(where, target, photo)
    return photo


def _target(into: str | os.PathLike[str], kind: str) -> tuple[str, str]:
    """What a photo of the format ``kind`` is to be written to, in a message, and in which format."""
    if isinstance(into, str) and into in FORMATS:
        return f"a {into}", into
    return str(into), written_to(into, kind)


def _open(file: BinaryIO, kind: str, turn: int) -> ImageFile.ImageFile:
    """Read the header with Pillow's plugin. The first picture of an MPO is its JPEG.

    From the open file, never by path: there Pillow (12.0 to 13.0) maps uncompressed TIFF pixels into memory by their
    turned size, and a photo with orientation 5 to 8 comes out scrambled. Pillow turns a TIFF itself when it loads it,
    here as ``turn`` says."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
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


def _check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    from PIL import Image

    width, height = size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise TooLargeError(
            f"cannot read {path}: it is {width} x {height} ({width * height / 1e6:.1f} megapixels), "
            f"above the limit of {limit / 1e6:.1f} megapixels; resize it first"
        )
