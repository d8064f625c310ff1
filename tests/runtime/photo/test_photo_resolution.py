"""How large a print is meant to be: through every pair of formats, read back by code of the tests' own."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from exif_samples import Tags, exif_of, jpeg_segments, jpeg_with, made, parsed, png_chunks, riff_chunks
from photo_samples import chunk, noise, plain_jpeg, png_file, save
from PIL import Image

from runtime.photo import read_photo, write_photo

FORMATS = [".jpg", ".png", ".tif", ".webp"]


def densities(path: Path) -> dict[str, tuple[float, ...]]:
    """What the file says, by the place where it says it; only what says something."""
    data, found = path.read_bytes(), {}
    for marker, body in jpeg_segments(data):
        if marker == 0xE0 and body[7:12] != b"\0\0\1\0\1":
            found["JFIF"] = struct.unpack(">BHH", body[7:12])
    for kind, body in png_chunks(data):
        if kind == b"pHYs":
            found["pHYs"] = struct.unpack(">IIB", body)
    if data[:2] == b"BM" and data[38:46] != bytes(8):
        found["BMP"] = struct.unpack("<ii", data[38:46])
    places = [marker for marker, body in jpeg_segments(data) if body[:4] == b"Exif"]
    places += [kind for kind, _ in png_chunks(data) + riff_chunks(data) if kind in (b"eXIf", b"EXIF")]
    if places or path.suffix == ".tif":
        order, tags = parsed(exif_of(path))
        if 282 in tags["image"]:
            x, y = (struct.unpack(order + "2I", tags["image"][tag][2]) for tag in (282, 283))
            unit = struct.unpack(order + "H", tags["image"][296][2])[0]
            found["EXIF"] = (x[0] / x[1], y[0] / y[1], unit)
    return found


def jfif(unit: int, x: int, y: int) -> bytes:
    data = plain_jpeg()
    return data[:13] + struct.pack(">BHH", unit, x, y) + data[18:]


def tiff(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(16, 24, 3)).save(stream, "TIFF", **options)
    return stream.getvalue()


def phys(x: int, y: int, unit: int) -> bytes:
    return png_file(noise(16, 24, 3), extra=chunk(b"pHYs", struct.pack(">IIB", x, y, unit)))


def bmp(x: int, y: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(16, 24, 3)).save(stream, "BMP")
    data = stream.getvalue()
    return data[:38] + struct.pack("<ii", x, y) + data[46:]


DPI = {"JFIF": (1, 300, 300), "pHYs": (11811, 11811, 1), "EXIF": (300, 300, 2), "BMP": (11811, 11811)}
CM = {"JFIF": (2, 118, 59), "pHYs": (11800, 5900, 1), "EXIF": (118, 59, 3), "BMP": (11800, 5900)}
RATIO = {"JFIF": (0, 3, 2), "pHYs": (3, 2, 0), "EXIF": (3, 2, 1), "BMP": None}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jfif(1, 300, 300), DPI),
        (jfif(2, 118, 59), CM),
        (jfif(0, 3, 2), RATIO),
        (jfif(0, 1, 1), dict.fromkeys(DPI)),
        (jfif(1, 0, 0), dict.fromkeys(DPI)),
        (phys(11811, 11811, 1), DPI),
        (phys(3, 2, 0), RATIO),
        (phys(0, 0, 1), dict.fromkeys(DPI)),
        (bmp(11811, 11811), DPI),
        (bmp(0, 0), dict.fromkeys(DPI)),
        (tiff(dpi=(300, 300)), DPI),
        (tiff(x_resolution=118.0, y_resolution=59.0, resolution_unit="cm"), CM),
        (tiff(), dict.fromkeys(DPI)),
    ],
)
def test_resolution(tmp_path: Path, said: list[str], data: bytes, expected: dict[str, tuple[int, ...] | None]) -> None:
    photo = read_photo(save(tmp_path, data))
    for suffix, place in ((".jpg", "JFIF"), (".png", "pHYs"), (".tif", "EXIF"), (".webp", "EXIF"), (".bmp", "BMP")):
        write_photo(tmp_path / f"a{suffix}", photo)
        assert densities(tmp_path / f"a{suffix}").get(place) == expected[place], suffix
    assert [line for line in said if "resolution" in line] == []


def test_resolutions_that_disagree(tmp_path: Path, said: list[str]) -> None:
    rational = struct.pack("<2I", 300, 1)
    exif = made({"image": {282: (5, 1, rational), 283: (5, 1, rational), 296: (3, 1, b"\2\0")}})
    photo = read_photo(save(tmp_path, jpeg_with(jfif(1, 72, 72), (0xE1, b"Exif\0\0" + exif))))
    for suffix in FORMATS:
        write_photo(tmp_path / f"a{suffix}", photo)
    assert densities(tmp_path / "a.jpg") == {"JFIF": (1, 72, 72), "EXIF": (300, 300, 2)}
    assert densities(tmp_path / "a.png") == {"pHYs": (2835, 2835, 1), "EXIF": (300, 300, 2)}
    assert densities(tmp_path / "a.tif") == densities(tmp_path / "a.webp") == {"EXIF": (300, 300, 2)}
    words = "left out: the resolution of the file's header, 72 dpi (that of EXIF, 300 dpi, is kept)"
    assert said == [f"{tmp_path / name}: {words}" for name in ("a.tif", "a.webp")]


@pytest.mark.parametrize("value", [(12, 1, struct.pack("<d", np.inf)), (5, 1, bytes(8)), (2, 2, b"x\0"), (3, 0, b"")])
def test_a_resolution_that_is_no_number(tmp_path: Path, value: tuple[int, int, bytes]) -> None:
    tags: Tags = {"image": {282: value, 283: value, 296: (11, 1, struct.pack("<f", np.nan))}}
    photo = read_photo(save(tmp_path, jpeg_with(plain_jpeg(), (0xE1, b"Exif\0\0" + made(tags)))))
    for suffix in FORMATS:
        write_photo(tmp_path / f"a{suffix}", photo)
        found = parsed(exif_of(tmp_path / f"a{suffix}"))[1]["image"]
        assert {tag: found[tag] for tag in (282, 283, 296)} == tags["image"]


def test_the_resolution_turns_with_the_picture(tmp_path: Path) -> None:
    x, y = struct.pack("<2I", 300, 1), struct.pack("<2I", 150, 1)
    tags: Tags = {"image": {274: (3, 1, b"\6\0"), 282: (5, 1, x), 283: (5, 1, y), 296: (3, 1, b"\2\0")}}
    photo = read_photo(save(tmp_path, jpeg_with(jfif(1, 300, 150), (0xE1, b"Exif\0\0" + made(tags)))))
    write_photo(tmp_path / "a.jpg", photo)
    assert densities(tmp_path / "a.jpg") == {"JFIF": (1, 150, 300), "EXIF": (150, 300, 2)}
