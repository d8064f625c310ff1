"""One small file from one small package, a photo for it, and what the runtime makes of that photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sampled import with_samplings

from export.single import main
from runtime import Enhancer


@pytest.fixture(scope="session")
def fast_package(tiny_package: Path, once: Callable[..., Path]) -> Path:
    """The small network's package with a sampling of two calls from zero. Never change it."""
    return once("tiny-fast", lambda path: with_samplings(tiny_package, path))


@pytest.fixture(scope="session")
def single_file(fast_package: Path, once: Callable[..., Path]) -> Path:
    """Its single file with that sampling."""
    return once("single.onnx", lambda path: main([str(fast_package), "-o", str(path), "--sampling", "fast"]))


@pytest.fixture(scope="session")
def dark() -> Callable[[int, int], np.ndarray]:
    """dark(width, height) -> (H, W, 3) uint8: steps of brightness with noise on them."""

    def photo(width: int, height: int) -> np.ndarray:
        generator = np.random.default_rng(width * 1000 + height)
        steps = np.add.outer(np.arange(height) // 5, np.arange(width) // 7)[..., None] * np.array([3, 5, 2]) % 90
        return (steps + generator.integers(0, 20, (height, width, 3))).astype(np.uint8)

    return photo


@pytest.fixture(scope="session")
def planes() -> Callable[[np.ndarray], np.ndarray]:
    """planes(photo) -> what the file reads: (1, 3, H, W) float32 in [0, 1]."""
    return lambda photo: np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def grey_levels(fast_package: Path) -> Callable[[np.ndarray, np.ndarray], int]:
    """grey_levels(photo, output) -> how far the file's output is from the runtime's picture, at most."""
    enhancer = Enhancer.open(fast_package)

    def difference(photo: np.ndarray, output: np.ndarray) -> int:
        assert output.shape == (1, 3, *photo.shape[:2])
        assert output.dtype == np.float32
        assert output.min() >= 0
        assert output.max() <= 1
        expected = enhancer(photo, sampling="fast").astype(int)
        if min(photo.shape[:2]) > 20:
            assert np.abs(expected - photo).mean() > 5, "a network that does nothing would pass"
        return int(np.abs(np.floor(255 * output[0].transpose(1, 2, 0) + np.float32(0.5)) - expected).max())

    return difference
