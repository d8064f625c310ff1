"""What the output cannot hold is refused before the network runs, and photos without a suffix go into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_samples import chunk, noise, png_file
from PIL import Image

from runtime.cli import photos
from runtime.cli.batch import Batch
from runtime.errors import InputError
from runtime.photo import read_photo


class Untouched:
    """An enhancer whose network must not run."""

    def plan(self, *args: Any, **options: Any) -> None:
        return None

    def __call__(self, *args: Any, **options: Any) -> None:
        pytest.fail("the network ran")


class Same(Untouched):
    """One that gives the photo back."""

    why = ""

    def __call__(self, pixels: np.ndarray, **options: Any) -> np.ndarray:  # type: ignore[override]
        return pixels


def brighten(enhancer: Any, source: Path, target: Path, *options: str) -> None:
    args = photos.parse_args(["package", str(source), "-o", str(target), *options])
    work = photos.work_of(args)
    Batch(enhancer, photos.settings_of(args), {}, folders=work.folder is not None).run(work.items)


def test_before_the_network_runs(tmp_path: Path) -> None:
    translucent = noise(9, 11, 4)
    files = {
        "deep": (png_file(noise(9, 11, 3, dtype=np.uint16)), "a.jpg", "16 bits", ()),
        "deep webp": (png_file(noise(9, 11, 3, dtype=np.uint16)), "a.webp", "16 bits", ()),
        "alpha": (png_file(translucent), "a.jpeg", "transparency", ()),
        "alpha bmp": (png_file(translucent), "a.bmp", "transparency", ()),
        "wide": (png_file(noise(1, 16384, 3)), "a.webp", "16384 x 1 and WEBP ends at 16383", ()),
        "beside": (png_file(noise(1, 8192, 3)), "a.webp", "16384 x 1 and WEBP ends at 16383", ("--before-after",)),
        "hdr": (png_file(noise(9, 11, 3), extra=chunk(b"cICP", bytes([9, 16, 0, 1]))), "a.jpg", "HDR.*PQ", ()),
        "deep hdr": (
            png_file(noise(9, 11, 3, dtype=np.uint16), extra=chunk(b"cICP", bytes([9, 16, 0, 1]))),
            "a.jpg",
            "HDR.*PQ.*write PNG$",  # TIFF would be refused for it next
            (),
        ),
        "hlg": (png_file(noise(9, 11, 3), extra=chunk(b"cICP", bytes([9, 18, 0, 1]))), "a.tif", "HDR.*HLG", ()),
    }
    for name, (data, target, what, options) in files.items():
        source = tmp_path / f"{name}.png"
        source.write_bytes(data)
        with pytest.raises(InputError, match=f"cannot write .*{target}: the photo .*{what}"):
            brighten(Untouched(), source, tmp_path / target, *options)
        assert not (tmp_path / target).exists()
        brighten(Same(), source, tmp_path / f"{name} out.png", *options)


def test_an_embedder_hears_it_from_the_reader() -> None:
    deep = png_file(noise(9, 11, 3, dtype=np.uint16))
    with pytest.raises(InputError, match="a JPEG: the photo has 16 bits"):
        read_photo(deep, into="JPEG")
    with pytest.raises(InputError, match=r"out\.webp: the photo has 16 bits"):
        read_photo(deep, into="out.webp")
    assert read_photo(deep, into="out.tif").pixels.dtype == np.uint16


def test_names_without_a_suffix_are_kept_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name, kind in (("IMG_0001", "JPEG"), ("scan.2024-01-02", "PNG"), ("a.JPE", "JPEG")):
        Image.fromarray(noise(9, 9, 3)).save(tmp_path / name, kind)
        brighten(Same(), tmp_path / name, tmp_path / "out")
        assert read_photo(tmp_path / "out" / name).format == kind
    with pytest.raises(InputError, match="its name has no suffix"):
        brighten(Untouched(), tmp_path / "IMG_0001", tmp_path / "another")
