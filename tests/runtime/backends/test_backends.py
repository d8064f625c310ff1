"""Every backend of this machine on the same photo and noise: the same picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sampled import with_samplings

from runtime import BackendUnavailableError, EngineError, Enhancer, InputError
from runtime.running import auto as auto_

ROOT = Path(__file__).parents[3]
CPU_BACKENDS = ("onnxruntime", "openvino", "ncnn")
ENGINES = pytest.mark.parametrize("backend", CPU_BACKENDS)


def photo(height: int = 47, width: int = 65) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(tiny_package):
    with Enhancer.open(tiny_package) as enhancer:
        yield enhancer


@ENGINES
@pytest.mark.parametrize("size", [(1, 1), (33, 1), (47, 65), (96, 64)])
def test_the_same_photo_and_noise_give_the_same_picture(ready_package, reference, backend, size):
    noise = np.random.default_rng(1).standard_normal(reference.noise_shape(*size), np.float32)
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        assert enhancer.backend.name == backend
        found = enhancer(photo(*size), noise=noise).astype(int)
    assert np.abs(found - reference(photo(*size), noise=noise)).max() <= 1


@pytest.fixture(scope="module")
def sampled(ready_package, tmp_path_factory) -> Path:
    """The small network's package with ncnn's engines and the sampling `fast`."""
    return with_samplings(ready_package, tmp_path_factory.mktemp("sampled") / "package")


@ENGINES
def test_a_sampling_from_zero_gives_the_same_picture(sampled, backend):
    """In calls, batches and streams, in strips and tiles, after calls that wrote the loop's buffers."""
    with Enhancer.open(sampled, backend=backend) as enhancer, Enhancer.open(sampled) as reference:
        expected = reference(photo(), sampling="fast").astype(int)
        published = enhancer(photo(), seed=1)
        pair = enhancer(np.stack([photo(), photo()]), sampling="fast")
        for found in (enhancer(photo(), sampling="fast"), *pair, *enhancer.stream([photo()] * 3, sampling="fast")):
            assert np.abs(found - expected).max() <= 1
        np.testing.assert_array_equal(enhancer(photo(), seed=1), published)
        tall = photo(200, 96)
        for kind in ("strips", "tiles"):
            plan = reference.plan(96, 200, sampling="fast", kind=kind)
            expected = reference(tall, sampling="fast", plan=plan).astype(int)
            plan = enhancer.plan(96, 200, sampling="fast", kind=kind)
            assert np.abs(enhancer(tall, sampling="fast", plan=plan) - expected).max() <= 1, kind


@ENGINES
def test_self_test_batches_and_steps(ready_package, backend):
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        assert enhancer.self_test() <= 1
        pair = np.stack([photo(), 255 - photo()])
        together = enhancer(pair, steps=5).astype(int)
        for one, result in zip(pair, together, strict=True):
            assert np.abs(enhancer(one, steps=5) - result).max() <= 1
        first = enhancer(photo(), sampler="dpmpp-2m", steps=7)
        np.testing.assert_array_equal(enhancer(photo(), sampler="dpmpp-2m", steps=7), first)


@ENGINES
def test_close_and_open_again(ready_package, backend):
    for _ in range(2):
        enhancer = Enhancer.open(ready_package, backend=backend)
        enhancer(photo(16, 16), steps=1)
        enhancer.close()
        enhancer.close()
        with pytest.raises(EngineError, match="closed"):
            enhancer(photo(16, 16))


@ENGINES
def test_two_enhancers_side_by_side(ready_package, backend):
    with Enhancer.open(ready_package, backend=backend) as one, Enhancer.open(ready_package, backend=backend) as other:
        expected = one(photo(), seed=4)
        other(255 - photo(), seed=5)
        np.testing.assert_array_equal(one(photo(), seed=4), expected)
        np.testing.assert_array_equal(other(photo(), seed=4), expected)


def test_a_bf16_package_on_openvino(half_package, reference):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(InputError, match="no bfloat16 arithmetic"):
            Enhancer.open(half_package("bf16"), backend="openvino")
        return
    with Enhancer.open(half_package("bf16"), backend="openvino") as enhancer:
        assert enhancer.self_test() <= 8
        difference = np.abs(enhancer(photo()).astype(int) - reference(photo()))
    assert 0 < difference.max() <= 8


def test_an_absent_openvino_device_is_refused(tiny_package):
    with pytest.raises(BackendUnavailableError, match=r"no device NPU here \(it has .*CPU"):
        Enhancer.open(tiny_package, backend="openvino", providers=["NPU"])


def test_auto_takes_the_fastest_and_says_why(tiny_package, monkeypatch):
    times = {"onnxruntime": 200, "openvino": 100}
    monkeypatch.setattr(auto_, "one_step", lambda backend, *_: {"graph": times[backend.name]})
    with Enhancer.open(tiny_package, backend="auto") as enhancer:
        assert enhancer.backend.name == "openvino"
        assert "openvino 100 ms, onnxruntime 200 ms" in enhancer.backend.why
        enhancer(photo(16, 16), steps=1)
    times["openvino"] = 300
    with Enhancer.open(tiny_package, backend="auto") as enhancer:
        assert enhancer.backend.name == "onnxruntime"
        enhancer(photo(16, 16), steps=1)


def test_auto_leaves_out_what_does_not_open_and_names_it(half_package, tiny_package, monkeypatch):
    def missing(name, package, providers, *, low_memory):
        raise BackendUnavailableError(f"{name} is not here")

    with Enhancer.open(tiny_package, backend="auto") as enhancer:  # a real probe
        assert enhancer.backend.name in CPU_BACKENDS
        assert set(CPU_BACKENDS) < set(auto_.CANDIDATES)
        assert "256x256, one step" in enhancer.backend.why
    monkeypatch.setattr(auto_, "open_named", missing)
    with pytest.raises(BackendUnavailableError, match=r"no backend opens .*onnxruntime is not here"):
        Enhancer.open(tiny_package, backend="auto")
    with pytest.raises(InputError, match="instead of auto"):
        Enhancer.open(tiny_package, backend="auto", providers=["CPU"])


@ENGINES
def test_calls_from_several_threads_are_safe(ready_package, backend):
    """The buffers are shared: without the enhancer's lock the photos of four threads mix."""
    photos = [photo(48, 64) // divisor for divisor in (1, 2, 3, 4)]
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        expected = [enhancer(one, steps=2) for one in photos]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda one: enhancer(one, steps=2), photos * 5))
    for one, result in zip(expected * 5, found, strict=True):
        np.testing.assert_array_equal(result, one)


@ENGINES
def test_a_stream_gives_the_pictures_of_single_calls(ready_package, backend):
    photos = [photo(48, 64) // divisor for divisor in (1, 2, 3, 4)]
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        expected = [enhancer(one, steps=2) for one in photos]
        for one, result in zip(expected, enhancer.stream(photos, steps=2), strict=True):
            np.testing.assert_array_equal(result, one)
