"""Photos that are no files: read from bytes and from open files, written to bytes, as a service does."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from photo_samples import SRGB, noise, png_file
from PIL import Image

from runtime.errors import InputError
from runtime.photo import Photo, encode_photo, read_photo, write_photo


def saved(kind: str) -> bytes:
    """A 13x11 photo that lies on its side, with a profile."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = 6
    Image.fromarray(noise(11, 13, 3)).save(file, kind, exif=exif, icc_profile=SRGB)
    return file.getvalue()


def same(photo: Photo, other: Photo) -> bool:
    arrays = np.array_equal(photo.pixels, other.pixels) and photo.pixels.dtype == other.pixels.dtype
    return arrays and [photo.grey, photo.icc_profile, photo.exif, photo.format] == [
        other.grey,
        other.icc_profile,
        other.exif,
        other.format,
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PNG16"])
def test_bytes_and_open_files_are_read_as_the_file_is(tmp_path: Path, kind: str) -> None:
    data = png_file(noise(11, 13, 3, dtype=np.uint16)) if kind == "PNG16" else saved(kind)
    path = tmp_path / "photo"
    path.write_bytes(data)
    photo = read_photo(path)
    assert photo.format == kind.removesuffix("16")
    assert photo.pixels.dtype == (np.uint16 if kind == "PNG16" else np.uint8)
    behind = io.BytesIO(b"a form's head" + data)  # such as an upload whose beginning was read already
    behind.seek(13)
    with path.open("rb") as opened:
        for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), behind, opened):
            assert same(read_photo(source), photo)


def test_a_pipe_is_read_to_its_end() -> None:
    data = saved("JPEG")
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert same(read_photo(pipe), read_photo(data))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "cannot read the photo: it is empty"),
        (io.BytesIO(), "cannot read the photo: it is empty"),
        (b"GIF89a" + bytes(40), "cannot read the photo: it is a GIF"),
        (saved("JPEG")[:-300], "cannot read the photo: the JPEG file is damaged"),
        (saved("PNG")[:-30], "cannot read the photo: the PNG file is damaged"),
        (io.StringIO("text"), "from a StringIO"),
        (np.zeros((4, 4, 3), np.uint8), "from a ndarray"),
        (None, "from a NoneType"),
    ],
)
def test_what_is_no_photo_is_an_input_error(source: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_photo(source)  # type: ignore[arg-type]


def test_limits_hold_in_memory_too() -> None:
    with pytest.raises(InputError, match=r"cannot read the photo: it is 13 x 11 .* above the limit"):
        read_photo(png_file(noise(11, 13, 3)), max_pixels=100)


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp")])
def test_a_photo_in_memory_is_the_file_that_is_written(tmp_path: Path, kind: str, suffix: str) -> None:
    photo = read_photo(saved(kind))
    write_photo(tmp_path / f"photo{suffix}", photo)
    assert encode_photo(photo, kind) == (tmp_path / f"photo{suffix}").read_bytes()


def test_what_a_format_does_not_hold_is_refused() -> None:
    deep = read_photo(png_file(noise(11, 13, 3, dtype=np.uint16)))
    with pytest.raises(InputError, match="cannot write a JPEG: the photo has 16 bits"):
        encode_photo(deep, "JPEG")
    with pytest.raises(InputError, match=r"the format .*jpg.; use one of JPEG, PNG, TIFF, WEBP, BMP"):
        encode_photo(deep, ".jpg")
