"""What the tests on a GPU share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from runtime import Enhancer
from runtime.machine.gpu import free_gpu_bytes


@pytest.fixture
def memory_over_photos() -> Callable[[Enhancer, list[tuple[int, int]]], list[int]]:
    """(enhancer, sizes) -> the GPU's free bytes after every 10 of 100 photos of alternating (height, width), two sizes
    at most: of a third one each photo would open engines anew, which an enhancer keeps for two sizes."""

    def measure(enhancer: Enhancer, sizes: list[tuple[int, int]]) -> list[int]:
        free = []
        for index in range(100):
            dark = np.random.default_rng(index).integers(0, 60, (*sizes[index % len(sizes)], 3), dtype=np.uint8)
            enhancer(dark, steps=1)
            if index % 10 == 9:
                free.append(free_gpu_bytes() or 0)
        return free

    return measure
