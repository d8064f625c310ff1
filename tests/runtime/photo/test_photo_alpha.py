"""Transparency that says nothing is none; what does say something stays."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from photo_samples import chunk, noise, png_file
from PIL import Image

from runtime.errors import InputError
from runtime.photo import encode_photo, read_photo, write_photo

V4, V5 = 108, 124


def bmp32(samples: np.ndarray, header: int = V5) -> bytes:
    """A BMP of 32 bits a pixel whose header names a mask for alpha."""
    height, width, _ = samples.shape
    body = samples[::-1, :, [2, 1, 0, 3]].tobytes()
    head = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = head.ljust(header, b"\0")
    return struct.pack("<2sIII", b"BM", 14 + header + len(body), 0, 14 + header) + head + body


def with_alpha(value: int, dtype: type = np.uint8, channels: int = 4) -> np.ndarray:
    samples = noise(9, 11, channels, dtype=dtype)
    samples[..., -1] = value
    return samples


def saved(samples: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, kind, **options)
    return stream.getvalue()


def palette(transparency: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(9, 11, 3)).quantize(16).save(stream, "PNG", transparency=transparency)
    return stream.getvalue()


OPAQUE = {
    "png": png_file(with_alpha(255)),
    "png16": png_file(with_alpha(65535, np.uint16)),
    "grey png": png_file(with_alpha(255, channels=2)),
    "grey png16": png_file(with_alpha(65535, np.uint16, channels=2)),
    "key": png_file(noise(9, 11, 3, top=200), extra=chunk(b"tRNS", struct.pack(">HHH", 201, 5, 5))),
    "grey key": png_file(noise(9, 11, 1, top=200), extra=chunk(b"tRNS", struct.pack(">H", 201))),
    "grey key16": png_file(noise(9, 11, 1, top=60000, dtype=np.uint16), extra=chunk(b"tRNS", struct.pack(">H", 60001))),
    "palette": palette(bytes([255] * 16)),
    "tiff": saved(with_alpha(255), "TIFF"),
    "webp": saved(with_alpha(255), "WEBP", lossless=True, exact=True),
    "bmp": bmp32(with_alpha(255)),
    "bmp of zeros": bmp32(with_alpha(0)),
    "bmp v4": bmp32(with_alpha(255), V4),
    "bmp v4 of zeros": bmp32(with_alpha(0), V4),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_opaque_everywhere_has_no_transparency(name: str) -> None:
    photo = read_photo(OPAQUE[name])
    assert photo.alpha is None
    assert photo.pixels.max() > 0
    if photo.pixels.dtype == np.uint8:
        assert encode_photo(photo, "JPEG").startswith(b"\xff\xd8")


def test_a_bmp_that_windows_shows_comes_out_as_it_is(tmp_path: Path) -> None:
    for name in ("bmp", "bmp of zeros"):
        photo = read_photo(OPAQUE[name])
        np.testing.assert_array_equal(photo.pixels, with_alpha(0)[..., :3])
        write_photo(tmp_path / f"{name}.png", photo)
        assert Image.open(tmp_path / f"{name}.png").mode == "RGB"


def test_what_says_something_stays() -> None:
    one = with_alpha(255)
    one[3, 4, 3] = 254
    partly = with_alpha(0)
    partly[3, 4, 3] = 1
    used = noise(9, 11, 3, top=200)
    files = {
        "png": png_file(one),
        "png of zeros": png_file(with_alpha(0)),
        "bmp": bmp32(partly),
        "tiff": saved(one, "TIFF"),
        "webp": saved(one, "WEBP", lossless=True, exact=True),
        "key": png_file(used, extra=chunk(b"tRNS", struct.pack(">HHH", *used[3, 4].tolist()))),
    }
    for name, data in files.items():
        photo = read_photo(data)
        assert photo.alpha is not None, name
        with pytest.raises(InputError, match="transparency"):
            encode_photo(photo, "JPEG")
