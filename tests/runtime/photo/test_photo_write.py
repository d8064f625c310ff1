"""write_photo: what is in the files by other decoders."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_samples import GREY_PROFILE, SRGB, assert_same, noise, photo_of
from PIL import Image

from runtime.errors import InputError
from runtime.photo import SUFFIXES, Photo, read_photo, write_photo
from runtime.photo import write as write_module


def exif_bytes(maker_note: bytes = b"maker note") -> bytes:
    exif = Image.Exif()
    exif[271], exif[274] = "Camera", 1
    exif[34665] = {33434: 0.02, 37500: maker_note, 40965: {1: "R98"}}
    exif[34853] = {1: "N", 2: (50.0, 30.0, 12.5)}
    return exif.tobytes()


def decode_png(data: bytes) -> tuple[np.ndarray, dict[bytes, bytes]]:
    """Samples (H, W, C) and the other chunks of a PNG with filter Up only, by the specification."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, chunks, pixels = 8, {}, b""
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + body), kind
        if kind == b"IDAT":
            pixels += body
        else:
            chunks[kind] = body
        position += 12 + length
    assert kind == b"IEND"
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [0, 0, 0]
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, -1)
    assert (lines[:, 0] == 2).all()
    rows = np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8)
    return rows.view(">u2" if depth == 16 else np.uint8).reshape(height, width, channels), chunks


def stacked(photo: Photo) -> np.ndarray:
    colours = [photo.pixels[..., :1] if photo.grey else photo.pixels]
    return np.concatenate(colours + ([] if photo.alpha is None else [photo.alpha[..., None]]), axis=2)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_lossless_round_trip(tmp_path: Path, suffix: str, dtype: Any, alpha: bool, grey: bool) -> None:
    profile = GREY_PROFILE if grey else SRGB
    photo = photo_of(dtype, alpha=alpha, grey=grey, icc_profile=profile)
    if suffix == ".bmp" and (alpha or dtype == np.uint16):
        pytest.skip("BMP holds 8 bits and no alpha; see test_nothing_is_lost_in_silence")
    write_photo(tmp_path / f"a{suffix}", photo)
    back = read_photo(tmp_path / f"a{suffix}")
    assert_same(back, photo)
    assert back.format == SUFFIXES[suffix]
    # 16-bit grey with alpha has no place in a TIFF that others read: it becomes RGBA
    spread = grey and SUFFIXES[suffix] == "TIFF" and alpha and dtype == np.uint16
    assert back.grey == (grey and not spread)
    assert back.icc_profile == (None if spread else profile)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_png_by_the_specification(tmp_path: Path, dtype: Any, alpha: bool, grey: bool) -> None:
    of_it = GREY_PROFILE if grey else SRGB
    photo = photo_of(dtype, alpha=alpha, grey=grey, icc_profile=of_it, exif=exif_bytes())
    write_photo(tmp_path / "a.png", photo)
    samples, chunks = decode_png((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(samples, stacked(photo))
    name, _, profile = chunks[b"iCCP"].partition(b"\0")
    assert 0 < len(name) < 80
    assert (profile[0], zlib.decompress(profile[1:])) == (0, of_it)
    assert chunks[b"eXIf"] == exif_bytes()[6:]
    assert set(chunks) == {b"IHDR", b"iCCP", b"eXIf", b"IEND"}


def test_png_of_several_bands(tmp_path: Path) -> None:
    photo = photo_of(np.uint16, size=(700, 600))
    write_photo(tmp_path / "a.png", photo)
    data = (tmp_path / "a.png").read_bytes()
    assert data.count(b"IDAT") > 1
    np.testing.assert_array_equal(decode_png(data)[0], photo.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("size", [(23, 31), (700, 600)])
def test_tiff_by_tifffile(tmp_path: Path, dtype: Any, alpha: bool, size: tuple[int, int]) -> None:
    tifffile = pytest.importorskip("tifffile")
    photo = photo_of(dtype, alpha=alpha, size=size)
    write_photo(tmp_path / "a.tif", photo)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        np.testing.assert_array_equal(page.asarray(), stacked(photo))
        assert (page.photometric.name, page.compression.name, len(file.pages)) == ("RGB", "ADOBE_DEFLATE", 1)
        assert tuple(page.extrasamples) == ((2,) if alpha else ())


def test_photo_of_one_pixel(tmp_path: Path) -> None:
    for suffix, dtype in ((".png", np.uint16), (".tif", np.uint16), (".bmp", np.uint8)):
        photo = photo_of(dtype, size=(1, 1))
        write_photo(tmp_path / f"a{suffix}", photo)
        assert_same(read_photo(tmp_path / f"a{suffix}"), photo)


def test_arrays_that_are_not_contiguous(tmp_path: Path) -> None:
    wide = noise(23, 62, 3, dtype=np.uint16)
    photo = Photo(wide[::-1, ::2], None, False, None, None, "PNG")
    for name in ("a.png", "a.tif"):
        write_photo(tmp_path / name, photo)
        assert_same(read_photo(tmp_path / name), photo)


def test_jpeg_settings(tmp_path: Path) -> None:
    photo = photo_of(size=(64, 80))
    write_photo(tmp_path / "a.jpg", photo)
    stream = io.BytesIO()
    Image.fromarray(photo.pixels).save(stream, "JPEG", quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as image, Image.open(stream) as expected:
        assert image.quantization == expected.quantization
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("grey", [False, True])
def test_webp_is_close_and_its_alpha_exact(tmp_path: Path, grey: bool) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (48, 1))] * 3, axis=2)
    alpha = noise(48, 64)
    write_photo(tmp_path / "a.webp", Photo(pixels, alpha, grey, None, None, "PNG"))
    back = read_photo(tmp_path / "a.webp")
    assert back.alpha is not None
    np.testing.assert_array_equal(back.alpha, alpha)
    assert np.abs(back.pixels[alpha > 0].astype(int) - pixels[alpha > 0]).max() <= 12
    assert not back.grey


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_photo_with_coloured_pixels_becomes_its_luminance(tmp_path: Path, suffix: str) -> None:
    pixels = noise(23, 31, 3)
    write_photo(tmp_path / f"a{suffix}", Photo(pixels, None, True, None, None, "PNG"))
    back = read_photo(tmp_path / f"a{suffix}")
    assert back.grey
    np.testing.assert_array_equal(back.pixels[..., 1], np.asarray(Image.fromarray(pixels).convert("L")))


def test_luminance_of_16_bits(tmp_path: Path) -> None:
    pixels = np.array([[[65535, 65535, 65535], [0, 0, 0], [65535, 0, 0], [0, 65535, 0], [100, 300, 200]]], np.uint16)
    write_photo(tmp_path / "a.png", Photo(pixels, None, True, None, None, "PNG"))
    expected = np.floor(pixels @ (np.array([19595, 38470, 7471]) / 65536) + 0.5)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels[..., 0], expected)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_icc_profile_goes_along(tmp_path: Path, suffix: str, grey: bool) -> None:
    profile = GREY_PROFILE if grey and suffix == ".jpg" else SRGB  # a grey WebP has three channels
    write_photo(tmp_path / f"a{suffix}", photo_of(grey=grey, icc_profile=profile))
    assert read_photo(tmp_path / f"a{suffix}").icc_profile == profile


def test_grey_profile_stays_with_grey_pixels(tmp_path: Path) -> None:
    profile = GREY_PROFILE
    photo = photo_of(grey=True, icc_profile=profile)
    write_photo(tmp_path / "a.png", photo)
    write_photo(tmp_path / "a.webp", photo)
    assert read_photo(tmp_path / "a.png").icc_profile == profile
    assert read_photo(tmp_path / "a.webp").icc_profile is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_goes_along(tmp_path: Path, suffix: str, dtype: Any) -> None:
    if dtype == np.uint16 and suffix in (".jpg", ".webp"):
        pytest.skip("an 8-bit format")
    write_photo(tmp_path / f"a{suffix}", photo_of(dtype, exif=exif_bytes()))
    with Image.open(tmp_path / f"a{suffix}") as image:
        exif = image.getexif()
        assert (exif[271], exif.get(274, 1)) == ("Camera", 1)
        assert exif.get_ifd(34665)[33434] == pytest.approx(0.02)
        assert exif.get_ifd(34665)[37500] == b"maker note"
        assert exif.get_ifd(40965)[1] == "R98"
        assert exif.get_ifd(34853)[2] == (50.0, 30.0, 12.5)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_rotated_photo_is_written_upright(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[274], exif[256], exif[257] = 6, 4000, 3000
    stream = tmp_path / "source.png"
    Image.fromarray(noise(2, 3, 3)).resize((48, 32)).save(stream, exif=exif.tobytes())
    photo = read_photo(stream)
    write_photo(tmp_path / f"a{suffix}", photo)
    back = read_photo(tmp_path / f"a{suffix}")
    assert back.pixels.shape[:2] == (48, 32)
    assert np.abs(back.pixels.astype(int) - photo.pixels).mean() < 3
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.getexif().get(274, 1) == 1


def test_exif_cannot_change_the_layout_of_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[256], exif[273] = "Camera", 4000, 8
    photo = photo_of(np.uint16, exif=exif.tobytes())
    write_photo(tmp_path / "a.tif", photo)
    assert_same(read_photo(tmp_path / "a.tif"), photo)


def test_a_tag_too_long_for_a_jpeg_costs_that_tag_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(write_module._log, "warning", lambda text, *values: warnings.append(text % values))
    photo = photo_of(exif=exif_bytes(bytes(70_000)))
    write_photo(tmp_path / "a.jpg", photo)
    with Image.open(tmp_path / "a.jpg") as image:
        exif = image.getexif()
        assert exif[271] == "Camera"
        assert exif.get_ifd(34853)[2] == (50.0, 30.0, 12.5)
        assert exif.get_ifd(34665)[33434] == pytest.approx(0.02)
        assert 37500 not in exif.get_ifd(34665)
    assert warnings == [
        f"{tmp_path / 'a.jpg'}: left out: EXIF tag 0x927c (70000 bytes, where all of EXIF may have 65533)"
    ]
    write_photo(tmp_path / "a.png", photo)
    assert len(read_photo(tmp_path / "a.png").exif or b"") > 70_000


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp", ".JPG"])
def test_nothing_is_lost_in_silence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for photo, cure in (
        (photo_of(alpha=True), "transparency.*PNG, TIFF, WebP, AVIF or HEIC"),
        (photo_of(np.uint16), "16 bits.*PNG or TIFF"),
    ):
        with pytest.raises(InputError, match=cure):
            write_photo(path, photo)
    with pytest.raises(InputError, match=r"16 bits.*WEBP holds 8"):
        write_photo(tmp_path / "a.webp", photo_of(np.uint16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16383), (".jpg", 65500)])
def test_longest_side(tmp_path: Path, suffix: str, side: int) -> None:
    write_photo(tmp_path / f"a{suffix}", photo_of(size=(1, side)))
    assert read_photo(tmp_path / f"a{suffix}").pixels.shape == (1, side, 3)
    with pytest.raises(InputError, match=f"{side + 1} x 1 and .* ends at {side}"):
        write_photo(tmp_path / f"b{suffix}", photo_of(size=(1, side + 1)))
