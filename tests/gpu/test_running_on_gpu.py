"""The TensorRT backends on this machine's own GPU against onnxruntime on the CPU (`pytest -m gpu`)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import Enhancer
from runtime.machine.gpu import current_gpu

ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here"),
]
GREY_LEVELS = {"fp32": 1, "fp16": 4}
SIZES = [(360, 640), (240, 320), (200, 600)]


def frame(seed: int, height: int = 360, width: int = 640) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def target(request):
    if importlib.util.find_spec(request.param.replace("-", "_")) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def package(request, target, bundled_package, build_package, tmp_path_factory) -> Path:
    """The bundled checkpoint's package with engines for photos up to 640x384."""
    from export.files import bundled_checkpoint

    path = tmp_path_factory.mktemp("gpu") / request.param
    if request.param == "fp32":
        shutil.copytree(bundled_package, path)
    else:
        build_package(bundled_checkpoint(), request.param, path)
    words = [sys.executable, "-m", "export.engine", str(path), "--target", target]
    words += ["--size", "640x360", "--max-size", "640x384"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900)
    if "does not support this machine's" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def enhancer(package, target):
    with Enhancer.open(package, backend=target) as opened:
        yield opened


def levels(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_the_same_picture_as_onnxruntime_on_the_cpu(enhancer, bundled_package):
    allowed = GREY_LEVELS[enhancer.manifest.precision]
    with Enhancer.open(bundled_package) as reference:
        for size in SIZES:
            for steps in (1, 4):
                photo = frame(1, *size)
                assert levels(enhancer(photo, steps=steps), reference(photo, steps=steps)) <= allowed, (size, steps)


def test_the_golden_sample(enhancer):
    assert enhancer.self_test() <= GREY_LEVELS[enhancer.manifest.precision]


def test_a_replay_of_the_graph_equals_the_first_run(enhancer):
    """The first photo of a size runs stage by stage, the ones after it as a graph."""
    first = enhancer(frame(2, 300, 500), steps=5)
    assert not enhancer.backend.why, "no graph was captured"
    for _ in range(3):
        np.testing.assert_array_equal(enhancer(frame(2, 300, 500), steps=5), first)
    assert list(enhancer.timings) == ["pad", "upload", "graph", "download", "crop"]
    assert 0 < enhancer.timings["graph"] < 10_000


def test_a_stream_equals_single_calls(enhancer):
    frames = [frame(seed) for seed in range(12)]
    expected = [enhancer(one, steps=4) for one in frames]
    for one, result in zip(expected, enhancer.stream(frames, steps=4), strict=True):
        np.testing.assert_array_equal(result, one)


def test_memory_stays_flat_over_photos_of_alternating_sizes(enhancer, memory_over_photos):
    free = memory_over_photos(enhancer, SIZES[:2])
    assert max(free[1:]) - min(free[1:]) < 64 << 20, free


def test_everything_is_given_back_on_close(package, target):
    from cuda.bindings import runtime as cudart

    free = []
    for _ in range(3):
        with Enhancer.open(package, backend=target) as enhancer:
            enhancer(frame(0), steps=1)
        del enhancer
        free.append(cudart.cudaMemGetInfo()[1])
    assert max(free) - min(free) < 64 << 20, free
