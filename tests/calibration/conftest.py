"""Small dark photos and one calibrated tiny package, made once a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calibration_command import ROOT, run_calibration


@pytest.fixture(scope="session")
def photos(once: Callable[[str, Callable[[Path], object]], Path]) -> list[Path]:
    """Six pieces of the sample photo, 80x64."""
    from PIL import Image

    def make(folder: Path) -> None:
        folder.mkdir()
        with Image.open(ROOT / "assets" / "sample.png") as sample:
            pixels = np.asarray(sample.convert("RGB"))
        for index in range(6):
            Image.fromarray(pixels[40 * index : 40 * index + 64, 60 * index : 60 * index + 80]).save(
                folder / f"{index}.png"
            )

    return sorted(once("calibration-photos", make).iterdir())


@pytest.fixture(scope="session")
def int8_package(tiny_package: Path, photos: list[Path], once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The tiny package calibrated by the command. Never change it: copy it first."""

    def command(output: Path) -> None:
        done = run_calibration(tiny_package, *photos, "-o", output)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{output}\n"
        assert "note: the certificate will stand on 1 unseen photo alone: one in five of the 6 given" in done.stderr
        assert "With 20 photos or more it stands on 4." in done.stderr

    return once("tiny-int8", command)
