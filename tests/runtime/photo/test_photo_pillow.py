"""Pillow images as photos: each mode's pixels as ``read_photo`` sees them, and an image of the result."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photo_samples import SRGB, noise
from PIL import Image

from runtime.errors import InputError
from runtime.photo import read_photo
from runtime.photo.pillow import from_image, is_image

ROOT = Path(__file__).resolve().parents[3]


def image_of(mode: str) -> Image.Image:
    """11 x 13 pixels of ``mode``."""
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (11, 13), noise(13, 11, dtype=np.uint16).astype(">u2" if "B" in mode else "<u2"))
    if mode in ("La", "RGBa"):
        return image_of(mode.upper()).convert(mode)
    if mode in ("P", "PA"):
        return image_of("RGB").convert("P") if mode == "P" else image_of("RGBA").convert("PA")
    if mode in ("1", "RGBX", "YCbCr", "CMYK", "HSV", "LAB"):
        return image_of("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (11, 13))
    if mode in ("I", "F"):
        return image_of("L").convert(mode)
    return Image.fromarray(noise(13, 11, len(mode)).squeeze(), mode)


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [
        ("1", "L"),
        ("L", "L"),
        ("LA", "LA"),
        ("La", "LA"),
        ("P", "RGB"),
        ("PA", "RGBA"),
        ("RGB", "RGB"),
        ("RGBX", "RGB"),
        ("YCbCr", "RGB"),
        ("CMYK", "RGB"),
        ("RGBA", "RGBA"),
        ("RGBa", "RGBA"),
        ("I;16", "I;16"),
        ("I;16B", "I;16"),
    ],
)
def test_modes(mode: str, becomes: str) -> None:
    image = image_of(mode)
    before = image.tobytes()
    pixels, back = from_image(image)
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)) if mode[:2] != "I;" else image
    if becomes == "I;16":
        np.testing.assert_array_equal(pixels, np.repeat(noise(13, 11, 1, dtype=np.uint16), 3, axis=2))
    else:
        np.testing.assert_array_equal(pixels, np.asarray(plain.convert("RGBA").convert("RGB")))
    result = back(pixels[::-1])
    assert (result.mode, result.size) == (becomes, (11, 13))
    np.testing.assert_array_equal(from_image(result)[0], pixels[::-1])
    if becomes.endswith("A"):
        np.testing.assert_array_equal(np.asarray(result)[..., -1], np.asarray(plain.convert("RGBA"))[..., -1])
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["I", "F", "HSV", "LAB"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(InputError, match=f"mode '{mode}'; convert it to L, LA, RGB or RGBA"):
        from_image(image_of(mode))


def test_a_transparent_colour_becomes_alpha() -> None:
    for image, colour in ((image_of("L"), 7), (image_of("RGB"), (1, 2, 3)), (image_of("P"), 5)):
        image.putpixel((4, 6), colour)
        image.info["transparency"] = colour
        pixels, back = from_image(image)
        alpha = np.asarray(back(pixels).convert("RGBA"))[..., 3]
        assert alpha[6, 4] == 0
        assert alpha.max() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_an_opened_file_is_seen_as_read_photo_sees_it(kind: str, orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[274], exif[271] = orientation, "Maker"
    image_of("RGB").save(file, kind, exif=exif, icc_profile=SRGB)
    pixels, back = from_image(Image.open(file))
    np.testing.assert_array_equal(pixels, read_photo(file.getvalue()).pixels)
    result, again = back(pixels), io.BytesIO()
    assert result.size == pixels.shape[1::-1]
    assert result.info["icc_profile"] == SRGB
    assert result.getexif().get(274, 1) == 1
    if kind != "TIFF":  # whose tags Pillow keeps elsewhere than in info
        assert result.getexif()[271] == "Maker"
    result.save(again, "PNG")
    np.testing.assert_array_equal(read_photo(again.getvalue()).pixels, pixels)


def test_an_image_that_does_not_load_is_an_input_error() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(file, "PNG")
    with pytest.raises(InputError, match="the Pillow image cannot be loaded"):
        from_image(Image.open(io.BytesIO(file.getvalue()[:5000])))


def test_pillow_is_not_imported_to_find_out() -> None:
    code = (
        "import sys\nimport numpy as np\nimport runtime.enhancer\nfrom runtime.photo.pillow import is_image\n"
        "assert not is_image(np.zeros(3)) and not is_image(None)\nassert not [m for m in sys.modules if m == 'PIL']\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert is_image(image_of("L"))
