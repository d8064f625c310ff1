"""Photos converted where the engine computes, here with the CPU provider in the place of CUDA's."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from runtime import EngineError, Enhancer
from runtime.backends.onnxruntime import session as onnxruntime_
from runtime.backends.onnxruntime.photo_graph import crop_graph, pad_graph
from runtime.image import to_pixels, to_tensor

SIZES = [(1, 1), (1, 33), (31, 2), (47, 65), (64, 96)]


def photos(height: int, width: int, dtype: str, batch: int = 1) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(height).integers(0, most, (batch, height, width, 3), dtype=dtype, endpoint=True)


def run(graph: bytes, **inputs: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_graphs_compute_what_the_host_computes_to_the_bit(height, width, dtype):
    dark = photos(height, width, dtype, 2)
    expected = to_tensor(dark, 32)
    (image,) = run(pad_graph(dark.shape, dtype, 32), photos=dark)
    np.testing.assert_array_equal(image, expected)
    image = np.clip(image * np.float32(1.7) - np.float32(0.1), 0, 1)
    bright, residue = run(crop_graph(dark.shape, dtype, 32), image=image)
    np.testing.assert_array_equal(bright, to_pixels(image, height, width, dark.dtype))
    assert residue == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_noticed_where_the_photo_is(value):
    image = np.zeros((1, 3, 32, 32), np.float32)
    image[0, 2, 31, 31] = value
    assert run(crop_graph((1, 20, 20, 3), "uint8", 32), image=image)[1] == 0
    image[0, 2, 19, 19] = value
    assert np.isnan(run(crop_graph((1, 20, 20, 3), "uint8", 32), image=image)[1])


@pytest.fixture
def on_device(monkeypatch):
    monkeypatch.setattr(onnxruntime_, "CAPTURES", {"CPUExecutionProvider": {}})


def test_calls_batches_and_streams_give_what_the_host_gives(tiny_package, monkeypatch):
    many = [photos(47, 65, dtype, 3) for dtype in ("uint8", "uint16")]

    def pictures(converts: bool) -> list[np.ndarray]:
        with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
            assert enhancer.backend.converts == converts
            found = [enhancer(one, steps=2) for one in many] + [enhancer(many[0][0], steps=2)]
            assert list(enhancer.timings) == (
                ["upload", "pad", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "crop", "download"]
                if converts
                else ["pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop"]
            )
            frames = [frame.copy() for frame in many[0]]
            for frame, result in zip(frames, enhancer.stream(iter(frames), steps=2), strict=True):
                frame[:] = 0  # free to change when the next is taken
                found.append(result)
        return found

    expected = pictures(False)
    monkeypatch.setattr(onnxruntime_, "CAPTURES", {"CPUExecutionProvider": {}})
    for one, other in zip(pictures(True), expected, strict=True):
        assert one.dtype == other.dtype
        assert np.abs(one.astype(int) - other).max() <= (1 if one.dtype == np.uint8 else 16)


def test_a_result_that_is_not_finite_is_an_error(tiny_package, on_device):
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        enhancer(photos(20, 20, "uint8")[0], steps=1)
        (program,) = enhancer.runner.programs.values()
        program._io.download = lambda: (np.zeros((1, 20, 20, 3), np.uint8), False)
        with pytest.raises(EngineError, match="a result of 20x20 pixels holds NaN or infinity"):
            enhancer(photos(20, 20, "uint8")[0], steps=1)
