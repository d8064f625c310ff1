"""What a PNG says of its colours: kept in a PNG, a profile of it elsewhere; and profiles that are not the pixels'."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from photo_samples import GREY_PROFILE, SRGB, chunk, noise, photo_of, png_file
from PIL import Image, ImageCms

from runtime.errors import InputError
from runtime.photo import Photo, encode_photo, read_photo
from runtime.photo import write as write_module

ADOBE = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
ADOBE_POINTS = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.329))
SRGB_POINTS = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.329))
P3_POINTS = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329))
BT2020_POINTS = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), (0.3127, 0.329))


def gamma(value: float):
    return lambda x: x**value


def srgb(x):
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)


def bt709(x):
    return np.where(x < 0.081242, x / 4.5, ((x + 0.099297) / 1.099297) ** (1 / 0.45))


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


SAID = {
    "gAMA": (gama(45455), SRGB_POINTS, gamma(100000 / 45455)),
    "gAMA linear": (gama(100000), SRGB_POINTS, gamma(1)),
    "gAMA and cHRM": (gama(45470) + chunk(b"cHRM", ADOBE), ADOBE_POINTS, gamma(100000 / 45470)),
    "cHRM": (chunk(b"cHRM", ADOBE), ADOBE_POINTS, srgb),
    "sRGB": (chunk(b"sRGB", b"\0"), SRGB_POINTS, srgb),
    "sRGB over gAMA": (gama(100000) + chunk(b"sRGB", b"\1"), SRGB_POINTS, srgb),
    "Display P3": (chunk(b"cICP", bytes([12, 13, 0, 1])), P3_POINTS, srgb),
    "P3 over all": (chunk(b"cICP", bytes([12, 13, 0, 1])) + gama(100000) + chunk(b"sRGB", b"\0"), P3_POINTS, srgb),
    "BT.709": (chunk(b"cICP", bytes([1, 1, 0, 1])), SRGB_POINTS, bt709),
    "BT.2020": (chunk(b"cICP", bytes([9, 14, 0, 1])), BT2020_POINTS, bt709),
    "cICP unspecified": (chunk(b"cICP", bytes([2, 2, 0, 1])) + chunk(b"cHRM", ADOBE), ADOBE_POINTS, srgb),
}
EVERY = ("JPEG", "TIFF", "WEBP", "BMP")


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    position, found = 8, []
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def colours(data: bytes) -> dict[bytes, bytes]:
    kinds = (b"cICP", b"mDCV", b"cLLI", b"sRGB", b"gAMA", b"cHRM", b"iCCP")
    found = chunks_of(data)
    first = [kind for kind, _ in found].index(b"IDAT")
    return {kind: body for kind, body in found[:first] if kind in kinds}


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count))
    return {tag: profile[at : at + size] for tag, at, size in entries}


def fixed(data: bytes) -> np.ndarray:
    return np.frombuffer(data[8:], ">i4") / 65536


def light(tag: bytes, x: np.ndarray) -> np.ndarray:
    """A parametricCurveType, by the ICC's text."""
    assert tag[:4] == b"para"
    (function,) = struct.unpack_from(">H", tag, 8)
    values = np.frombuffer(tag[12:], ">i4") / 65536
    if function == 0:
        return x ** values[0]
    assert function == 3
    g, a, b, c, d = values
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g, c * x)


def expected_xyz(points, curve, samples: np.ndarray) -> np.ndarray:
    columns = [[x / y, 1, (1 - x - y) / y] for x, y in points]
    scale = np.linalg.solve(np.array(columns[:3]).T, columns[3])
    return curve(samples) @ (np.array(columns[:3]) * scale[:, None])


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(write_module._log, "warning", lambda text, *values: lines.append(text % values))
    return lines


@pytest.mark.parametrize("name", SAID)
def test_a_png_keeps_its_chunks(name: str, said: list[str]) -> None:
    extra = SAID[name][0] + chunk(b"mDCV", bytes(range(24))) + chunk(b"cLLI", bytes(range(8)))
    for samples in (noise(9, 11, 3), noise(9, 11, 3, dtype=np.uint16), noise(9, 11, 1), noise(9, 11, 2)):
        data = png_file(samples, extra=extra)
        again = encode_photo(read_photo(data), "PNG")
        assert colours(again) == colours(data)
        assert colours(encode_photo(read_photo(again), "PNG")) == colours(data)
    assert said == []


@pytest.mark.parametrize("name", SAID)
def test_elsewhere_it_becomes_a_profile_of_the_same_colours(name: str, said: list[str]) -> None:
    extra, points, curve = SAID[name]
    photo = read_photo(png_file(noise(9, 11, 3), extra=extra))
    samples = noise(500, 3).astype(float) / 255
    for kind in EVERY:
        profile = read_photo(encode_photo(photo, kind)).icc_profile
        assert profile is not None
        assert struct.unpack_from(">I", profile)[0] == len(profile)
        assert profile[36:40] == b"acsp"
        tags = tags_of(profile)
        linear = np.stack([light(tags[t], samples[:, i]) for i, t in enumerate((b"rTRC", b"gTRC", b"bTRC"))], axis=1)
        adapted = linear @ np.stack([fixed(tags[t]) for t in (b"rXYZ", b"gXYZ", b"bXYZ")])
        xyz = adapted @ np.linalg.inv(fixed(tags[b"chad"]).reshape(3, 3)).T
        assert np.abs(xyz - expected_xyz(points, curve, samples)).max() < 1e-4
        white = sum(fixed(tags[t]) for t in (b"rXYZ", b"gXYZ", b"bXYZ"))
        np.testing.assert_allclose(white, [0.9642, 1, 0.8249], atol=5e-5)
    assert said == []


def test_another_colour_engine_reads_the_profile_so() -> None:
    """LittleCMS, from Display P3 to sRGB, against the two matrices and the curve."""
    photo = read_photo(png_file(noise(40, 40, 3, top=200), extra=SAID["Display P3"][0]))
    made = Image.open(io.BytesIO(encode_photo(photo, "TIFF")))
    source = ImageCms.ImageCmsProfile(io.BytesIO(made.info["icc_profile"]))
    shown = np.asarray(ImageCms.profileToProfile(made, source, ImageCms.createProfile("sRGB"), renderingIntent=1))
    to_srgb = np.linalg.inv(expected_xyz(SRGB_POINTS, gamma(1), np.eye(3)))
    linear = np.clip(expected_xyz(P3_POINTS, srgb, photo.pixels.reshape(-1, 3) / 255) @ to_srgb, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(shown.reshape(-1, 3) - 255 * values).max() <= 1.5


@pytest.mark.parametrize("samples", [noise(9, 11, 1), noise(9, 11, 1, dtype=np.uint16)])
def test_grey_pixels_get_a_grey_profile(samples: np.ndarray) -> None:
    photo = read_photo(png_file(samples, extra=gama(45455) + chunk(b"cHRM", ADOBE)))
    for kind in EVERY if samples.dtype == np.uint8 else ("TIFF",):
        profile = read_photo(encode_photo(photo, kind)).icc_profile
        assert profile is not None
        assert profile[16:20] == (b"RGB " if kind == "WEBP" else b"GRAY")
        x = np.linspace(0, 1, 50)
        curve = tags_of(profile)[b"rTRC" if kind == "WEBP" else b"kTRC"]
        np.testing.assert_allclose(light(curve, x), x ** (100000 / 45455), atol=1e-4)
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.connection_space == "XYZ "


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ([9, 16, 0, 1], r"HDR colours \(PQ\)"),
        ([9, 18, 0, 1], r"HDR colours \(HLG\)"),
        ([9, 10, 0, 1], "transfer function 10"),
        ([40, 13, 0, 1], "primaries 40"),
        ([1, 13, 0, 0], "range of video"),
    ],
)
def test_colours_that_no_plain_profile_holds_are_refused_by_name(code: list[int], what: str) -> None:
    data = png_file(noise(9, 11, 3), extra=chunk(b"cICP", bytes(code)))
    for kind in EVERY:
        with pytest.raises(InputError, match=f"{what}.* and {kind} has no place for them; write PNG"):
            read_photo(data, into=kind)
        with pytest.raises(InputError, match=what):
            encode_photo(read_photo(data), kind)
    assert colours(encode_photo(read_photo(data, into="PNG"), "PNG")) == {b"cICP": bytes(code)}


BAD = chunk(b"gAMA", struct.pack(">I", 45455))[:-1] + b"?"


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        (gama(0), "gAMA"),
        (gama(1), "gAMA"),
        (chunk(b"gAMA", b"\0\1"), "gAMA"),
        (BAD, "gAMA"),
        (chunk(b"cHRM", bytes(32)), "cHRM"),
        (chunk(b"cHRM", b"\xff" * 32), "cHRM"),
        (chunk(b"cHRM", struct.pack(">8I", *[31270, 32900] * 4)), "cHRM"),
        (chunk(b"sRGB", b"\7"), "sRGB"),
        (chunk(b"cICP", bytes([9, 16, 1, 1])), "cICP"),
        (chunk(b"cICP", bytes(3)), "cICP"),
        (chunk(b"mDCV", bytes(4)), "mDCV"),
    ],
)
def test_chunks_that_say_nothing_are_left_out_with_a_word(extra: bytes, kind: str, said: list[str]) -> None:
    samples = noise(9, 11, 3)
    photo = read_photo(png_file(samples, extra=extra))
    np.testing.assert_array_equal(photo.pixels, samples)
    for target in ("PNG", "JPEG"):
        assert read_photo(encode_photo(photo, target)).icc_profile is None
        assert colours(encode_photo(photo, "PNG")) == {}
    assert len(said) == 4
    assert all(f"its {kind} chunk (it is damaged)" in line for line in said)


def profile_for(space: bytes) -> bytes:
    return SRGB[:16] + space + SRGB[20:]


CUT = struct.pack(">I", 9999) + SRGB[4:]


@pytest.mark.parametrize(
    ("profile", "grey", "why"),
    [
        (SRGB, True, "it is for RGB, the picture is grey"),
        (GREY_PROFILE, False, "it is for grey, the picture is RGB"),
        (profile_for(b"CMYK"), False, "it is for CMYK"),
        (profile_for(b"Lab "), False, "it is for Lab"),
        (profile_for(b"\n\x1b[2"), False, "it is for other colours"),
        (SRGB[:12] + b"link" + SRGB[16:], False, "it is not of a picture"),
        (b"garbage" * 100, False, "it is damaged"),
        (b"x", False, "it is damaged"),
        (CUT, False, "it is damaged"),
        (SRGB[:128] + b"\xff" * 4 + SRGB[132:], False, "it is damaged"),
    ],
)
def test_a_profile_for_other_pixels_is_not_written(profile: bytes, grey: bool, why: str, said: list[str]) -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        assert read_photo(encode_photo(photo_of(grey=grey, icc_profile=profile), kind)).icc_profile is None
        assert f"left out: the colour profile ({why}" in said.pop()
        assert said == []


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"of a file\0\0" + zlib.compress(profile))


def test_such_a_profile_in_a_file(said: list[str]) -> None:
    for samples, profile in ((noise(9, 11, 1), SRGB), (noise(9, 11, 3), profile_for(b"Lab "))):
        photo = read_photo(png_file(samples, extra=gama(45455) + iccp(profile)))
        data = encode_photo(photo, "PNG")
        assert set(colours(data)) == {b"gAMA"}
        np.testing.assert_array_equal(read_photo(data).pixels, photo.pixels)
        other = read_photo(encode_photo(photo, "TIFF")).icc_profile
        assert other is not None  # of gAMA, which counts where there is no profile
        assert other[16:20] == (b"GRAY" if photo.grey else b"RGB ")
        assert len(said) == 2
        said.clear()
    damaged = chunk(b"iCCP", b"of a file\0\0" + zlib.compress(SRGB)[:-9])
    assert colours(encode_photo(read_photo(png_file(noise(9, 11, 3), extra=damaged)), "PNG")) == {}
    assert "the colour profile (it is damaged)" in said[0]


def test_a_profile_counts_more_than_older_chunks(said: list[str]) -> None:
    photo = read_photo(png_file(noise(9, 11, 3), extra=gama(100000) + chunk(b"sRGB", b"\0") + iccp(SRGB)))
    assert set(colours(encode_photo(photo, "PNG"))) == {b"gAMA", b"iCCP"}  # sRGB may not stand with it
    assert read_photo(encode_photo(photo, "JPEG")).icc_profile == SRGB
    hdr = read_photo(png_file(noise(9, 11, 3), extra=chunk(b"cICP", bytes([9, 16, 0, 1])) + iccp(SRGB)))
    assert set(colours(encode_photo(hdr, "PNG"))) == {b"cICP", b"iCCP"}
    assert read_photo(encode_photo(hdr, "TIFF")).icc_profile == SRGB
    assert said == []


def test_a_bmp_keeps_its_profile(tmp_path: Path) -> None:
    for photo in (photo_of(icc_profile=SRGB), photo_of(grey=True, icc_profile=GREY_PROFILE)):
        data = encode_photo(photo, "BMP")
        back = read_photo(data)
        assert back.icc_profile == photo.icc_profile
        np.testing.assert_array_equal(back.pixels, photo.pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), photo.pixels)
        assert struct.unpack_from("<I", data, 2)[0] == len(data)
    plain = encode_photo(photo_of(), "BMP")
    assert struct.unpack_from("<I", plain, 14)[0] == 40
    wild = data[:126] + struct.pack("<II", 2**32 - 1, 2**32 - 1) + data[134:]
    assert read_photo(wild).icc_profile is None


def test_photos_without_a_word_get_none() -> None:
    photo = read_photo(png_file(noise(9, 11, 3)))
    assert isinstance(photo, Photo)
    for kind in (*EVERY, "PNG"):
        assert read_photo(encode_photo(photo, kind)).icc_profile is None
