"""A stream where the host has no memory for a frame."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import Enhancer
from runtime.image import to_tensor


def dark(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_frame_whose_preparation_gets_no_memory_costs_no_result(tiny_package, monkeypatch, dtype):
    frames = [dark(60, 40, seed).astype(dtype) * (257 if dtype == np.uint16 else 1) for seed in range(5)]
    frames = [frame.astype(dtype) for frame in frames]
    with Enhancer.open(tiny_package) as enhancer:
        expected = [enhancer(frame, steps=1) for frame in frames]
        prepared = []

        def starved(photos, *rest, **more):
            prepared.append(1)
            if len(prepared) == 3:
                raise MemoryError("no room for a frame")
            return to_tensor(photos, *rest, **more)

        monkeypatch.setattr("runtime.running.stream.to_tensor", starved)
        found = list(enhancer.stream(frames, steps=1))
        assert enhancer.why.startswith("out of memory (no room for a frame); then 40x60 in strips of")
    for one, result in zip(expected, found, strict=True):
        assert np.abs(result.astype(int) - one).max() <= (1 if dtype == np.uint8 else 8)
