"""onnxruntime's CUDA provider on this machine's own GPU against its CPU provider (`pytest -m gpu`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import BackendUnavailableError, Enhancer
from runtime.machine.gpu import current_gpu

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here"),
]
SIZES = [(360, 640), (240, 320), (200, 600)]
NO_GRAPH, NO_ENGINE = "no CUDA graph of", "no cuda engine"


def frame(seed: int, height: int = 360, width: int = 640) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["as built", "with a cuda engine"])
def package(request, bundled_package, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cuda") / "package"
    shutil.copytree(bundled_package, path, ignore=shutil.ignore_patterns("engines"))
    if request.param != "as built":
        words = [sys.executable, "-m", "export.engine", str(path), "--target", "cuda"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def enhancer(package):
    try:
        opened = Enhancer.open(package, providers=["CUDA"])
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    with opened:
        assert (NO_ENGINE in opened.backend.why) != (package / "engines").exists()
        yield opened


def test_the_same_picture_as_on_the_cpu(enhancer, bundled_package):
    with Enhancer.open(bundled_package) as reference:
        for size in SIZES[:2]:
            for steps in (1, 4):
                found = enhancer(frame(1, *size), steps=steps).astype(int)
                assert np.abs(found - reference(frame(1, *size), steps=steps)).max() <= 1, (size, steps)
    assert NO_GRAPH not in enhancer.backend.why


def test_a_replay_of_the_graphs_equals_the_first_run_for_other_photos_too(enhancer):
    photos = [frame(2, 300, 500), frame(3, 300, 500)]
    first = [enhancer(photo, steps=5) for photo in photos]
    assert (first[0] != first[1]).any()
    for _ in range(3):
        for photo, expected in zip(photos, first, strict=True):
            np.testing.assert_array_equal(enhancer(photo, steps=5), expected)


def test_a_stream_equals_single_calls_five_times(enhancer):
    """Its captures run in one thread while another copies."""
    frames = [frame(seed) for seed in range(6)]
    expected = [enhancer(one, steps=4) for one in frames]
    for turn in range(5):
        for one, result in zip(expected, enhancer.stream(frames, steps=4), strict=True):
            np.testing.assert_array_equal(result, one, err_msg=f"turn {turn}")


def test_memory_stays_flat_over_photos_of_alternating_sizes(enhancer, memory_over_photos):
    free = memory_over_photos(enhancer, SIZES[:2])
    assert max(free[1:]) - min(free[1:]) < 64 << 20, free


def test_a_photo_of_4k_runs_whole_and_captured(enhancer):
    enhancer(frame(4, 2160, 3840), steps=1)
    assert not enhancer.why, "not whole"
    assert NO_GRAPH not in enhancer.backend.why
