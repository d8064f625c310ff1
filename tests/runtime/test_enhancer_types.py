"""What a caller sees of the enhancer: images, texts, names, and types of results: mypy reads this file too."""

from __future__ import annotations

import pydoc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from runtime import BackendUnavailableError, Enhancer, InputError
from runtime.photo import read_photo

Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def enhancer(tiny_package: Path) -> Iterator[Enhancer]:
    with Enhancer.open(tiny_package) as opened:
        yield opened


def dark(height: int = 24, width: int = 32) -> Bytes:
    return np.random.default_rng(0).integers(0, 60, (height, width, 3), np.uint8)


def test_arrays(enhancer: Enhancer) -> None:
    deep = dark().astype(np.uint16)
    assert assert_type(enhancer(dark()), NDArray[np.uint8]).dtype == np.uint8
    assert assert_type(enhancer(deep, seed=3), NDArray[np.uint16]).dtype == np.uint16
    assert assert_type(enhancer(dark()[None]), NDArray[np.uint8]).shape == (1, 24, 32, 3)
    batch = assert_type(enhancer([dark(), dark()], steps=1), list[NDArray[np.uint8]])
    assert isinstance(batch, list)
    frames = enhancer.stream(iter([deep, deep]), steps=1)
    assert assert_type(next(frames), NDArray[np.uint16]).dtype == np.uint16
    frames.close()
    unknown: Any = dark()
    assert enhancer(np.asarray(unknown)).shape == (24, 32, 3)


def test_what_mypy_refuses_is_refused(enhancer: Enhancer) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: enhancer(dark().astype(np.float32)),  # type: ignore[type-var]
        lambda: enhancer("photo.jpg"),  # type: ignore[arg-type]
        lambda: enhancer(dark(), seed="7"),  # type: ignore[call-overload]
        lambda: enhancer.stream("photo.jpg"),  # type: ignore[arg-type]
        lambda: enhancer.stream(None),  # type: ignore[call-overload]
        lambda: enhancer.stream(Image.fromarray(dark())),  # type: ignore[call-overload]
        lambda: next(enhancer.stream([dark()], noise=1)),  # type: ignore[call-overload]
    ]
    for call in wrong:
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="the frames of a stream are one photo"):
        enhancer.stream(dark())
    with pytest.raises(InputError, match=r"frame 1: it is uint16 and the first was uint8"):
        list(enhancer.stream([dark(), dark().astype(np.uint16)], steps=1))


def test_images(enhancer: Enhancer) -> None:
    image = Image.fromarray(dark())
    bright = assert_type(enhancer(image, steps=1), Image.Image)
    np.testing.assert_array_equal(np.asarray(bright), enhancer(dark(), steps=1))
    x_t = np.zeros(enhancer.noise_shape(24, 32), np.float32)
    np.testing.assert_array_equal(np.asarray(enhancer(image, noise=x_t)), enhancer(dark(), noise=x_t))

    grey, clear = image.convert("L"), image.convert("RGBA")
    clear.putalpha(grey)
    batch = assert_type(enhancer([image, grey, clear], steps=1), list[Image.Image])
    assert [one.mode for one in batch] == ["RGB", "L", "RGBA"]
    np.testing.assert_array_equal(np.asarray(batch[0]), np.asarray(bright))
    np.testing.assert_array_equal(np.asarray(batch[2].getchannel("A")), np.asarray(grey))
    frames = enhancer.stream((one for one in (clear, image)), steps=1)
    first = assert_type(next(frames), Image.Image)
    assert [first.mode, *(frame.mode for frame in frames)] == ["RGBA", "RGB"]
    np.testing.assert_array_equal(np.asarray(first), np.asarray(batch[2]))


def test_an_image_that_lies_on_its_side_comes_back_upright(enhancer: Enhancer, tmp_path: Path) -> None:
    exif, path = Image.Exif(), tmp_path / "phone.jpg"
    exif[274] = 8
    Image.fromarray(dark()).save(path, exif=exif)
    with Image.open(path) as image:
        bright = enhancer(image, steps=1)
    assert (bright.size, bright.getexif().get(274, 1)) == ((24, 32), 1)
    np.testing.assert_array_equal(np.asarray(bright), enhancer(read_photo(path).pixels, steps=1))


def test_help_knows_what_a_user_asks_for() -> None:
    text = pydoc.plain(pydoc.render_doc(Enhancer))
    for name in ("backend", "manifest", "package", "step_timings", "timings", "why"):
        assert f"\n |  {name}\n |      " in text, name


def test_texts_are_short(enhancer: Enhancer, tiny_package: Path) -> None:
    assert repr(enhancer) == f"<Enhancer of {tiny_package} on onnxruntime>"
    assert repr(enhancer.manifest) == "<Manifest: fp32, 2 wavelet level(s), samplings published>"
    assert repr(enhancer.package) == f"<Package {tiny_package}: fp32, 2 wavelet level(s), samplings published>"
    photo = read_photo(Path(__file__).parents[2] / "assets/sample.png")
    assert repr(photo) == "<Photo 451x300 uint8 RGB, was PNG>"
    with Enhancer.open(tiny_package) as other:
        pass
    assert repr(other).endswith("on onnxruntime, closed>")


@pytest.mark.parametrize("providers", ["CPU", "CPUExecutionProvider", ["CPU"], ("CPU",)])
def test_one_provider_or_several(tiny_package: Path, providers: str | list[str]) -> None:
    with Enhancer.open(tiny_package, providers=providers) as enhancer:
        assert enhancer.self_test() <= 1


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_an_absent_provider_is_told_by_its_whole_name(ready_package: Path, backend: str) -> None:
    name = "metal" if backend == "ncnn" else "CUDA"
    with pytest.raises((BackendUnavailableError, InputError), match=name):
        Enhancer.open(ready_package, backend=backend, providers=name)


@pytest.mark.parametrize("providers", ["", b"CPU", 3, [3], [("CPU", {})], {"CPU": {}}, {"CPU"}])
def test_what_is_no_provider_is_refused(tiny_package: Path, providers: Any) -> None:
    with pytest.raises(InputError, match=r"providers is .*one name or a list of names wanted"):
        Enhancer.open(tiny_package, providers=providers)
