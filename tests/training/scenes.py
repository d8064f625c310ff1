"""Pictures to train on."""

from __future__ import annotations

import numpy as np
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
