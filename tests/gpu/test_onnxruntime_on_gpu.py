"""onnxruntime's NVIDIA providers on this machine's own GPU against its CPU provider (`pytest -m gpu`)."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import BackendUnavailableError, Enhancer
from runtime.machine.gpu import current_gpu

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here"),
]
SIZES = [(360, 640), (240, 320), (200, 600)]


def frame(seed: int, height: int = 360, width: int = 640) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["CUDA", "Tensorrt", "NvTensorRTRTX"])
def enhancer(request, bundled_package):
    try:
        opened = Enhancer.open(bundled_package, providers=[request.param])
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def test_the_same_picture_as_on_the_cpu(enhancer, bundled_package):
    with Enhancer.open(bundled_package) as reference:
        for size in SIZES:
            for steps in (1, 4):
                found = enhancer(frame(1, *size), steps=steps).astype(int)
                assert np.abs(found - reference(frame(1, *size), steps=steps)).max() <= 1, (size, steps)
    assert "no CUDA graph" not in enhancer.backend.why


def test_a_replay_of_the_graphs_equals_the_first_run_for_other_photos_too(enhancer):
    photos = [frame(2, 300, 500), frame(3, 300, 500)]
    first = [enhancer(photo, steps=5) for photo in photos]
    assert (first[0] != first[1]).any()
    for _ in range(3):
        for photo, expected in zip(photos, first, strict=True):
            np.testing.assert_array_equal(enhancer(photo, steps=5), expected)


def test_memory_stays_flat_over_300_photos_of_alternating_sizes(enhancer, memory_over_300_photos):
    free = memory_over_300_photos(enhancer, SIZES)
    assert max(free[1:]) - min(free[1:]) < 64 << 20, free


def test_a_large_photo_whose_attention_is_a_loop_runs_and_says_that_it_is_not_captured(enhancer):
    enhancer(frame(4, 2160, 3840), steps=1)
    assert "no CUDA graph of denoiser" in enhancer.backend.why
