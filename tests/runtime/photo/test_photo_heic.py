"""HEIC and AVIF, read and written: pixels, depth, orientation, colours, alpha, and files of other encoders."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exif_samples import made
from photo_samples import SRGB
from PIL import Image

from runtime.cli.photos import main
from runtime.errors import InputError
from runtime.photo import Photo, read_photo, write_photo
from runtime.photo import write as write_module

SUFFIXES = (".heic", ".avif")
ORIENTATION = 274


def needs(suffix: str) -> Any:
    return pytest.importorskip("pillow_heif") if suffix == ".heic" else None


def smooth(size: tuple[int, int] = (46, 63)) -> np.ndarray:
    """A picture that lossy formats keep: (H, W, 3) uint8, another in each of its corners."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack((4 * y, 3 * x, 250 - 2 * (x + y)), axis=-1).astype(np.uint8)


def photo_of(pixels: np.ndarray, **more: Any) -> Photo:
    return Photo(pixels, **{"alpha": None, "grey": False, "icc_profile": None, "exif": None, "format": "PNG"} | more)


def far(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(float) - expected).mean())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_photo_comes_back(suffix, tmp_path):
    needs(suffix)
    alpha = smooth()[..., 0].copy()
    for given in (photo_of(smooth()), photo_of(smooth(), alpha=alpha), photo_of(smooth(), icc_profile=SRGB)):
        path = tmp_path / f"a{suffix}"
        write_photo(path, given, overwrite=True)
        found = read_photo(path)
        assert (found.format, found.pixels.dtype, found.icc_profile) == (
            suffix[1:].upper(),
            np.uint8,
            given.icc_profile,
        )
        assert far(found.pixels, given.pixels) < 2
        assert (found.alpha is None) == (given.alpha is None)
        if found.alpha is not None:
            assert far(found.alpha, alpha) < 2
    sizes = []
    for quality in (30, 90):
        write_photo(path, given, overwrite=True, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_once(suffix, turn, tmp_path):
    """Pillow and pillow-heif write irot and imir for an EXIF orientation, and the second keeps EXIF's as well."""
    heif = needs(suffix)
    image, exif = Image.fromarray(smooth()), Image.Exif()
    exif[ORIENTATION], exif[271] = turn, "Testmaker"
    path = tmp_path / f"a{suffix}"
    image.save(tmp_path / "a.png", exif=exif.tobytes())
    if heif is None:
        image.save(path, quality=95, exif=exif.tobytes())
    else:
        heif.from_pillow(image).save(path, quality=95, exif=exif.tobytes())
    photo = read_photo(path)
    assert far(photo.pixels, read_photo(tmp_path / "a.png").pixels) < 2
    assert photo.exif is not None
    kept = Image.Exif()
    kept.load(photo.exif)
    assert (kept.get(ORIENTATION, 1), kept[271]) == (1, "Testmaker")
    write_photo(tmp_path / f"b{suffix}", photo)
    assert far(read_photo(tmp_path / f"b{suffix}").pixels, photo.pixels) < 2


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_heic_comes_as_16_bits(bits, tmp_path, monkeypatch):
    heif = needs(".heic")
    deep = smooth().astype(np.uint16) * 257
    monkeypatch.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    heif.from_bytes("RGB;16", (63, 46), deep.tobytes()).save(tmp_path / "a.heic", quality=95, chroma=444)
    photo = read_photo(tmp_path / "a.heic")
    assert photo.pixels.dtype == np.uint16
    assert far(photo.pixels / 257, smooth()) < 1
    ones = np.full((16, 16, 3), 65535, np.uint16)
    heif.from_bytes("RGB;16", (16, 16), ones.tobytes()).save(tmp_path / "w.heic", quality=-1, chroma=444)
    assert read_photo(tmp_path / "w.heic").pixels.min() > 65535 - 2 ** (17 - bits)


def test_a_deep_photo_becomes_a_heic_of_10_bits_and_that_is_said(tmp_path, monkeypatch):
    heif = needs(".heic")
    lines: list[str] = []
    monkeypatch.setattr(write_module._log, "warning", lambda form, *values: lines.append(form % values))
    photo = photo_of(smooth().astype(np.uint16) * 257)
    write_photo(tmp_path / "a.heic", photo)
    assert heif.open_heif(tmp_path / "a.heic", convert_hdr_to_8bit=False, hdr_to_16bit=False).mode == "RGB;10"
    assert [line.partition(": ")[2] for line in lines] == ["left out: 6 of its 16 bits (a HEIC has 10)"]
    back = read_photo(tmp_path / "a.heic")
    assert far(back.pixels / 257, smooth()) < 2
    lines.clear()
    write_photo(tmp_path / "b.heic", back)
    assert lines == [], "nothing is lost that the photo had"
    with pytest.raises(InputError, match="16 bits and AVIF holds 8"):
        write_photo(tmp_path / "a.avif", photo)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="makes an AVIF of 10 bits with ffmpeg")
def test_an_avif_of_10_bits_or_hdr_is_told(tmp_path, monkeypatch):
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    begin = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.png"), "-c:v", "libaom-av1", "-pix_fmt", "yuv420p10le"]
    hdr = ["-color_trc", "smpte2084", "-color_primaries", "bt2020"]
    for name, more in (("a", []), ("hdr", hdr)):
        made_by = [*begin, *more, "-cpu-used", "8", "-still-picture", "1", str(tmp_path / f"{name}.avif")]
        if subprocess.run(made_by, capture_output=True, timeout=60, check=False).returncode:
            pytest.skip("this ffmpeg writes no AVIF")
    photo = read_photo(tmp_path / "a.avif")
    assert photo.metadata.left_out == ("2 of its 10 bits (an AVIF is read with 8)",)
    with pytest.raises(InputError, match=r"HDR colours \(PQ\)"):
        read_photo(tmp_path / "hdr.avif", into="JPEG")


@pytest.mark.skipif(not shutil.which("heif-enc"), reason="another encoder: apt install libheif-examples")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_another_encoder_are_read(suffix, tmp_path):
    needs(suffix)
    Image.fromarray(smooth()).save(
        tmp_path / "a.jpg", quality=98, icc_profile=SRGB, exif=b"Exif\0\0" + made({"image": {271: (2, 4, b"Cam\0")}})
    )
    words = ["heif-enc", "-q", "95", str(tmp_path / "a.jpg"), "-o", str(tmp_path / f"a{suffix}")]
    subprocess.run(words, capture_output=True, timeout=60, check=True)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert far(photo.pixels, smooth()) < 3
    assert photo.icc_profile == SRGB
    assert photo.exif is not None
    assert b"Cam\0" in photo.exif


def test_the_primary_picture_of_several_is_taken_and_that_is_said(tmp_path):
    heif = needs(".heic")
    file = heif.from_pillow(Image.fromarray(np.zeros((16, 16, 3), np.uint8)))
    file.add_from_pillow(Image.fromarray(smooth()))
    file.save(tmp_path / "two.heic", primary_index=1, quality=95)
    photo = read_photo(tmp_path / "two.heic")
    assert far(photo.pixels, smooth()) < 2
    assert photo.metadata.left_out == ("1 other picture of the file",)
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    frames[0].save(tmp_path / "moves.avif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="several pictures"):
        read_photo(tmp_path / "moves.avif")


def test_without_the_extra_there_is_one_line_and_the_others_go_on(tiny_package, tmp_path, monkeypatch, capsys):
    heif = needs(".heic")
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(smooth()).save(folder / "b.png")
    heif.from_pillow(Image.fromarray(smooth())).save(folder / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert main([str(tiny_package), str(folder), "-o", str(tmp_path / "out"), "--steps", "1"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "pip install" in line]
    (error,) = errors
    assert error.startswith(f"error: cannot read {folder / 'a.heic'}: it is a HEIC; convert it to ")
    assert error.endswith(", or run: pip install pillow-heif")
    assert (tmp_path / "out" / "b.png").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_get_one_error(suffix, tmp_path):
    needs(suffix)
    path = Path(tmp_path, f"a{suffix}")
    write_photo(path, photo_of(smooth()))
    data = path.read_bytes()
    for cut in (40, 200, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=f"{suffix[1:].upper()} file is damaged|not a known photo"):
            read_photo(path)
    path.write_bytes(data)
    with pytest.raises(InputError, match="megapixels"):
        read_photo(path, max_pixels=100)
