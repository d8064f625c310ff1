"""Photos to train on, made here: shapes and colours of every brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def scene(seed: int, height: int = 96, width: int = 112) -> np.ndarray:
    """(H, W, 3) uint8: a smooth ground with some rectangles on it."""
    random = np.random.default_rng(seed)
    ground = Image.fromarray(random.integers(60, 230, (4, 4, 3), np.uint8))
    pixels = np.asarray(ground.resize((width, height), Image.Resampling.BICUBIC)).copy()
    for _ in range(6):
        top, left = random.integers(height - 20), random.integers(width - 20)
        pixels[top : top + 18, left : left + 16] = random.integers(0, 256, 3)
    return pixels


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six bright photos, 112x96. Never change it."""
    folder = tmp_path_factory.mktemp("bright")
    for seed in range(6):
        Image.fromarray(scene(seed)).save(folder / f"{seed}.png")
    return folder
