"""Camera raw files: a DNG of a known scene is developed with the camera's white balance, upright, highlights whole."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exif_samples import SIZES, made
from PIL import Image

from runtime.cli.inputs import Naming, plan_work
from runtime.cli.photos import main
from runtime.errors import InputError
from runtime.photo import check_destination, read_photo, write_photo

SHORT, LONG, RATIONAL, SRATIONAL, ASCII, BYTE = 3, 4, 5, 10, 2, 1
WHITE = 16383
NEUTRAL = (0.5, 1.0, 0.625)  # what the sensor says of grey: red and blue are amplified by 2 and 1.6
XYZ_TO_SRGB = [3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252]


def value(kind: int, *numbers: float) -> tuple[int, int, bytes]:
    if kind in (RATIONAL, SRATIONAL):
        parts = [part for one in numbers for part in (round(one * 10**6), 10**6)]
        return kind, len(numbers), struct.pack(f"<{len(parts)}{'I' if kind == RATIONAL else 'i'}", *parts)
    return kind, len(numbers), struct.pack(f"<{len(numbers)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *map(int, numbers))


def text(words: str) -> tuple[int, int, bytes]:
    return ASCII, len(words) + 1, words.encode() + b"\0"


def dng(linear: np.ndarray, turn: int = 1, make: str = "Testmaker") -> bytes:
    """A DNG of a sensor with an RGGB mosaic, whose colours are those of sRGB, before its white balance.

    linear: (H, W, 3), 0 to 1, linear light of the scene; what is over the sensor's white is clipped.
    """
    sensor = np.clip(linear * NEUTRAL, 0, 1) * WHITE
    mosaic = sensor[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = sensor[::2, ::2, 0], sensor[1::2, 1::2, 2]
    height, width = mosaic.shape
    pixels = np.rint(mosaic).astype("<u2").tobytes()
    image: dict[int, Any] = {
        254: value(LONG, 0), 256: value(LONG, width), 257: value(LONG, height), 258: value(SHORT, 16),
        259: value(SHORT, 1), 262: value(SHORT, 32803), 271: text(make), 272: text("Model 1"),
        274: value(SHORT, turn), 277: value(SHORT, 1), 278: value(LONG, height), 279: value(LONG, len(pixels)),
        284: value(SHORT, 1), 33421: value(SHORT, 2, 2), 33422: value(BYTE, 0, 1, 1, 2),
        50706: value(BYTE, 1, 4, 0, 0), 50707: value(BYTE, 1, 1, 0, 0), 50708: text("Testmaker Model 1"),
        50714: value(LONG, 0), 50717: value(LONG, WHITE), 50721: value(SRATIONAL, *XYZ_TO_SRGB),
        50728: value(RATIONAL, *NEUTRAL), 50778: value(SHORT, 21),
    }  # fmt: skip
    tags = {"image": {**image, 273: value(LONG, 0)}, "exif": {33434: value(RATIONAL, 0.5), 40962: value(SHORT, 1)}}
    begin = len(made(tags))
    tags["image"][273] = value(LONG, begin)
    assert SIZES
    return made(tags) + pixels


def scene() -> np.ndarray:
    """Grey above, colours below, a brighter corner: linear light, (96, 128, 3)."""
    linear = np.full((96, 128, 3), 0.2)
    linear[48:, :64] = (0.3, 0.1, 0.1)
    linear[48:, 64:] = (0.05, 0.1, 0.4)
    linear[:24, :32] = 0.4
    return linear


def srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.fixture
def save(tmp_path):
    def write(data: bytes, name: str = "night.dng") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_without_rawpy_the_error_names_it(save, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for path in (save(dng(scene())), save(b"FUJIFILMCCD-RAW " + bytes(200), "a.raf")):
        with pytest.raises(InputError, match=r"a camera raw file; develop it .*, or run: pip install rawpy"):
            read_photo(path)


def test_the_scene_comes_back_with_16_bits_and_the_cameras_white_balance(save):
    pytest.importorskip("rawpy")
    photo = read_photo(save(dng(scene())))
    assert (photo.pixels.dtype, photo.format, photo.pixels.shape) == (np.uint16, "TIFF", (96, 128, 3))
    # highlights are whole: red, amplified most, is what reaches the top
    expected = srgb(scene() / 2)
    for rows, columns in (
        (slice(30, 42), slice(60, 120)),
        (slice(56, 88), slice(8, 56)),
        (slice(56, 88), slice(72, 120)),
    ):
        found, wanted = photo.pixels[rows, columns] / 65535, expected[rows, columns]
        np.testing.assert_allclose(found.mean((0, 1)), wanted.mean((0, 1)), atol=0.01)


def test_what_the_sensor_did_not_clip_is_not_clipped(save):
    pytest.importorskip("rawpy")
    linear = np.repeat(np.linspace(0.5, 0.98, 128)[None, :, None], 96, axis=0) * np.ones(3)
    photo = read_photo(save(dng(linear)))
    row = photo.pixels[48, 4:-4].astype(int)
    assert (np.diff(row.mean(axis=1)) > 0).all(), "every step of the ramp is there"
    assert photo.pixels.max() < 65535


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_it_is_upright_once(save, turn):
    pytest.importorskip("rawpy")
    straight = read_photo(save(dng(scene()))).pixels.astype(int)
    photo = read_photo(save(dng(scene(), turn)))
    turned = np.rot90(straight, {3: 2, 6: 3, 8: 1}[turn])
    assert photo.pixels.shape == turned.shape
    assert np.abs(photo.pixels.astype(int) - turned).mean() < 65535 / 1000
    assert photo.exif is not None
    found = Image.Exif()
    found.load(photo.exif)
    assert found[274] == 1


def test_metadata_goes_along_and_the_sensors_does_not(save, tmp_path):
    pytest.importorskip("rawpy")
    photo = read_photo(save(dng(scene())))
    write_photo(tmp_path / "night.tif", photo)
    found = Image.open(tmp_path / "night.tif").getexif()
    assert (found[271], found[272], found.get_ifd(34665)[33434]) == ("Testmaker", "Model 1", 0.5)
    assert not [tag for tag in found if tag >= 50706 or tag in (33421, 33422)]
    assert found.get_ifd(34665)[40962] == 128


def test_it_becomes_a_jpeg_of_8_bits_and_is_never_written(save, tiny_package, tmp_path):
    pytest.importorskip("rawpy")
    path = save(dng(scene()))
    assert read_photo(path, into="JPEG").pixels.dtype == np.uint8
    assert main([str(tiny_package), str(path), "-o", str(tmp_path / "bright.jpg"), "--steps", "1"]) == 0
    assert Image.open(tmp_path / "bright.jpg").size == (128, 96)
    before = path.read_bytes()
    for words in (["-o", str(tmp_path / "new.dng")], ["--in-place"], ["-o", str(path), "--overwrite"]):
        with pytest.raises(InputError, match="read, not written"):
            main([str(tiny_package), str(path), *words])
    with pytest.raises(InputError, match="read, not written"):
        check_destination(tmp_path / "out" / "night.dng", source=path, overwrite=False)
    assert path.read_bytes() == before


def test_in_a_folder_results_are_tiffs(save, tiny_package, tmp_path):
    pytest.importorskip("rawpy")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "night.NEF").write_bytes(dng(scene(), make="Nikon"))
    (folder / "cut.dng").write_bytes(dng(scene())[:900])
    names = [item.target.name for item in plan_work([str(folder)], str(tmp_path / "out"), Naming("_b")).items]
    assert names == ["cut_b.tif", "night_b.tif"]
    assert main([str(tiny_package), str(folder), "-o", str(tmp_path / "out"), "--steps", "1"]) == 1
    assert [one.name for one in (tmp_path / "out").glob("[!.]*")] == ["night.tif"]
    assert read_photo(tmp_path / "out" / "night.tif").pixels.dtype == np.uint16
