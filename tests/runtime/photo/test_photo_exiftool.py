"""What exiftool reads of a photo and of its copies in other formats: all that both hold is equal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.photo import read_photo, write_photo

pytestmark = pytest.mark.skipif(not shutil.which("exiftool"), reason="apt install libimage-exiftool-perl")

FORMATS = (".jpg", ".png", ".tif", ".webp", ".avif", ".heic")
WRITTEN = {
    "IFD0:Make": "Testmaker", "IFD0:Model": "Model 1", "IFD0:Artist": "Jörg", "IFD0:Orientation#": 6,
    "ExifIFD:ExposureTime": "1/13", "ExifIFD:ISO": 3200, "ExifIFD:DateTimeOriginal": "2026:11:28 21:14:03",
    "ExifIFD:LensModel": "35 mm f/1.4", "ExifIFD:UserComment": "a dark night", "GPS:GPSLatitude#": 48.137,
    "GPS:GPSLatitudeRef": "N", "GPS:GPSLongitude#": 11.575, "GPS:GPSLongitudeRef": "E",
    "XMP-dc:Title": "Night", "XMP-dc:Subject": "stars", "XMP-xmp:Rating": 4,
}  # fmt: skip
IPTC = {"IPTC:City": "München", "IPTC:Keywords": "night"}
GROUPS = ("IFD0", "ExifIFD", "GPS", "XMP", "IPTC")
OF_THE_FILE = {  # what a TIFF, or a WebP's reader, says of its own pixels; JFIF's; and the size of a directory
    *("ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets"),
    *("SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "PlanarConfiguration", "Predictor", "XMPToolkit"),
    *("YCbCrPositioning", "CodedCharacterSet", "ApplicationRecordVersion", "Padding"),
}


def exiftool(*words: object) -> bytes:
    done = subprocess.run(["exiftool", *map(str, words)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def tags(*paths: Path) -> list[dict[str, object]]:
    """Of each file: exiftool itself takes longer to start than to read."""
    grouped = (
        {name: value for name, value in found.items() if name.split(":")[0].split("-")[0] in GROUPS}
        for found in json.loads(exiftool("-json", "-G1", "-a", "-struct", *paths))
    )
    return [{name: one[name] for name in one if name.split(":")[1] not in OF_THE_FILE} for one in grouped]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A photo of each format with metadata that exiftool wrote."""
    folder = tmp_path_factory.mktemp("sources")
    image = Image.fromarray(np.arange(40 * 56 * 3, dtype=np.uint8).reshape(40, 56, 3))
    found = {}
    for suffix in FORMATS:
        path = folder / f"a{suffix}"
        if suffix == ".heic":
            try:
                import pillow_heif
            except ImportError:
                continue
            pillow_heif.from_pillow(image).save(path, quality=95)
        else:
            image.save(path)
        more = IPTC if suffix in (".jpg", ".tif") else {}
        exiftool("-q", "-overwrite_original", *(f"-{name}={value}" for name, value in (WRITTEN | more).items()), path)
        found[suffix] = path
    return found


@pytest.mark.parametrize("source", FORMATS)
def test_what_two_formats_share_is_equal(source, sources, tmp_path):
    if source not in sources:
        pytest.skip("needs pillow-heif")
    copies = [tmp_path / f"b{suffix}" for suffix in sources]
    for copy in copies:
        write_photo(copy, read_photo(sources[source], into=copy))
    before, *found = tags(sources[source], *copies)
    assert before.keys() >= {name.rstrip("#") for name in WRITTEN}
    for suffix, after in zip(sources, found, strict=True):
        expected = dict(before)
        expected["IFD0:Orientation"] = "Horizontal (normal)"
        if suffix not in (".jpg", ".png", ".tif"):
            expected = {name: value for name, value in expected.items() if not name.startswith("IPTC")}
        if suffix == ".avif":  # Pillow writes it as irot, and there is none
            del expected["IFD0:Orientation"]
        assert {name: after.get(name) for name in expected} == expected, suffix
