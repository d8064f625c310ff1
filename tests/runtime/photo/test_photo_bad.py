"""read_photo on everything that is not a usable photo: an InputError of one line, and nothing else."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_samples import SRGB, chunk, noise
from PIL import Image

from runtime.errors import InputError
from runtime.photo import Photo, read_photo, write_photo


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_photo(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "; " in message, "a cure follows the facts"
    return message


def refused(tmp_path: Path, data: bytes, **options: Any) -> str:
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    return refusal(path, **options)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: int = 1) -> bytes:
    """A PNG of zeros with any size in its header and ``rows`` rows in its body."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    body = zlib.compress(bytes((1 + (width * bits + 7) // 8) * rows), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def samples(tmp_path: Path) -> dict[str, bytes]:
    """One file of each kind, with EXIF and an ICC profile where it holds them."""
    exif = Image.Exif()
    exif[271], exif[274] = "Camera", 6
    exif[34665] = {33434: 0.02, 37500: b"maker note" * 9, 40965: {1: "R98"}}
    extras = {"icc_profile": SRGB, "exif": exif.tobytes()}
    colour = Image.fromarray(noise(23, 31, 3))
    files = {
        "jpeg": saved(colour, "JPEG", **extras),
        "progressive": saved(colour, "JPEG", progressive=True),
        "cmyk": saved(colour.convert("CMYK"), "JPEG", icc_profile=SRGB),
        "png": saved(colour, "PNG", **extras),
        "palette": saved(colour.quantize(16), "PNG", transparency=3),
        "webp": saved(colour, "WEBP", **extras),
        "lossless": saved(colour.convert("RGBA"), "WEBP", lossless=True),
        "bmp": saved(colour, "BMP"),
        "lzw": saved(colour, "TIFF", compression="tiff_lzw"),
        "raw": saved(colour, "TIFF", **extras),
        "tiff-jpeg": saved(colour, "TIFF", compression="jpeg"),
    }
    deep = Photo(noise(23, 31, 3, dtype=np.uint16), None, False, SRGB, exif.tobytes(), "PNG")
    for suffix in (".png", ".tif"):
        write_photo(tmp_path / f"deep{suffix}", deep)
        files["16" + suffix] = (tmp_path / f"deep{suffix}").read_bytes()
    return files


# The file itself


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "does not exist; check the name" in refusal(tmp_path / "missing.jpg")
    assert "it is a folder; name a photo in it" in refusal(tmp_path)
    assert "it is empty (0 bytes); copy it again" in refused(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"x")
    assert "check the name" in refusal(tmp_path / "file" / "photo.jpg")
    assert "File name too long" in refusal(tmp_path / ("a" * 300 + ".jpg"))
    with pytest.raises(InputError, match="null"):
        read_photo("a\0b.jpg")


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.symlink(os.devnull, tmp_path / "device.jpg")
    assert "not a regular file" in refusal(tmp_path / "device.jpg")


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(1, 1))

    def denied(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "permission denied; change its permissions" in refusal(path)


# Other formats


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (saved(Image.new("L", (4, 4)), "GIF"), "a GIF"),
        (b"8BPS\0\1" + bytes(40), "a Photoshop file"),
        (b"%PDF-1.7\n" + bytes(40), "a PDF"),
        (saved(Image.new("RGB", (64, 64)), "JPEG2000"), "a JPEG 2000"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "not a known photo"),
        (saved(Image.new("L", (4, 4)), "PPM"), "not a known photo"),
        (b"x", "not a known photo"),
        (b"<html>not found</html>", "not a known photo"),
    ],
)
def test_other_formats(tmp_path: Path, data: bytes, what: str, without_extras: None) -> None:
    message = refused(tmp_path, data)
    assert f"it is {what}; convert it to JPEG, PNG, TIFF, WebP or BMP" in message


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_pictures(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)).rotate(90 * i) for i in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert f"this {kind} holds several pictures; save the one you want alone" in refused(tmp_path, data)


def tiff(tags: dict[int, tuple[int, ...]], body: bytes = bytes(4096)) -> bytes:
    """A little-endian TIFF of 8 x 8 pixels with these tags, all of them SHORT, and one strip."""
    tags = {256: (8,), 257: (8,), 258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (8,), **tags}
    outside = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries, extra = b"", b""
    for tag, values in sorted({**tags, 273: (), 279: ()}.items()):
        if tag in (273, 279):
            entries += struct.pack("<HHII", tag, 4, 1, outside + 400 if tag == 273 else len(body))
        elif len(values) <= 2:
            entries += struct.pack("<HHI4s", tag, 3, len(values), struct.pack(f"<{len(values)}H", *values))
        else:
            entries += struct.pack("<HHII", tag, 3, len(values), outside + len(extra))
            extra += struct.pack(f"<{len(values)}H", *values)
    directory = struct.pack("<H", len(tags) + 2) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + extra.ljust(400, b"\0") + body


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({258: (32,), 339: (3,)}, "32-bit float"),
        ({258: (32,) * 3, 339: (3,) * 3, 262: (2,), 277: (3,)}, "32-bit float"),
        ({258: (16,), 339: (3,)}, "16-bit float"),
        ({258: (32,)}, "32-bit samples"),
        ({258: (16,), 339: (2,)}, "16-bit signed"),
        ({258: (8,), 339: (2,)}, "8-bit signed"),
        ({258: (12,)}, "12-bit samples"),
        ({258: (16,), 262: (0,)}, "16-bit TIFF with photometric 0, 1 samples"),
        ({258: (16,) * 2, 277: (2,), 338: (2,)}, "16-bit TIFF with photometric 1, 2 samples"),
        ({258: (16,) * 4, 262: (5,), 277: (4,)}, "16-bit TIFF with photometric 5, 4 samples"),
        ({258: (16,) * 3, 262: (2,), 277: (3,), 284: (2,)}, "planar configuration 2"),
        ({258: (8,) * 3, 262: (8,), 277: (3,)}, "pixels are LAB; save it as"),
        ({50706: (1, 4)}, "camera raw file; develop it"),
        ({254: (1,)}, "camera raw file; develop it"),
    ],
)
def test_kinds_of_tiff_that_are_refused(
    tmp_path: Path, tags: dict[int, tuple[int, ...]], what: str, without_extras: None
) -> None:
    assert what in refused(tmp_path, tiff(tags))
    path = tmp_path / "good.tif"
    path.write_bytes(tiff({}))
    assert read_photo(path).pixels.shape == (8, 8, 3)


# Sizes


def webp_header(kind: bytes, width: int, height: int) -> bytes:
    if kind == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(9)
    else:
        body = b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(4)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("data", "width", "height"),
    [
        (png(30000, 30000), 30000, 30000),
        (png(30000, 30000, depth=16, colour=6), 30000, 30000),
        (png(10001, 10000), 10001, 10000),
        (tiff({256: (60000,), 257: (50000,)}), 60000, 50000),
        (tiff({256: (60000,), 257: (50000,), 258: (16,)}), 60000, 50000),
        (tiff({256: (10001,), 257: (10000,)}), 10001, 10000),
        (struct.pack("<2sIIIIiiHH", b"BM", 100, 0, 54, 40, 30000, 30000, 1, 24) + bytes(40), 30000, 30000),
        (saved(Image.new("RGB", (8, 7)), "JPEG").replace(b"\0\7\0\x08", b"\x9c\x40\xc3\x50"), 50000, 40000),
        (webp_header(b"VP8X", 16383, 16383), 16383, 16383),
        (webp_header(b"VP8L", 16384, 16384), 16384, 16384),
        (webp_header(b"VP8 ", 16383, 10000), 16383, 10000),
    ],
)
def test_bombs_are_refused_by_their_header(tmp_path: Path, data: bytes, width: int, height: int) -> None:
    assert len(data) < 100_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refused(tmp_path, data)
    size = f"it is {width} x {height} ({width * height / 1e6:.1f} megapixels), above the limit of 100.0 megapixels"
    assert f"{size}; resize it first" in message


def test_webp_size_is_read_right(tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 12, 4))
    for options in ({"lossless": True}, {"quality": 80}, {"exif": b"Exif\0\0II*\0"}):
        for mode in ("RGB", "RGBA"):
            message = refused(tmp_path, saved(image.convert(mode), "WEBP", **options), max_pixels=95)
            assert "it is 12 x 8 " in message


def test_max_pixels(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(20, 10, rows=10))
    assert "it is 20 x 10 (0.0 megapixels)" in refusal(path, max_pixels=199)
    assert read_photo(path, max_pixels=200).pixels.shape == (10, 20, 3)
    # Pillow refuses above 178,956,970 pixels in some formats; here in all of them
    assert "above the limit of 179.0 megapixels" in refused(tmp_path, png(20000, 10000), max_pixels=10**9)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_photo_of_the_size_that_pillow_warns_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / "photo.bin"
    Image.new("1", (20, 15), 1).save(path, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photo = read_photo(path)
    assert [str(warning.message) for warning in caught] == []
    assert photo.pixels.shape == (15, 20, 3)


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    from PIL import ImageFile

    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    refused(tmp_path, png(30000, 30000))
    refused(tmp_path, saved(Image.new("RGB", (64, 64)), "JPEG")[:300])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_not_enough_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    def hungry(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", hungry)
    assert "not enough memory" in refused(tmp_path, png(4, 4, rows=4))


# Damage


def outcome(path: Path, data: bytes) -> Photo | str:
    path.write_bytes(data)
    try:
        return read_photo(path)
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        return message


def test_truncated_anywhere(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A file that is cut short is refused, or (in its last bytes, after the pixels) read exactly."""
    path = tmp_path / "photo.bin"
    for name, data in samples(tmp_path).items():
        path.write_bytes(data)
        whole = read_photo(path)
        refusals = 0
        cuts = sorted({*range(0, len(data), max(1, len(data) // 20)), *range(len(data) - 12, len(data), 2)})
        for cut in cuts:
            result = outcome(path, data[:cut])
            if isinstance(result, str):
                refusals += 1
                assert "damaged, cut short" in result or cut < 12, (name, cut, result)
            else:
                assert result.pixels.tobytes() == whole.pixels.tobytes(), (name, cut)
        assert refusals > 0.9 * len(cuts), name
        assert refusals == len(cuts) or not name.endswith(("png", "palette")), name
    assert [str(w.message) for w in recwarn] == []


def test_any_damaged_byte_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "photo.bin"
    data = saved(Image.fromarray(noise(5, 4, 3)), "PNG")
    for position in range(8, len(data)):
        result = outcome(path, data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        assert isinstance(result, str), position


def damage(data: bytes, rng: random.Random) -> bytes:
    """``data`` with some bytes changed, cut, removed or doubled, mostly in its headers."""
    damaged = bytearray(data)
    top = len(data) if rng.random() < 0.4 else min(300, len(data))
    kind = rng.random()
    if kind < 0.2:
        del damaged[rng.randrange(len(data)) :]
    elif kind < 0.85:
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            damaged[rng.randrange(top)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif kind < 0.95:
        start = rng.randrange(top)
        damaged[start : start + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
    else:
        start = rng.randrange(top)
        damaged[start:start] = damaged[: rng.randrange(200)]
    return bytes(damaged)


def with_right_checksums(data: bytes) -> bytes:
    """A damaged PNG whose chunks pass their checksums, so that what is behind them is reached."""
    fixed, position = bytearray(data), 8
    while position + 12 <= len(fixed):
        end = position + 8 + int.from_bytes(fixed[position : position + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(fixed[position + 4 : end])))
        position = end + 4
    return bytes(fixed)


def test_nothing_but_input_errors(tmp_path: Path) -> None:
    """390 damaged files, always the same ones; runs of 2,600 and more of the same loop found nothing either."""
    path, rng = tmp_path / "photo.bin", random.Random(20)
    read = refusals = 0
    for data in samples(tmp_path).values():
        repair: Callable[[bytes], bytes] = with_right_checksums if data.startswith(b"\x89PNG") else bytes
        for _ in range(30):
            damaged = damage(data, rng)
            result = outcome(path, repair(damaged) if rng.random() < 0.7 else damaged)
            if isinstance(result, str):
                refusals += 1
            else:
                read += 1
                assert result.pixels.dtype in (np.uint8, np.uint16)
                assert result.pixels.shape[2] == 3
    assert read > 50
    assert refusals > 150
