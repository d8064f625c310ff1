"""What the tests of photos share: a PNG encoder after the specification, photos of noise, and their comparison."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from runtime.photo import Photo, read_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(rows: np.ndarray, pixel_bytes: int) -> bytes:
    """PNG rows (N, row bytes), filtered with the five types in turn, by the formulas of the specification."""
    out, above = bytearray(), bytes(rows.shape[1])
    for number, row in enumerate(rows):
        kind = number % 5
        out.append(kind)
        for i, value in enumerate(row.tolist()):
            left = int(row[i - pixel_bytes]) if i >= pixel_bytes else 0
            corner = above[i - pixel_bytes] if i >= pixel_bytes else 0
            up = above[i]
            estimate = left + up - corner
            paeth = min((left, up, corner), key=lambda c: abs(estimate - c))
            out.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) & 255)
        above = bytes(row)
    return bytes(out)


def png_file(samples: np.ndarray, *, interlaced: bool = False, extra: bytes = b"") -> bytes:
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    depth = 8 * samples.dtype.itemsize
    body = b""
    for y, x, dy, dx in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = samples[y::dy, x::dx]
        if part.size:
            rows = part.astype(samples.dtype.newbyteorder(">")).reshape(len(part), -1).view(np.uint8)
            body += filtered(rows, channels * samples.dtype.itemsize)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    data = zlib.compress(body)
    middle = len(data) // 2
    parts = chunk(b"IDAT", data[:middle]) + chunk(b"IDAT", data[middle:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + parts + chunk(b"IEND", b"")


def read(tmp_path: Path, data: bytes | Image.Image, kind: str = "PNG", **options: object) -> Photo:
    """Read a file made of ``data``; its name says nothing about its format."""
    path = tmp_path / "photo.bin"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        data.save(path, kind, **options)
    return read_photo(path)


def noise(*shape: int, top: int | None = None, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Random integers below ``top``: without it, all that dtype holds."""
    limit = np.iinfo(dtype).max + 1 if top is None else top
    return np.random.default_rng(seed).integers(0, limit, shape).astype(dtype)


def parts(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    channels = samples.shape[2]
    pixels = np.repeat(samples[..., :1], 3, axis=2) if channels < 3 else samples[..., :3]
    return pixels, samples[..., -1] if channels in (2, 4) else None


def photo_of(
    dtype: Any = np.uint8,
    *,
    alpha: bool = False,
    grey: bool = False,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    size: tuple[int, int] = (23, 31),
) -> Photo:
    pixels = noise(*size, 3, dtype=dtype)
    if grey:
        pixels[:] = pixels[..., :1]
    return Photo(pixels, noise(*size, dtype=dtype, seed=1) if alpha else None, grey, icc_profile, exif, "PNG")


def assert_same(photo: Photo, expected: Photo) -> None:
    assert photo.pixels.dtype == expected.pixels.dtype
    np.testing.assert_array_equal(photo.pixels, expected.pixels)
    assert (photo.alpha is None) == (expected.alpha is None)
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, expected.alpha)


def save(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "source").write_bytes(data)
    return tmp_path / "source"


def plain_jpeg(size: tuple[int, int] = (16, 24)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(*size, 3, top=60)).save(stream, "JPEG")
    return stream.getvalue()
