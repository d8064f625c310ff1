"""The golden sample of a package: a small photo, noise and the picture that the PyTorch model makes of them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PackageError
from ..image import array_text
from .manifest import GOLDEN
from .reading import Package

_LIMIT = 64 << 20  # bytes, unpacked


def read_golden(package: Package) -> dict[str, NDArray[Any]]:
    """photo (H, W, 3) uint8, noise (3, Hp/4, Wp/4) float32, steps, expected (H, W, 3) uint8. Raises PackageError."""
    where = package.path / GOLDEN
    content = io.BytesIO(package.read(GOLDEN))
    try:
        with zipfile.ZipFile(content) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LIMIT:
                raise ValueError("it is too large")
        with np.load(content, allow_pickle=False) as arrays:
            golden = {name: arrays[name] for name in ("photo", "noise", "steps", "expected")}
        photo, noise, steps, expected = golden.values()
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape != expected.shape:
            raise ValueError(f"photo {array_text(photo)}, expected {array_text(expected)}")
        if expected.dtype != np.uint8 or steps.dtype.kind != "i" or steps.shape != () or noise.dtype != np.float32:
            raise ValueError(f"noise {array_text(noise)}, steps {array_text(steps)}, expected {array_text(expected)}")
        if noise.shape != package.manifest.noise_shape(*photo.shape[:2]):
            raise ValueError(f"noise {array_text(noise)} for a photo of {photo.shape}")
        return golden
    except Exception as error:  # a stranger's zip: numpy and zipfile raise of many kinds
        raise PackageError(f"{where}: no golden sample ({error}); build the package again.") from error
