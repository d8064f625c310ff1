"""read_photo: what comes with the pixels, which is orientation, EXIF and ICC profile."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from photo_samples import SRGB, chunk, noise, parts, png_file, read
from PIL import Image, ImageOps

from runtime.photo import read_photo


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[271], exif[256], exif[274] = "Camera", 4000, orientation
    exif[34665] = {33434: 0.02, 37500: b"maker note", 40962: 4000, 40965: {1: "R98"}}
    exif[34853] = {1: "N", 2: (50.0, 30.0, 12.5)}
    return exif


def parsed(data: bytes | None) -> Image.Exif:
    assert data is not None
    exif = Image.Exif()
    exif.load(data)
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "PNG16"])
def test_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / "photo.bin"
    samples = noise(16, 24, 4)
    exif = exif_of(orientation)
    if kind == "PNG16":
        deep = samples * np.uint16(257)
        path.write_bytes(png_file(deep, extra=chunk(b"eXIf", exif.tobytes()[6:])))
        expected = np.asarray(ImageOps.exif_transpose(Image.open(path))) * np.uint16(257)
    else:
        mode = "RGB" if kind == "JPEG" else "RGBA"
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        if kind == "TIFF":
            del exif[256]  # Pillow would take it for the width of the picture
        Image.fromarray(samples).convert(mode).save(path, kind, exif=exif.tobytes(), **options)
        # from memory: by path, Pillow 13 scrambles an uncompressed RGBA TIFF with orientation 5 to 8
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes()))))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    if expected.shape[2] == 4:
        np.testing.assert_array_equal(photo.alpha, expected[..., 3])
    assert photo.pixels.shape[:2] == ((24, 16) if orientation >= 5 else (16, 24))
    assert parsed(photo.exif)[274] == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_tiff_16bit(tmp_path: Path, orientation: int, channels: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = noise(10, 6, channels, top=65536, dtype=np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        samples.squeeze(),
        photometric="rgb" if channels == 3 else "minisblack",
        extratags=[(274, "H", 1, orientation, True)],
    )
    photo = read(tmp_path, stream.getvalue())
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: np.rot90,
    }[orientation](samples)
    np.testing.assert_array_equal(photo.pixels, parts(turned)[0])


@pytest.mark.parametrize("value", [0, 9, 4660])
def test_orientation_that_means_nothing(tmp_path: Path, value: int) -> None:
    samples = noise(6, 9, 3)
    photo = read(tmp_path, png_file(samples, extra=chunk(b"eXIf", exif_of(value).tobytes()[6:])))
    np.testing.assert_array_equal(photo.pixels, samples)
    assert parsed(photo.exif)[274] == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_keeps_what_is_still_true(tmp_path: Path, kind: str) -> None:
    exif = parsed(read(tmp_path, Image.new("RGB", (32, 16)), kind, exif=exif_of(1)).exif)
    assert exif[271] == "Camera"
    assert exif.get_ifd(34665)[33434] == pytest.approx(0.02)
    assert exif.get_ifd(34665)[37500] == b"maker note"
    assert exif.get_ifd(40965)[1] == "R98"
    assert exif.get_ifd(34853)[2] == (50.0, 30.0, 12.5)
    assert 256 not in exif
    assert exif.get_ifd(34665)[40962] == 32, "the picture's own width, where the source told another"


@pytest.mark.parametrize(("endian", "mark"), [("<", b"II"), (">", b"MM")])
def test_exif_keeps_its_byte_order(tmp_path: Path, endian: str, mark: bytes) -> None:
    exif = exif_of(1)
    exif.endian = endian
    photo = read(tmp_path, Image.new("RGB", (32, 16)), "PNG", exif=exif.tobytes())
    assert photo.exif is not None
    assert photo.exif[6:8] == mark, "maker notes are read in the byte order around them"


def test_exif_thumbnail_is_dropped(tmp_path: Path) -> None:
    tags = [(271, 2, 4, b"Cam\0")]
    thumbnail = b"\xff\xd8" + b"dark thumbnail" + b"\xff\xd9"
    first = 8
    second = first + 2 + 12 * len(tags) + 4
    end = second + 2 + 24 + 4
    data = b"II*\0" + struct.pack("<I", first) + struct.pack("<H", 1)
    data += struct.pack("<HHI4s", *tags[0]) + struct.pack("<I", second)
    data += struct.pack("<HHHIIHHIII", 2, 513, 4, 1, end, 514, 4, 1, len(thumbnail), 0) + thumbnail
    photo = read(tmp_path, Image.new("RGB", (32, 16)), "JPEG", exif=b"Exif\0\0" + data)
    assert b"thumbnail" in (tmp_path / "photo.bin").read_bytes()
    assert photo.exif is not None
    assert b"thumbnail" not in photo.exif
    assert parsed(photo.exif)[271] == "Cam"


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0garbage", b"Exif\0\0"])
def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path, exif: bytes) -> None:
    photo = read(tmp_path, Image.new("L", (32, 16), 7), "WEBP", exif=exif, lossless=True)
    assert (photo.pixels == 7).all()


def test_tiff_exif_has_no_storage_tags(tmp_path: Path) -> None:
    source = exif_of(6)
    del source[256]
    photo = read(tmp_path, Image.new("RGB", (32, 16)), "TIFF", exif=source.tobytes(), icc_profile=SRGB)
    exif = parsed(photo.exif)
    assert set(exif) == {271, 274, 34665, 34853}
    assert exif[274] == 1
    assert exif.get_ifd(34665)[37500] == b"maker note"
    assert len(photo.exif or b"") < 500
    assert photo.icc_profile == SRGB
