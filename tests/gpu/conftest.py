"""What the tests on a GPU share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from runtime import Enhancer


@pytest.fixture
def memory_over_300_photos() -> Callable[[Enhancer, list[tuple[int, int]]], list[int]]:
    """(enhancer, sizes) -> the GPU's free bytes after every 30 of 300 photos of alternating (height, width)."""
    cudart = pytest.importorskip("cuda.bindings.runtime")

    def measure(enhancer: Enhancer, sizes: list[tuple[int, int]]) -> list[int]:
        free = []
        for index in range(300):
            dark = np.random.default_rng(index).integers(0, 60, (*sizes[index % len(sizes)], 3), dtype=np.uint8)
            enhancer(dark, steps=1)
            if index % 30 == 29:
                free.append(cudart.cudaMemGetInfo()[1])
        return free

    return measure
