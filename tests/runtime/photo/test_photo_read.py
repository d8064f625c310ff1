"""read_photo: the pixels of every kind of file against an encoder written here, Pillow's own answers and tifffile."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from photo_samples import SRGB, chunk, noise, parts, png_file, read
from PIL import Image

from runtime.errors import InputError
from runtime.photo import Photo

ROOT = Path(__file__).resolve().parents[3]


def assert_photo(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, grey: bool, kind: str) -> None:
    assert photo.pixels.dtype == pixels.dtype
    assert photo.pixels.flags.c_contiguous
    np.testing.assert_array_equal(photo.pixels, pixels)
    if alpha is None:
        assert photo.alpha is None
    else:
        assert photo.alpha is not None
        assert photo.alpha.dtype == pixels.dtype
        np.testing.assert_array_equal(photo.alpha, alpha)
    assert (photo.grey, photo.format) == (grey, kind)


# 8 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_8bit(tmp_path: Path, channels: int, interlaced: bool) -> None:
    samples = noise(13, 11, channels)
    photo = read(tmp_path, png_file(samples, interlaced=interlaced))
    assert_photo(photo, *parts(samples), channels < 3, "PNG")
    assert photo.icc_profile is None
    assert photo.exif is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit(tmp_path: Path, kind: str) -> None:
    bits = noise(9, 21, top=2).astype(bool)
    photo = read(tmp_path, Image.fromarray(bits), kind)
    np.testing.assert_array_equal(photo.pixels, np.repeat(bits[..., None] * np.uint8(255), 3, axis=2))
    assert photo.grey


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palette(tmp_path: Path, kind: str) -> None:
    index, palette = noise(9, 7, top=5), noise(5, 3, seed=1)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    assert_photo(read(tmp_path, image, kind), palette[index], None, False, kind)


@pytest.mark.parametrize("transparency", [3, bytes([0, 255, 7, 128, 1])])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    index, palette = noise(9, 7, top=5), noise(5, 3, seed=1)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    alphas = np.array([255, 255, 255, 0, 255] if transparency == 3 else list(bytes(transparency)), np.uint8)
    photo = read(tmp_path, image, transparency=transparency)
    assert_photo(photo, palette[index], alphas[index], False, "PNG")


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_colour_key(tmp_path: Path, depth: int) -> None:
    values = noise(8, 8, top=2**depth)
    key = int(values[2, 3])
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(8, -1)
    rows = np.packbits(bits, axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 8, 8, depth, 0, 0, 0, 0)
    # the upper bits of a key mean nothing below 16 bits
    key_chunk = chunk(b"tRNS", struct.pack(">H", key | 0x100))
    data = chunk(b"IHDR", header) + key_chunk + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    photo = read(tmp_path, b"\x89PNG\r\n\x1a\n" + data)
    spread = (values * (255 // (2**depth - 1))).astype(np.uint8)
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    assert 0 < np.count_nonzero(alpha) < alpha.size
    assert_photo(photo, np.repeat(spread[..., None], 3, axis=2), alpha, True, "PNG")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_colour_key(tmp_path: Path, dtype: type) -> None:
    samples = noise(9, 7, 3, top=np.iinfo(dtype).max + 1, dtype=dtype)
    samples[4, 4] = samples[1, 2]
    samples[5, 5, :2] = samples[1, 2, :2]
    key = struct.pack(">3H", *samples[1, 2].tolist())
    photo = read(tmp_path, png_file(samples, extra=chunk(b"tRNS", key)))
    alpha = np.full((9, 7), np.iinfo(dtype).max, dtype)
    alpha[1, 2] = alpha[4, 4] = 0
    assert_photo(photo, samples, alpha, False, "PNG")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_8bit(tmp_path: Path, mode: str, compression: str) -> None:
    samples = noise(19, 17, {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode])
    image = Image.fromarray(samples.squeeze(), mode)
    photo = read(tmp_path, image, "TIFF", compression=compression)
    assert_photo(photo, *parts(samples), mode in ("L", "LA"), "TIFF")


@pytest.mark.parametrize(("mode", "kind"), [("L", "BMP"), ("RGB", "BMP"), ("RGB", "WEBP"), ("RGBA", "WEBP")])
def test_bmp_and_lossless_webp(tmp_path: Path, mode: str, kind: str) -> None:
    samples = noise(12, 15, {"L": 1, "RGB": 3, "RGBA": 4}[mode])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    photo = read(tmp_path, Image.fromarray(samples.squeeze(), mode), kind, **options)
    assert_photo(photo, *parts(samples), mode == "L", kind)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_equals_pillow(tmp_path: Path, mode: str, progressive: bool) -> None:
    image = Image.fromarray(noise(20, 24, 3)).convert(mode)
    photo = read(tmp_path, image, "JPEG", progressive=progressive)
    with Image.open(tmp_path / "photo.bin") as same:
        assert_photo(photo, np.asarray(same.convert("RGB")), None, mode == "L", "JPEG")


def test_first_picture_of_an_mpo(tmp_path: Path) -> None:
    dark, bright = (Image.new("RGB", (16, 8), colour) for colour in ((10, 20, 30), (200, 210, 220)))
    photo = read(tmp_path, dark, "MPO", save_all=True, append_images=[bright])
    assert photo.format == "JPEG"
    assert photo.pixels.shape == (8, 16, 3)
    assert np.abs(photo.pixels.astype(int) - (10, 20, 30)).max() <= 2


# CMYK


def cmyk_profile() -> bytes:
    """An ICC profile that shows any ink as Lab (100 - cyan %, 40, -20), whatever the other inks are."""
    nodes = [(255 - cyan, 168, 108) for cyan in (0, 255) for _ in range(8)]
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4
    lut += bytes(itertools.chain.from_iterable(nodes)) + ramp * 3
    lut += bytes(-len(lut) % 4)
    offset = 128 + 4 + 12
    header = struct.pack(">I4sI4s4s4s", offset + len(lut), b"\0\0\0\0", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", offset, len(lut)) + lut


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(tmp_path: Path, kind: str) -> None:
    inks = np.zeros((8, 16, 4), np.uint8)
    inks[:, 8:, 0] = 128
    inks[..., 1] = 77
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    photo = read(tmp_path, Image.fromarray(inks, "CMYK"), kind, icc_profile=cmyk_profile(), **options)
    assert photo.pixels.shape == (8, 16, 3)
    assert photo.icc_profile is None
    assert not photo.grey
    # CIE Lab (49.8, 40, -20) in D50 is sRGB (169, 91, 154); the plain formula gives (127, 178, 255)
    np.testing.assert_allclose(photo.pixels[4, 12], (169, 91, 154), atol=3)
    assert photo.pixels[4, 4].sum() > photo.pixels[4, 12].sum()


@pytest.mark.parametrize("profile", [None, b"not a profile" * 20, SRGB])
def test_cmyk_without_a_usable_profile(tmp_path: Path, profile: bytes | None) -> None:
    inks = noise(8, 16, 4)
    photo = read(tmp_path, Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=profile)
    assert_photo(photo, np.asarray(Image.fromarray(inks, "CMYK").convert("RGB")), None, False, "TIFF")
    assert photo.icc_profile is None


# 16 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("top", [200, 65536])
def test_png_16bit(tmp_path: Path, channels: int, interlaced: bool, top: int) -> None:
    samples = noise(13, 11, channels, top=top, dtype=np.uint16)
    photo = read(tmp_path, png_file(samples, interlaced=interlaced))
    assert_photo(photo, *parts(samples), channels < 3, "PNG")


def test_png_16bit_grey_colour_key(tmp_path: Path) -> None:
    samples = noise(9, 7, 1, top=65536, dtype=np.uint16)
    key = int(samples[3, 3, 0])
    photo = read(tmp_path, png_file(samples, extra=chunk(b"tRNS", struct.pack(">H", key))))
    assert photo.alpha is not None
    assert photo.alpha[3, 3] == 0
    assert np.count_nonzero(photo.alpha == 65535) == 62


@pytest.mark.parametrize("top", [200, 65536])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate"])
def test_tiff_16bit_grey(tmp_path: Path, top: int, compression: str) -> None:
    values = noise(19, 17, top=top, dtype=np.uint16)
    photo = read(tmp_path, Image.fromarray(values), "TIFF", compression=compression)
    assert_photo(photo, np.repeat(values[..., None], 3, axis=2), None, True, "TIFF")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_of_tifffile(
    tmp_path: Path, order: str, channels: int, compression: str | None, tile: tuple[int, int] | None, dtype: type
) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = noise(35, 21, channels, top=np.iinfo(dtype).max + 1, dtype=dtype)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        (samples[..., 0] if channels == 1 else samples).astype(np.dtype(dtype).newbyteorder(order)),
        byteorder=order,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
        predictor=compression is not None,
        tile=tile,
        bigtiff=tile is not None and order == "<",
    )
    assert_photo(read(tmp_path, stream.getvalue()), *parts(samples), channels == 1, "TIFF")


def test_tiff_16bit_premultiplied(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = noise(9, 7, 4, top=65536, dtype=np.uint16)
    samples[0, 0, 3] = 0
    stored = samples.copy()
    stored[..., :3] = np.round(samples[..., :3] * (samples[..., 3:] / 65535))
    stream = io.BytesIO()
    tifffile.imwrite(stream, stored, photometric="rgb", extrasamples=["assocalpha"])
    photo = read(tmp_path, stream.getvalue())
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, samples[..., 3])
    np.testing.assert_array_equal(photo.pixels[0, 0], 0)
    clear = samples[..., 3] > 30000
    assert clear.sum() > 20
    assert np.abs(photo.pixels[clear].astype(int) - samples[..., :3][clear]).max() <= 2


# Photo itself


def test_photo_checks_its_arrays() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    for wrong in (pixels[..., 0], pixels[..., :2], pixels[:0], pixels.astype(np.float32), pixels.astype(np.int16)):
        with pytest.raises(InputError, match="uint8 or uint16"):
            Photo(wrong, None, False, None, None, "PNG")
    for alpha in (pixels[..., 0].T, pixels[..., 0].astype(np.uint16), pixels):
        with pytest.raises(InputError, match=r"alpha is .* give \(4, 5\) uint8"):
            Photo(pixels, alpha, False, None, None, "PNG")


def test_with_pixels_keeps_the_rest_and_converts_alpha() -> None:
    alpha = np.array([[0, 1, 128, 255]], np.uint8)
    photo = Photo(np.zeros((1, 4, 3), np.uint8), alpha, True, b"icc", b"exif", "TIFF")
    deep = photo.with_pixels(np.full((1, 4, 3), 1000, np.uint16))
    assert deep.alpha is not None
    assert deep.alpha.tolist() == [[0, 257, 32896, 65535]]
    assert (deep.grey, deep.icc_profile, deep.exif, deep.format) == (True, b"icc", b"exif", "TIFF")
    back = deep.with_pixels(np.zeros((1, 4, 3), np.uint8))
    assert back.alpha is not None
    assert back.alpha.dtype == np.uint8
    np.testing.assert_array_equal(back.alpha, alpha)
    values = np.array([[128, 129, 32767, 65407]], np.uint16)
    halved = Photo(np.zeros((1, 4, 3), np.uint16), values, False, None, None, "PNG").with_pixels(photo.pixels)
    assert halved.alpha is not None
    assert halved.alpha.tolist() == [[0, 1, 127, 255]]
    with pytest.raises(InputError, match="alpha"):
        photo.with_pixels(np.zeros((2, 4, 3), np.uint8))


def test_importing_the_package_loads_no_codec() -> None:
    code = "import sys, runtime.photo; print(sorted({'PIL', 'tifffile', 'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
